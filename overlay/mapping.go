package overlay

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/weftnet/weft/internal/direct"
)

// A portMapping is the node's port at the gateway, if Config.PortMapper gets one.
type portMapping struct {
	d *directPaths

	mu      sync.Mutex
	started bool
	addr    netip.AddrPort // invalid if there is none
}

// need begins to map the port, once a server outside has seen the node at an
// address that is not the host's own: so nothing is asked of a gateway that
// does not translate. Only goroutines of the node call it.
func (m *portMapping) need(hosts, seen []direct.Candidate) {
	n := m.d.node
	if n.cfg.PortMapper == nil || !slices.ContainsFunc(seen, func(c direct.Candidate) bool { return translated(c, hosts) }) {
		return
	}
	m.mu.Lock()
	begin := !m.started
	m.started = true
	m.mu.Unlock()
	if begin {
		n.wg.Go(m.run)
	}
}

// translated reports whether a NAT has given the node an address.
func translated(c direct.Candidate, hosts []direct.Candidate) bool {
	return c.Kind == direct.Reflexive && c.Addr.Addr().Is4() &&
		!slices.ContainsFunc(hosts, func(h direct.Candidate) bool { return h.Addr.Addr() == c.Addr.Addr() })
}

// run keeps the mapping until the node closes.
func (m *portMapping) run() {
	n := m.d.node
	err := n.cfg.PortMapper.Map(n.ctx, m.d.sock.LocalAddr().Port(), func(a netip.AddrPort) {
		m.mu.Lock()
		m.addr = a
		m.mu.Unlock()
		poke(m.d.wake)
	})
	if n.ctx.Err() == nil {
		n.log.WithError(err).Debug("no port is mapped")
	}
}

// candidates is the mapped address, if there is one.
func (m *portMapping) candidates() []direct.Candidate {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.addr.IsValid() {
		return nil
	}
	return []direct.Candidate{{Kind: direct.Mapped, Addr: m.addr}}
}
