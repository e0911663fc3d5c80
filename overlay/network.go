package overlay

import (
	"net"
	"net/netip"

	"github.com/weftnet/weft/internal/netmon"
)

// watchNetwork reacts to changes of the host's network until the node closes. In
// simulated networks there is nothing to see.
func (n *Node) watchNetwork() {
	if n.cfg.DialLink == nil {
		n.wg.Go(func() { _ = netmon.Watch(n.ctx, n.log, n.networkChanged) })
	}
}

// networkChanged makes the node look for its relays at once, and for direct paths
// anew.
func (n *Node) networkChanged(c netmon.Change) {
	n.log.WithField("addresses", c.Addrs).Debug("the network has changed")
	if have := interfaceAddrs(); len(have) > 0 {
		n.uplinks.Readdress(have)
	} else {
		n.uplinks.Kick() // the system does not tell
	}
	if n.direct != nil {
		if c.Slept {
			n.direct.slept.Store(true)
		}
		n.direct.changed()
	}
}

// interfaceAddrs returns all addresses of the host, also those at which it is not
// to be reached.
func interfaceAddrs() (out []netip.Addr) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}
