package session

import (
	"slices"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/recovery"
	"github.com/weftnet/weft/internal/wire"
)

const (
	// maxPaths bounds the direct paths that a session knows: the candidates of
	// a peer, and a few that it has moved to.
	maxPaths = 16
	// pathKept is how long a path that has failed is remembered.
	pathKept = time.Minute
	// pathMemory is for how long a path that is left keeps its round trip and
	// congestion state.
	pathMemory = time.Minute
	// maxFound bounds the paths that a session begins to check in foundWindow
	// because packets came from there, so that nobody who invents addresses
	// can have it send challenges there.
	maxFound    = 32
	foundWindow = 10 * time.Second
)

// A pathTable is the paths of a session: the route, which is always there, and
// direct ones.
type pathTable struct {
	list   []*pathEntry // the oldest first
	active *pathEntry   // the path in use; nil: the route
	moved  time.Time    // when active last changed

	route    Path
	routeRec *recovery.Path
	routeOut uint64    // bytes
	routeIn  uint64    // bytes that came on no direct path
	left     time.Time // when the route was last in use
	routeRTT time.Duration
	stuck    time.Time // since when the route, in use, takes no packets
	mtuRetry time.Time // when larger packets are tried again on the route
	mtuWait  time.Duration

	from    *pathEntry // that fromVia is, if any
	fromVia Path       // that the last packet came on
	peerOn  *pathEntry // that the peer sends data on; nil: another one
	found   int        // paths found since foundAt
	foundAt time.Time
	settled time.Time // when the peer has sent on one path for long enough
}

// A pathEntry is what a session knows of one direct path.
type pathEntry struct {
	via     Direct
	state   PathState
	since   time.Time // of state
	reason  string    // for state
	proven  bool      // the peer has answered there
	heard   time.Time // when something authenticated last came from there
	asked   [maxAsked]asked
	tried   time.Time // when it was last asked
	next    int       // in asked
	check   check
	latest  time.Duration             // round trip
	samples [rttSamples]time.Duration // of round trips
	sampled int                       // index of the next
	rec     *recovery.Path            // nil: never used
	left    time.Time                 // when it was last in use
	changed bool                      // rec is of another network
	mtu     mtuSearch
	doubted time.Time // when it last was, since it was taken into use
	acked   uint64    // large packets acknowledged by then
	deaths  int       // in the last minute or so
	died    time.Time // when it last became suspect
	held    time.Time // not used before
}

// rttSamples is how many round trips of challenges are looked at, so that one
// that waited in a queue does not count.
const rttSamples = 4

// rtt is the round trip by which paths are compared; zero: unknown.
func (d *pathEntry) rtt() (low time.Duration) {
	for _, v := range d.samples {
		if v > 0 && (low == 0 || v < low) {
			low = v
		}
	}
	return low
}

func (d *pathEntry) sample(rtt time.Duration) {
	d.latest = max(rtt, time.Microsecond)
	d.samples[d.sampled%rttSamples] = d.latest
	d.sampled++
}

func (d *pathEntry) set(now time.Time, state PathState, reason string) {
	if d.state != state {
		d.since = now
	}
	d.state, d.reason = state, reason
}

func (t *pathTable) find(p Path) *pathEntry {
	for _, d := range t.list {
		if Path(d.via) == p {
			return d
		}
	}
	return nil
}

// victim returns the path that makes room for another: the oldest that is not
// validated, those that have failed first.
func (t *pathTable) victim() *pathEntry {
	var oldest *pathEntry
	for _, d := range t.list {
		switch {
		case d.state == PathValidated || d == t.active:
		case oldest == nil || d.state == PathFailed && oldest.state != PathFailed:
			oldest = d
		}
	}
	return oldest
}

// addPath takes note of a path, nil if there is no room.
func (s *Session) addPath(now time.Time, via Direct) *pathEntry {
	t := &s.paths
	if len(t.list) >= maxPaths {
		v := t.victim()
		if v == nil {
			s.count.PathsRefused++
			return nil
		}
		s.removePath(now, v, "")
	}
	if !via.Keep() {
		s.count.PathsRefused++
		return nil
	}
	d := &pathEntry{via: via, since: now, tried: now, heard: now}
	t.list = append(t.list, d)
	t.fromVia = nil
	return d
}

// removePath forgets a path. If it is in use, packets take the route.
func (s *Session) removePath(now time.Time, d *pathEntry, reason string) {
	t := &s.paths
	t.list = slices.DeleteFunc(t.list, func(e *pathEntry) bool { return e == d })
	t.fromVia = nil
	if t.peerOn == d {
		t.peerOn = nil
	}
	if t.active == d {
		s.move(now, nil, reason)
		s.probe(now)
	}
	if d.state == PathValidated || d.state == PathSuspect {
		s.tell(PathEvent{Kind: PathDied, Path: d.via, Reason: reason})
	}
	d.via.Forget()
}

// tell tells the owner of the endpoint.
func (s *Session) tell(e PathEvent) {
	if s.ep.cfg.OnPath != nil {
		s.outside(func() { s.ep.cfg.OnPath(s, e) })
	}
}

