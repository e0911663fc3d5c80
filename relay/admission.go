package relay

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/origin"
)

// prefacePatience is how long a conn may be in its first bytes while there is room
// for no other: then the oldest gives way to the next one, so that those who say
// nothing, however many they are, keep nobody out for long. An honest dialler needs
// less, also when it has to send one of its packets again.
const prefacePatience = 500 * time.Millisecond

// errGaveWay is why a conn that has said too little is closed before its time.
var errGaveWay = errors.New("relay: it has said too little while others waited; all places for first bytes are taken, see Server.MaxPrefaces")

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
	waiting         list.List // of the slots of prefaces, the oldest first
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

	entered time.Time
	place   *list.Element // in a.waiting; nil: it need not give way
	gone    bool          // it gave way, and counts no more
	giveUp  func()        // ends the conn; nil: nobody knows how yet
}

func newAdmission(maxLinks, maxPerAddress, maxPrefaces, maxPrefacesPerAddress int) *admission {
	return &admission{
		maxLinks: maxLinks, maxPerAddress: maxPerAddress,
		maxPrefaces: maxPrefaces, maxPrefacesPerAddress: maxPrefacesPerAddress,
		addresses: make(map[string]*usage),
		empty:     make(chan struct{}),
	}
}

// enter counts a new conn, nil if there are too many prefaces and none of them gives
// way.
func (a *admission) enter(remote net.Addr) *slot {
	s, victim := a.admit(remote, true)
	if victim != nil {
		victim.yield()
	}
	return s
}

// admit is enter for a conn that gives way itself, and for which others do, or that is
// past its first bytes. The victim is still to be told.
func (a *admission) admit(remote net.Addr, first bool) (s, victim *slot) {
	addr, shared, now := addressOf(remote), a.shared.has(addrOf(remote)), time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.addresses[addr]
	if u == nil {
		u = new(usage)
	}
	ofAddress := !shared && exceeds(u.prefaces, a.maxPrefacesPerAddress)
	if ofAddress || exceeds(a.prefaces, a.maxPrefaces) {
		if first {
			victim = a.evictLocked(addr, ofAddress, now)
		}
		if victim == nil {
			return nil, nil
		}
	}
	a.addresses[addr] = u
	a.prefaces++
	u.prefaces++
	s = &slot{a: a, addr: addr, shared: shared, entered: now}
	if first {
		s.place = a.waiting.PushBack(s)
	}
	return s, victim
}

// evictLocked takes the place of the oldest preface, of an address or of all. It
// returns nil if none is old enough. a.mu is held.
func (a *admission) evictLocked(addr string, ofAddress bool, now time.Time) *slot {
	for e := a.waiting.Front(); e != nil; e = e.Next() {
		s := e.Value.(*slot)
		if now.Sub(s.entered) < prefacePatience {
			break
		}
		if !ofAddress || addr == s.addr {
			s.leaveLocked()
			s.gone = true
			return s
		}
	}
	return nil
}

// waits says how the conn is ended if it has to give way. giveUp may be called twice.
func (s *slot) waits(giveUp func()) {
	s.a.mu.Lock()
	s.giveUp = giveUp
	gone := s.gone
	s.a.mu.Unlock()
	if gone {
		giveUp()
	}
}

// yield ends the conn of a slot that gave way.
func (s *slot) yield() {
	s.a.mu.Lock()
	giveUp := s.giveUp
	s.a.mu.Unlock()
	if giveUp != nil {
		giveUp()
	}
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
		s.unqueueLocked(u)
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
	case s.gone, exceeds(a.links, a.maxLinks) || !s.shared && exceeds(a.addresses[s.addr].links, a.maxPerAddress):
		return link.StatusBusy
	}
	return link.StatusOK
}

// move makes the slot, which is that of a preface, one of another admission. It
// reports false, and changes nothing, if that has no room, or if the slot gave way.
func (s *slot) move(to *admission, remote net.Addr) bool {
	s.a.mu.Lock()
	gone := s.gone
	s.a.mu.Unlock()
	if gone {
		return false
	}
	there, _ := to.admit(remote, false)
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
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	s.leaveLocked()
}

// leaveLocked is leave with the admission's mu held.
func (s *slot) leaveLocked() {
	if s.gone {
		return
	}
	a, u := s.a, s.a.addresses[s.addr]
	if s.linked {
		a.links--
		u.links--
	} else {
		s.unqueueLocked(u)
	}
	if *u == (usage{}) {
		delete(a.addresses, s.addr)
	}
	a.checkEmpty()
}

// unqueueLocked stops counting a preface. The admission's mu is held.
func (s *slot) unqueueLocked(u *usage) {
	s.a.prefaces--
	u.prefaces--
	if s.place != nil {
		s.a.waiting.Remove(s.place)
		s.place = nil
	}
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
