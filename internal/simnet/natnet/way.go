package natnet

import (
	"net/netip"
	"time"

	"github.com/weftnet/weft/internal/simnet"
)

// A way is what impairs the datagrams from one host to another besides the
// links of the tree: what lies between them in the middle of the internet, or
// in the local network that both are in.
type wayKey struct {
	from, to *Host
	at       router // where the tree turns downwards
}

// SetDefault impairs what passes the internet between all pairs of hosts that
// SetPair does not name. What stays behind a NAT is not concerned.
func (n *Network) SetDefault(imp simnet.Impairment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fallback = imp
	n.applyLocked()
}

// SetPair impairs what from sends to to, wherever both are, but for what a NAT
// turns around (Hairpin). For a datagram that a NAT will not let in, to is any
// of the hosts behind that NAT. Backpressure has no effect.
func (n *Network) SetPair(from, to *Host, imp simnet.Impairment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pairs[[2]*Host{from, to}] = imp
	n.applyLocked()
}

// applyLocked impairs the ways that exist as is set now.
func (n *Network) applyLocked() {
	for key, l := range n.ways {
		imp, _ := n.pairLocked(key)
		imp.Backpressure = false
		l.shaper.Set(imp)
	}
}

// pairLocked returns the impairment of a way, false if it has none.
func (n *Network) pairLocked(key wayKey) (simnet.Impairment, bool) {
	imp, ok := n.pairs[[2]*Host{key.from, key.to}]
	if !ok && key.at == router(&n.core) {
		imp = n.fallback
	}
	return imp, imp != (simnet.Impairment{})
}

// passLocked sends a datagram from where the tree turns downwards to via, a
// link there: at once, or over the way to the host that it is for.
func (n *Network) passLocked(at router, via *link, d datagram, now time.Time) {
	key := wayKey{d.from, n.targetLocked(via, d), at}
	l := n.ways[key]
	if _, impaired := n.pairLocked(key); l == nil && !impaired || key.to == nil {
		via.sendLocked(d, now)
		return
	}
	if l == nil {
		l = n.newWayLocked(key)
	}
	l.sendLocked(d, now)
}

// newWayLocked makes a way. Its chance follows from the two hosts, not from
// when they first meet.
func (n *Network) newWayLocked(key wayKey) *link {
	index := key.from.index*maxHosts + key.to.index
	imp, _ := n.pairLocked(key)
	imp.Backpressure = false
	l := &link{net: n, index: -index, shaper: simnet.NewShaper(imp, (n.seed+1)*1_000_003^uint64(index)<<20)}
	l.end = func(d datagram, now time.Time) {
		// The route may be another by now.
		if via := key.at.routeLocked(d.dst.Addr()); via != nil {
			via.sendLocked(d, now)
			return
		}
		n.counters.LostNoRoute++
	}
	n.ways[key] = l
	return l
}

// targetLocked returns the host that gets a datagram which goes down a link,
// or any that is there if none does.
func (n *Network) targetLocked(via *link, d datagram) *Host {
	for via != nil && via.nat != nil {
		t, to := via.nat, d.dst
		if to.Addr() == t.outer {
			m := t.table.byPort[to.Port()]
			if m == nil {
				return n.anyBehindLocked(t)
			}
			to = m.inside.inner
		}
		d.dst = to
		via = t.routes[to.Addr()]
	}
	if via == nil {
		return nil
	}
	return via.host
}

// anyBehindLocked returns the host that was added first of those behind t.
func (n *Network) anyBehindLocked(t *NAT) *Host {
	for _, h := range n.hosts {
		if h.isBehindLocked(t) {
			return h
		}
	}
	return nil
}

// routeLocked returns the link to an address.
func (c *core) routeLocked(addr netip.Addr) *link { return c.routes[addr] }
func (t *NAT) routeLocked(addr netip.Addr) *link  { return t.routes[addr] }
