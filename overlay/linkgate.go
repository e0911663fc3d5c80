package overlay

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

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
	// unprovenPatience is how long one of those may take while there is room for no
	// other: then the oldest gives way to the next. An honest peer needs three round
	// trips.
	unprovenPatience = time.Second
)

// A linkGate counts accepted links and limits them.
type linkGate struct {
	mu        sync.Mutex
	waiting   []*linkSlot // those that have not proven anything, the oldest first
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
	gone   bool // it gave way, and counts no more

	entered time.Time
	end     func() error
}

func newLinkGate() *linkGate { return &linkGate{addresses: make(map[string]*linkUsage)} }

// enter counts a new conn, which end ends. It returns nil if there is no room for it,
// and nobody gives way.
func (g *linkGate) enter(remote net.Addr, end func() error) *linkSlot {
	s, victim := g.admit(remote, end)
	if victim != nil {
		_ = victim.end()
	}
	return s
}

// admit is enter, and returns who gives way and is still to be ended.
func (g *linkGate) admit(remote net.Addr, end func() error) (s, victim *linkSlot) {
	addr := remote.String()
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		addr = origin.Of(ap.Addr())
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	u := g.addresses[addr]
	if u == nil {
		u = new(linkUsage)
	}
	ofAddress := u.unproven >= maxUnprovenPerAddress
	if ofAddress || g.all.unproven >= maxUnproven {
		i := slices.IndexFunc(g.waiting, func(s *linkSlot) bool { return !ofAddress || s.addr == addr })
		if i < 0 || now.Sub(g.waiting[i].entered) < unprovenPatience {
			return nil, nil
		}
		victim = g.waiting[i]
		victim.leaveLocked()
		victim.gone = true
	}
	g.addresses[addr] = u
	g.all.unproven++
	u.unproven++
	s = &linkSlot{g: g, addr: addr, entered: now, end: end}
	g.waiting = append(g.waiting, s)
	return s, victim
}

// prove makes the slot that of a link whose other end has proven who it is. It
// reports false if there are too many.
func (s *linkSlot) prove() bool {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if s.gone {
		return false
	}
	u := s.g.addresses[s.addr]
	if s.g.all.proven >= maxPeerLinks || u.proven >= maxPeerLinksPerAddress {
		return false
	}
	for _, u := range []*linkUsage{u, &s.g.all} {
		u.unproven--
		u.proven++
	}
	s.proven = true
	s.unqueueLocked()
	return true
}

// gaveWay reports whether the slot's place was given to another.
func (s *linkSlot) gaveWay() bool {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	return s.gone
}

// leave gives the place up.
func (s *linkSlot) leave() {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	s.leaveLocked()
}

// leaveLocked is leave with the gate's mu held.
func (s *linkSlot) leaveLocked() {
	if s.gone {
		return
	}
	u := s.g.addresses[s.addr]
	for _, u := range []*linkUsage{u, &s.g.all} {
		if s.proven {
			u.proven--
		} else {
			u.unproven--
		}
	}
	s.unqueueLocked()
	if *u == (linkUsage{}) {
		delete(s.g.addresses, s.addr)
	}
}

// unqueueLocked removes the slot from those that may have to give way.
func (s *linkSlot) unqueueLocked() {
	s.g.waiting = slices.DeleteFunc(s.g.waiting, func(w *linkSlot) bool { return w == s })
}

// count returns how many links there are.
func (g *linkGate) count() linkUsage {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.all
}
