package relay

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/origin"
)

// admission counts links and limits them, in all and for each address. A node's
// link first counts as a preface and, once accepted, as a link; one of the
// backbone, which has an admission of its own, as a preface until the other end
// has proven to be a relay.
type admission struct {
	maxLinks, maxPerAddress            int      // negative: no limit
	maxPrefaces, maxPrefacesPerAddress int      // the same
	shared                             prefixes // addresses without a limit of their own

	mu              sync.Mutex
	draining        bool
	links, prefaces int
	addresses       map[string]*usage
	empty           chan struct{} // closed when draining and no link is left
}

// A usage is what one address takes.
type usage struct{ links, prefaces int }

// A slot is one link's place in the counts. Its owner calls leave in the end.
type slot struct {
	a      *admission
	addr   string
	linked bool
	shared bool // the address has no limit of its own
}

func newAdmission(maxLinks, maxPerAddress, maxPrefaces, maxPrefacesPerAddress int) *admission {
	return &admission{
		maxLinks: maxLinks, maxPerAddress: maxPerAddress,
		maxPrefaces: maxPrefaces, maxPrefacesPerAddress: maxPrefacesPerAddress,
		addresses: make(map[string]*usage),
		empty:     make(chan struct{}),
	}
}

// enter counts a new conn, nil if there are too many prefaces.
func (a *admission) enter(remote net.Addr) *slot {
	addr, shared := addressOf(remote), a.shared.has(addrOf(remote))
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.addresses[addr]
	if u == nil {
		u = new(usage)
	}
	if exceeds(a.prefaces, a.maxPrefaces) || !shared && exceeds(u.prefaces, a.maxPrefacesPerAddress) {
		return nil
	}
	a.addresses[addr] = u
	a.prefaces++
	u.prefaces++
	return &slot{a: a, addr: addr, shared: shared}
}

// link makes the slot that of a link, unless the status says why not. It may be
// called again.
func (s *slot) link() link.Status {
	a := s.a
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.linked {
		return link.StatusOK
	}
	status := s.roomLocked()
	if status == link.StatusOK {
		u := a.addresses[s.addr]
		a.prefaces--
		u.prefaces--
		a.links++
		u.links++
		s.linked = true
	}
	return status
}

// room says what link would say now.
func (s *slot) room() link.Status {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	return s.roomLocked()
}

// roomLocked is room with the admission's mu held.
func (s *slot) roomLocked() link.Status {
	a := s.a
	switch {
	case a.draining:
		return link.StatusShuttingDown
	case exceeds(a.links, a.maxLinks) || !s.shared && exceeds(a.addresses[s.addr].links, a.maxPerAddress):
		return link.StatusBusy
	}
	return link.StatusOK
}

// move makes the slot, which is that of a preface, one of another admission. It
// reports false, and changes nothing, if that has no room.
func (s *slot) move(to *admission, remote net.Addr) bool {
	there := to.enter(remote)
	if there == nil {
		return false
	}
	s.leave()
	*s = *there
	return true
}

// origin is the address that limits hold for, empty if it hides many.
func (s *slot) origin() string {
	if s.shared || s.a.maxPerAddress < 0 {
		return ""
	}
	return s.addr
}

// leave gives the place up.
func (s *slot) leave() {
	a := s.a
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.addresses[s.addr]
	if s.linked {
		a.links--
		u.links--
	} else {
		a.prefaces--
		u.prefaces--
	}
	if *u == (usage{}) {
		delete(a.addresses, s.addr)
	}
	a.checkEmpty()
}

// drain lets no further link in.
func (a *admission) drain() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.draining = true
	a.checkEmpty()
}

// isDraining reports whether drain was called.
func (a *admission) isDraining() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.draining
}

// waitEmpty waits until no link is left after drain.
func (a *admission) waitEmpty(ctx context.Context) error {
	select {
	case <-a.empty:
		return nil
	default:
	}
	select {
	case <-a.empty:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// count returns how many links and prefaces there are.
func (a *admission) count() (links, prefaces int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.links, a.prefaces
}

// checkEmpty closes empty if it is time. a.mu is held.
func (a *admission) checkEmpty() {
	if !a.draining || a.links > 0 {
		return
	}
	select {
	case <-a.empty:
	default:
		close(a.empty)
	}
}

// exceeds reports whether one more would be more than limit.
func exceeds(n, limit int) bool { return limit >= 0 && n >= limit }

// addressOf returns what counts as one address.
func addressOf(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	return origin.Of(ip)
}
