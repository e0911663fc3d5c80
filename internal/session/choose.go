package session

import "time"

const (
	// A direct path takes the route's place if its round trip is not above
	// routeShare of the route's and routeSlack.
	routeShare = 1.5
	routeSlack = 10 * time.Millisecond
	// A direct path takes another's place if its round trip is below
	// betterShare and at least betterBy lower, at most once in betterEvery.
	betterShare = 0.8
	betterBy    = 2 * time.Millisecond
	betterEvery = 10 * time.Second
	// stuckAfter is how long the route may take no packets until any direct
	// path is better.
	stuckAfter = time.Second
	// A path that became suspect again and again is not used before a time
	// that doubles from firstHold to maxHold; it is forgotten after calmAfter.
	firstHold = time.Second
	maxHold   = 30 * time.Second
	calmAfter = time.Minute
	// The path in use is doubted when nothing sent there was acknowledged for
	// 1.5 probe timeouts, within these limits.
	minDoubt = 200 * time.Millisecond
	maxDoubt = 900 * time.Millisecond
)

// A choice is what the choice of a path depends on.
type choice struct {
	list   []*pathEntry
	active *pathEntry
	moved  time.Time // when active last changed
	// rtt of the route, if it is in use; zero: not known.
	rtt time.Duration
	// ready tells whether the route takes packets, or will soon.
	ready func() bool
}

// best returns the path that is to be used; nil: the route.
func (c *choice) best(now time.Time) *pathEntry {
	best := c.fastest(func(d *pathEntry) bool { return d.usable(now) })
	switch a := c.active; {
	case a == nil:
		if best != nil && (worthIt(best.rtt(), c.rtt) || !c.ready()) {
			return best
		}
		return nil
	case a.state == PathValidated:
		if best != nil && faster(best.rtt(), a.rtt()) && now.Sub(c.moved) >= betterEvery {
			return best
		}
		return a
	case best != nil:
		return best
	case c.ready():
		return nil
	}
	// Nothing else is left, so that a path that was held back is better.
	if other := c.fastest(func(d *pathEntry) bool { return d.state == PathValidated }); other != nil {
		return other
	}
	return c.active
}

func (c *choice) fastest(fits func(*pathEntry) bool) (best *pathEntry) {
	for _, d := range c.list {
		if fits(d) && (best == nil || d.rtt() < best.rtt()) {
			best = d
		}
	}
	return best
}

func (d *pathEntry) usable(now time.Time) bool {
	return d.state == PathValidated && !now.Before(d.held)
}

// worthIt reports whether a direct path is to be preferred to a route.
func worthIt(direct, route time.Duration) bool {
	return route == 0 || float64(direct) <= routeShare*float64(route)+float64(routeSlack)
}

// faster reports whether a path is so much faster than another one that it is
// worth moving.
func faster(a, b time.Duration) bool {
	return float64(a) < betterShare*float64(b) && a+betterBy <= b
}

// choosePath moves the session to the best path.
func (s *Session) choosePath(now time.Time) {
	t := &s.paths
	if len(t.list) == 0 || s.state != established || s.closing != nil {
		return
	}
	c := choice{list: t.list, active: t.active, moved: t.moved, rtt: s.det.SmoothedRTT()}
	c.ready = func() bool { return s.routeReady(now) }
	to := c.best(now)
	if to == t.active {
		return
	}
	was := t.active
	reason := "it is direct"
	switch {
	case was == nil:
	case was.state == PathValidated:
		reason = "it is faster"
	default:
		reason = "the path in use failed: " + was.reason
	}
	s.move(now, to, reason)
	if was != nil && was.state != PathValidated {
		s.probe(now) // whatever was on the way is probably lost
	}
}

// routeReady reports whether the route takes packets, or if it is in use, has
// taken some lately.
func (s *Session) routeReady(now time.Time) bool {
	t := &s.paths
	switch {
	case t.active != nil && Path(t.active.via) == t.route:
		return false
	case t.route.Ready(s):
		t.stuck = time.Time{}
		return true
	case t.active != nil:
		return false
	case t.stuck.IsZero():
		t.stuck = now
	}
	return now.Sub(t.stuck) < stuckAfter
}

// move makes packets take another path.
func (s *Session) move(now time.Time, to *pathEntry, reason string) {
	t := &s.paths
	from := s.ownPath
	if t.active != nil {
		t.active.left = now
	} else {
		t.left, t.routeRTT = now, s.det.SmoothedRTT()
	}
	t.moved, t.stuck = now, time.Time{}
	s.use(now, to)
	s.tell(PathEvent{Kind: PathMoved, From: from, To: s.ownPath, Reason: reason})
}

// doubtAt is when the path in use is to be doubted; zero: nothing is awaited.
func (s *Session) doubtAt(d *pathEntry) time.Time {
	since := s.det.Unanswered()
	if since.IsZero() || d.state != PathValidated {
		return time.Time{}
	}
	return since.Add(min(max(s.det.PTO()*3/2, minDoubt), maxDoubt))
}

// doubt asks the peer on the path in use whether that works. It stays in use
// meanwhile, so that a mere change of the peer's mind moves nobody.
func (s *Session) doubt(now time.Time, d *pathEntry) {
	if d.check.kind != checkDoubt {
		s.suspectSize(now, d)
		wait := min(s.answerTime(d), maxDoubt) / idleTries
		s.startCheck(now, d, check{kind: checkDoubt, tries: idleTries, wait: wait})
	}
}

// suspect takes a path out of use that does not answer.
func (s *Session) suspect(now time.Time, d *pathEntry, reason string) {
	if now.Sub(d.died) > calmAfter {
		d.deaths = 0
	}
	if d.deaths++; d.deaths > 1 {
		d.held = now.Add(min(firstHold<<min(d.deaths-2, 8), maxHold))
	}
	d.died = now
	s.distrust(now, d, reason)
}

// distrust has a path answer before it is used again.
func (s *Session) distrust(now time.Time, d *pathEntry, reason string) {
	d.set(now, PathSuspect, reason)
	s.startCheck(now, d, check{kind: checkSuspect, tries: suspectTries, wait: suspectWait})
}

// recheck distrusts all direct paths: what is known of them was learned in
// another network.
func (s *Session) recheck(now time.Time) {
	if s.state != established || s.closing != nil {
		return
	}
	for _, d := range s.paths.list {
		d.samples = [rttSamples]time.Duration{}
		d.changed = true
		if d == s.paths.active {
			s.shrink(now, d)
		}
		d.mtu = mtuSearch{}
		d.mtu.start(now)
		if d.state == PathValidated || d.state == PathSuspect {
			d.held, d.deaths = time.Time{}, 0
			s.distrust(now, d, "the local network has changed")
		} else {
			s.askAgain(now, d)
		}
	}
}

// pathDeadline is when the paths need attention next, after a turn in which they
// had all that was due.
func (s *Session) pathDeadline(now time.Time) (next time.Time) {
	t := &s.paths
	earliest := func(at time.Time) {
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for _, d := range t.list {
		earliest(s.pathDue(d))
		earliest(d.held)
	}
	if d := t.active; d != nil {
		earliest(d.mtu.next)
	} else if !t.stuck.IsZero() && len(t.list) > 0 {
		earliest(t.stuck.Add(stuckAfter))
	}
	return next
}