// cameOn looks at the path that an authenticated 1-RTT packet came on. newest:
// no later one has come yet; probing: it has nothing but probes of paths.
func (s *Session) cameOn(now time.Time, it item, newest, probing bool) {
	t := &s.paths
	if it.via != t.fromVia {
		t.from, t.fromVia = t.find(it.via), it.via
		if t.from == nil {
			if via, ok := it.via.(Direct); ok {
				t.from = s.found(now, it, via)
			}
		}
	}
	d := t.from
	switch {
	case d == nil:
		t.routeIn += uint64(len(it.f.Packet()))
		if _, ok := it.via.(Direct); !ok {
			s.checkNeighbour(now, it)
			if newest {
				s.follow(now, it.via)
			}
		}
	case it.f.HopLimit() != frame.DefaultHopLimit:
		return // somebody there has forwarded it
	default:
		d.heard = now
		if now.Sub(d.since) >= time.Second && (d.state == PathFailed || d.state == PathSuspect && now.Sub(d.tried) >= suspectWait) {
			s.askAgain(now, d)
		}
	}
	if newest && !probing && d != t.peerOn {
		s.peerMoved(now, d)
	}
}

// found begins to check a path that the peer's packets have begun to come on.
func (s *Session) found(now time.Time, it item, via Direct) *pathEntry {
	t := &s.paths
	if it.f.HopLimit() != frame.DefaultHopLimit || Path(via) == t.route {
		return nil
	}
	if now.Sub(t.foundAt) >= foundWindow {
		t.foundAt, t.found = now, 0
	}
	if t.found++; t.found > maxFound {
		s.count.PathsRefused++
		return nil
	}
	d := s.addPath(now, via)
	if d != nil {
		s.startCheck(now, d, check{kind: checkProbe, tries: validationTries, wait: 2 * s.det.PTO()})
		t.from, t.fromVia = d, via
	}
	return d
}

// peerMoved notices that the peer sends data on another path. If it has left
// the one in use, that may be because it does not hear this side there.
func (s *Session) peerMoved(now time.Time, to *pathEntry) {
	t := &s.paths
	from := t.peerOn
	t.peerOn = to
	t.settled = now.Add(lateFor)
	if from != nil && from == t.active && from.state == PathValidated {
		s.doubt(now, from)
	}
}

// lateFor is how long after the peer has moved packets may still come on the
// path that it has left. Meanwhile the replay window is not narrowed.
const lateFor = 2 * time.Second

// setRoute changes the route.
func (s *Session) setRoute(now time.Time, p Path) {
	t := &s.paths
	if p == nil || p == t.route {
		return
	}
	t.route, t.routeRec, t.routeRTT = p, nil, 0
	t.mtuRetry, t.mtuWait = time.Time{}, 0
	if t.active == nil {
		s.use(now, nil)
	}
}

// use makes packets take d, or the route if that is nil.
func (s *Session) use(now time.Time, d *pathEntry) {
	t := &s.paths
	t.active = d
	via, mtu, rtt := t.route, t.route.MaxPacket(), t.routeRTT
	rec, left := &t.routeRec, t.left
	if d != nil {
		via, mtu, rtt = d.via, d.startMTU(now), d.rtt()
		rec, left = &d.rec, d.left
	}
	mtu = min(max(mtu, wire.MinPacket), frame.MaxPacket)
	if *rec == nil || now.Sub(left) > pathMemory || d != nil && d.changed {
		*rec = s.det.NewPath(mtu)
	}
	if d != nil {
		d.changed, d.doubted = false, time.Time{}
	}
	(*rec).Seed(now, rtt)
	s.det.Use(now, *rec)
	s.ownPath = via
	s.mu.Lock()
	s.path = via
	s.mu.Unlock()
	s.setMTU(mtu)
	s.smoothed.Store(int64(s.det.SmoothedRTT()))
}

// forgetPaths lets go of the paths of a session that has ended.
func (s *Session) forgetPaths() {
	for _, d := range s.paths.list {
		d.via.Forget()
	}
	s.paths.list, s.paths.active = nil, nil
}

// SetPath makes p the route of the session and asks the peer for a sign of life
// there, unless a direct path is in use.
func (s *Session) SetPath(p Path) {
	s.do(func(now time.Time) {
		if p != s.paths.route {
			s.setRoute(now, p)
			s.probe(now)
		}
	})
}

// startPaths learns from the packet that completed the handshake who is at the
// other end of what it came on. A path over which the whole handshake went has
// proven both of its directions.
func (s *Session) startPaths(now time.Time, it item) {
	t := &s.paths
	used, ok := t.route.(Direct)
	if !ok {
		if _, ok := it.via.(Direct); ok {
			return // its first 1-RTT packet begins a check
		}
		if via := direct(it.f, it.via, s.peerID); via != nil {
			s.bind(via)
		}
		return
	}
	if Path(used) != it.via || it.f.HopLimit() != frame.DefaultHopLimit {
		return
	}
	d := s.addPath(now, used)
	if d == nil {
		return
	}
	d.proven, d.rec = true, t.routeRec
	used.Validated()
	t.active, t.moved, t.peerOn = d, now, d
	d.startMTU(now)
	if s.ep.cfg.Route != nil {
		t.route, t.routeRec = s.ep.cfg.Route(s.peerID), nil
	}
	s.up(now, d)
	s.startCheck(now, d, check{kind: checkDoubt, tries: idleTries, wait: idleWait})
}
