package overlay

import (
	"net"
	"net/netip"
	"sync"

	"github.com/weftnet/weft/internal/origin"
)

// Limits of the links that a node accepts. Only peers with which there is no UDP
// path need one, so that they are far below a relay's.
const (
	// maxPeerLinks bounds the links whose other ends have proven who they are,
	// and maxPeerLinksPerAddress those of one IPv4 address or IPv6 /64 network.
	maxPeerLinks, maxPeerLinksPerAddress = 512, 64
	// maxUnproven bounds the conns and links that have not, and
	// maxUnprovenPerAddress those of one address, so that strangers take
	// nothing but room for strangers.
	maxUnproven, maxUnprovenPerAddress = 64, 8
)

// A linkGate counts accepted links and limits them.
type linkGate struct {
	mu        sync.Mutex
	all       linkUsage
	addresses map[string]*linkUsage
}

// A linkUsage is how many links there are of each kind.
type linkUsage struct{ unproven, proven int }

// A linkSlot is one link's place in the counts. Its owner calls leave in the end.
type linkSlot struct {
	g      *linkGate
	addr   string // what counts as one address
	proven bool
}

func newLinkGate() *linkGate { return &linkGate{addresses: make(map[string]*linkUsage)} }

// enter counts a new conn, nil if there is no room for it.
func (g *linkGate) enter(remote net.Addr) *linkSlot {
	addr := remote.String()
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		addr = origin.Of(ap.Addr())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	u := g.addresses[addr]
	if u == nil {
		u = new(linkUsage)
	}
	if g.all.unproven >= maxUnproven || u.unproven >= maxUnprovenPerAddress {
		return nil
	}
	g.addresses[addr] = u
	g.all.unproven++
	u.unproven++
	return &linkSlot{g: g, addr: addr}
}

// prove makes the slot that of a link whose other end has proven who it is. It
// reports false if there are too many.
func (s *linkSlot) prove() bool {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	u := s.g.addresses[s.addr]
	if s.g.all.proven >= maxPeerLinks || u.proven >= maxPeerLinksPerAddress {
		return false
	}
	for _, u := range []*linkUsage{u, &s.g.all} {
		u.unproven--
		u.proven++
	}
	s.proven = true
	return true
}

// leave gives the place up.
func (s *linkSlot) leave() {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	u := s.g.addresses[s.addr]
	for _, u := range []*linkUsage{u, &s.g.all} {
		if s.proven {
			u.proven--
		} else {
			u.unproven--
		}
	}
	if *u == (linkUsage{}) {
		delete(s.g.addresses, s.addr)
	}
}

// count returns how many links there are.
func (g *linkGate) count() linkUsage {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.all
}
