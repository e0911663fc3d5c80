package session

import (
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/wire"
)

const (
	// detourAfter is for how long a peer may acknowledge nothing before another
	// way is tried, and then yet another: long enough for a few probes to be lost by
	// chance, and for a link that broke to be found out (3.4 of SPEC.md).
	detourAfter = 3 * time.Second
	// detourProbes is how many probes must have been sent by then.
	detourProbes = 3
	// followAfter is the same for the way on which packets of the peer come, which
	// is known to lead somewhere; three probe timeouts, if that is longer.
	followAfter = 500 * time.Millisecond
	// followEvery is how often a session looks on which way they come.
	followEvery = 200 * time.Millisecond
	// seekProbes is how many probes of a handshake the first way has for itself, some
	// 3 s; then they take turns on all ways.
	seekProbes = 2
)

// A Detourer is a route with several ways to the peer, such as over one of two
// relays. A relay that takes packets and swallows them is noticed by nobody but the
// sessions.
type Detourer interface {
	Path
	// Over returns the neighbour to which packets go now, 0 if nobody knows.
	Over() identity.NodeID
	// Detour takes another way; it reports false if there is none.
	Detour() bool
	// Follow takes the way over a neighbour from which packets of the peer come; it
	// reports false if that is none, or changes nothing.
	Follow(neighbour identity.NodeID) bool
}

// A progress is what is known of whether packets on the route arrive.
type progress struct {
	unacked  time.Time // when the first was sent of all that want an acknowledgement since one came last
	probes   int       // that were sent since
	fresh    bool      // the acknowledgement that is being read brought something
	acked    time.Time // when one last did
	detoured time.Time // when another way was last to be taken
	looked   time.Time // when it was last looked on which way the peer's packets come
	peerVia  Path      // on which they came then
	seeks    bool      // the handshake has tried another way
}

// sent takes note of a packet that wants an acknowledgement.
func (p *progress) sent(now time.Time) {
	if p.unacked.IsZero() {
		p.unacked = now
	}
}

// acknowledged takes note of an acknowledgement that has been read.
func (p *progress) acknowledged(now time.Time) {
	if p.fresh {
		p.fresh, p.unacked, p.probes, p.acked = false, time.Time{}, 0, now
	}
}

// detourAt is when another way must be tried: never while the peer acknowledges what
// it gets, or a direct path is in use.
func (s *Session) detourAt() time.Time {
	p := &s.progress
	if s.paths.active != nil || p.unacked.IsZero() || p.probes < detourProbes {
		return time.Time{}
	}
	if p.detoured.After(p.unacked) {
		return p.detoured.Add(detourAfter)
	}
	return p.unacked.Add(detourAfter)
}

// detour takes another way, if there is one.
func (s *Session) detour(now time.Time) {
	s.progress.detoured = now
	if r, ok := s.paths.route.(Detourer); ok && r.Detour() {
		s.again()
	}
}

// again sends what has waited longest for an acknowledgement.
func (s *Session) again() {
	s.probes[wire.SpaceApp] = max(s.probes[wire.SpaceApp], 1)
	s.requeueOldest(wire.SpaceApp)
}

// follow looks at the way on which the peer's latest packet came on the route. If it
// is another one than this side's, packets on that may not arrive; what comes from
// the peer says nothing of them. A change of the peer's is followed at once: it may
// have made a detour. Otherwise, if nothing is known, an acknowledgement is asked
// for.
func (s *Session) follow(now time.Time, via Path) {
	p := &s.progress
	if now.Sub(p.looked) < followEvery || via == nil || via.ID() == 0 {
		return
	}
	p.looked = now
	changed := p.peerVia != nil && p.peerVia != via
	p.peerVia = via
	r, ok := s.paths.route.(Detourer)
	if !ok || r.Over() == via.ID() {
		return
	}
	wait := max(followAfter, 3*s.det.PTO())
	switch {
	case changed, p.probes > 0 && now.Sub(p.unacked) >= wait:
		if r.Follow(via.ID()) {
			p.detoured = now
			s.again()
		}
	case p.unacked.IsZero() && now.Sub(p.acked) >= wait:
		s.again()
	}
}

// seek has the probes of a handshake take turns on the ways that may lead to the
// peer, each with the whole flight. The server's other way is the one on which the
// client's packets come, for this handshake alone: nobody has proven anything yet.
func (s *Session) seek() {
	p, t := &s.progress, &s.paths
	r, ok := t.route.(Detourer)
	switch {
	case !ok:
		return
	case s.client:
		if s.det.PTOCount() < seekProbes || !r.Detour() {
			return
		}
		p.seeks = true
	case s.ownPath != t.route:
		s.ownPath = t.route
	case p.peerVia != nil && p.peerVia.ID() != 0 && p.peerVia.ID() != r.Over():
		s.ownPath, p.seeks = p.peerVia, true
	default:
		return
	}
	for sp := range wire.SpaceApp {
		if out := &s.spaces[sp].out; out.held() > 0 {
			out.lose(out.una, int(out.held()))
		}
	}
}

// sought ends what seek did, since the peer is proven now: a server goes on where
// the packet came from that did it.
func (s *Session) sought(it item) {
	p, t := &s.progress, &s.paths
	if r, ok := t.route.(Detourer); ok && p.seeks && !s.client {
		s.ownPath = t.route
		if _, direct := it.via.(Direct); !direct && it.via != nil {
			r.Follow(it.via.ID())
		}
	}
}
