package session

import (
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/wire"
)

const (
	// detourAfter is for how long a peer may leave something unanswered before
	// another way is tried, and then yet another: long enough for a few probes to be
	// lost by chance, and for a link that broke to be found out (3.4 of SPEC.md).
	detourAfter = 3 * time.Second
	// detourProbes is how many probes it must have left unanswered by then.
	detourProbes = 3
	// followEvery is how often a session follows its peer to another way.
	followEvery = time.Second
)

// A Detourer is a route with several ways to the peer, such as over one of two
// relays. One that takes packets and swallows them is noticed by nobody but the
// sessions.
type Detourer interface {
	Path
	// Detour takes another way; it reports false if there is none.
	Detour() bool
	// Follow takes the way over a neighbour from which the peer's packets have begun
	// to come; it reports false if that changes nothing.
	Follow(neighbour identity.NodeID) bool
}

// detour takes another way if nothing comes back on the route.
func (s *Session) detour(now time.Time) {
	t := &s.paths
	if t.active != nil || s.state != established || s.awaiting.IsZero() || s.det.PTOCount() < detourProbes ||
		now.Sub(s.awaiting) < detourAfter || now.Sub(t.detoured) < detourAfter {
		return
	}
	if r, ok := t.route.(Detourer); ok && r.Detour() {
		t.detoured = now
		s.probes[wire.SpaceApp] = max(s.probes[wire.SpaceApp], 1)
	}
}

// follow takes the way on which the peer's packets have begun to come: the peer may
// have taken it because nothing came back on the former one. was is that.
func (s *Session) follow(now time.Time, was, via Path) {
	t := &s.paths
	if was == nil || via == nil || via.ID() == 0 || now.Sub(t.followed) < followEvery {
		return
	}
	if r, ok := t.route.(Detourer); ok && r.Follow(via.ID()) {
		t.followed = now
	}
}
