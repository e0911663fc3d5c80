package uplink

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/times"
)

const (
	// wanted is how many relays are in use: home and spare.
	wanted = 2
	// maxTries is how many relays are tried at once while none is up, and
	// spareTries while only the spare is missing: one and, if that has failed
	// before, another beside it.
	maxTries   = 4
	spareTries = 2
	// sparePatience is how often a relay may fail before another is tried in
	// its place, while home is up: many are back at once.
	sparePatience = 2
	// settleTime is how long a relay may take to come up before it is given up
	// because enough others are.
	settleTime = 5 * time.Second
	// restTime is how long a relay that failed may be left alone while another
	// is up.
	restTime = time.Minute
	// learnedAfter is how long the configured relays have before learned ones
	// are tried, unless all of them have failed before.
	learnedAfter = 2 * time.Second
	// exploreEvery is how often a relay that is not in use is measured, which
	// costs a link and a session for a moment; a fifth is added at random. One
	// that was measured within measuredFor is left alone.
	exploreEvery = 10 * time.Minute
	measuredFor  = time.Hour
)

// run decides which relays are in use, until ctx ends.
func (s *Set) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		next := s.tend(time.Now())
		s.remember()
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// A survey is how the relays in use are.
type survey struct {
	good   []*place // up, and they stay
	trying []*place // not up yet or not any more
	busy   bool     // some of trying may still be up soon
}

// survey looks at all uplinks. s.mu is held.
func (s *Set) survey(now time.Time) (v survey) {
	for _, p := range s.places {
		if p.uplink == nil || p.stopping {
			continue
		}
		switch st := p.uplink.Status(); {
		case st.Phase == PhaseUp && !st.GoingAway:
			v.good = append(v.good, p)
		case st.Phase == PhaseUp, st.Phase == PhaseDuplicate:
		default:
			v.trying = append(v.trying, p)
			v.busy = v.busy || p.tries == 0 && now.Before(p.began.Add(settleTime))
		}
	}
	return v
}

// tend begins and ends the use of relays, and returns when it must look again,
// zero if only changes are of interest.
func (s *Set) tend(now time.Time) (next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return time.Time{}
	}
	v := s.survey(now)
	if len(v.good) < wanted {
		s.measure, s.explore = time.Time{}, time.Time{}
		return s.findMore(now, v)
	}
	if v.busy {
		next = s.whenSettled(v)
	} else {
		s.settle(now, v)
	}
	return times.Earliest(next, s.look(now, v))
}

// whenSettled returns when the last of those that may still come up is given up.
func (s *Set) whenSettled(v survey) (at time.Time) {
	for _, p := range v.trying {
		if end := p.began.Add(settleTime); p.tries == 0 && end.After(at) {
			at = end
		}
	}
	return at
}

// settle moves to a nearer home and keeps no more than that and a spare.
func (s *Set) settle(now time.Time, v survey) {
	if s.home == nil || !slices.Contains(v.good, s.home.place) {
		return // it is being chosen
	}
	home := s.home.place
	if best := slices.MinFunc(v.good, compareRTT); s.mayMove(now) && nearer(best, home) {
		s.cfg.Logger.WithField("relay", best.addr()).WithField("from", home.addr()).Info("a relay is nearer; moving there")
		s.moveTo(best.uplink)
		home = best
	}
	s.settled = true
	spare := s.spare(v, home)
	for _, p := range s.places {
		if p != home && p != spare && p.uplink != nil && !p.stopping && !p.uplink.Status().GoingAway {
			s.stop(p)
		}
	}
}

// mayMove reports whether home may be left for a nearer relay. The first time
// is as soon as relays can be compared.
func (s *Set) mayMove(now time.Time) bool {
	return !s.settled || now.Sub(s.moved) >= moveEvery
}

// spare picks the spare among the relays that are up: on another host than
// home if there is one, and the present one unless another is much nearer.
func (s *Set) spare(v survey, home *place) *place {
	others := slices.DeleteFunc(slices.Clone(v.good), func(p *place) bool { return p == home })
	return slices.MinFunc(others, func(a, b *place) int {
		switch {
		case a.host() == home.host() != (b.host() == home.host()):
			return compareBool(a.host() != home.host(), b.host() != home.host())
		case nearer(a, b):
			return -1
		case nearer(b, a):
			return 1
		}
		return cmp.Compare(a.began.UnixNano(), b.began.UnixNano())
	})
}

// look has home and spare measured, and now and then another relay.
func (s *Set) look(now time.Time, v survey) (next time.Time) {
	if s.measure.IsZero() {
		s.measure, s.explore = now.Add(jittered(measureEvery)), now.Add(jittered(exploreEvery))
	}
	if !now.Before(s.measure) {
		s.measure = now.Add(jittered(measureEvery))
		for _, p := range v.good {
			kick(p.uplink.gauge)
		}
	}
	if !now.Before(s.explore) {
		s.explore = now.Add(jittered(exploreEvery))
		for _, p := range s.unused(now, true) {
			if p.measured.IsZero() || now.Sub(p.measured) >= measuredFor {
				s.start(now, p)
				next = now.Add(settleTime)
				break
			}
		}
	}
	return times.Earliest(next, times.Earliest(s.measure, s.explore))
}

// findMore begins to use relays until enough are up.
func (s *Set) findMore(now time.Time, v survey) (next time.Time) {
	tries, hopes, patience := maxTries, maxTries, 0
	if len(v.good) > 0 {
		tries, hopes, patience = spareTries, 1, sparePatience
	}
	for _, p := range v.trying {
		if p.tries == 0 {
			hopes--
		}
	}
	fresh := s.unused(now, len(v.good) > 0)
	for len(v.trying) < tries && hopes > 0 && len(fresh) > 0 {
		s.start(now, fresh[0])
		v.trying = append(v.trying, fresh[0])
		fresh = fresh[1:]
		hopes--
	}
	for _, p := range v.trying { // others may do better
		if len(fresh) > 0 && p.tries > patience {
			s.stop(p)
			s.start(now, fresh[0])
			fresh = fresh[1:]
		}
	}
	for _, p := range s.places {
		if p.uplink == nil && now.Before(p.retry) {
			next = times.Earliest(next, p.retry)
		}
	}
	if after := s.homeless.Add(learnedAfter); !s.homeless.IsZero() && now.Before(after) && len(s.places) > len(s.cfg.Relays) {
		next = times.Earliest(next, after)
	}
	return next
}

// unused returns the relays that could be used besides those that are, the best
// first. s.mu is held.
func (s *Set) unused(now time.Time, up bool) []*place {
	learned := up || now.Sub(s.homeless) >= learnedAfter || s.allFailed()
	var homeHost string
	if up && s.home != nil {
		homeHost = s.home.place.host()
	}
	var fresh []*place
	for _, p := range s.places {
		if p.uplink != nil || now.Before(p.retry) || !p.configured && !learned {
			continue
		}
		if p.id != 0 && (p.id == s.cfg.Self || s.claims[p.id] != nil) {
			continue
		}
		fresh = append(fresh, p)
	}
	slices.SortStableFunc(fresh, func(a, b *place) int {
		if a.failures > 0 && b.failures > 0 {
			return a.began.Compare(b.began) // each in its turn
		}
		return cmp.Or(
			compareBool(a.failures == 0, b.failures == 0),
			compareBool(a.host() != homeHost, b.host() != homeHost),
			compareBool(a.configured, b.configured),
			compareRTT(a, b),
		)
	})
	return fresh
}

// allFailed reports whether no configured relay is worth waiting for.
func (s *Set) allFailed() bool {
	return !slices.ContainsFunc(s.places, func(p *place) bool { return p.configured && p.failures == 0 })
}

// start begins to use a relay. s.mu is held.
func (s *Set) start(now time.Time, p *place) {
	p.began, p.tries = now, 0
	p.uplink = newUplink(p, s)
}

// stop ends the use of a relay. s.mu is held.
func (s *Set) stop(p *place) {
	if s.closed {
		return
	}
	p.stopping = true
	u := p.uplink
	before := u.Status()
	s.wg.Go(func() {
		u.retire()
		s.mu.Lock()
		p.last = u.Status()
		p.last.Err = before.Err // the retirement is no failure
		p.last.Phase, p.last.Since = PhaseUnused, time.Now()
		p.last.Registered, p.last.GoingAway, p.last.Next = false, false, time.Time{}
		p.uplink, p.stopping = nil, false
		if p.useless {
			s.places = slices.DeleteFunc(slices.Clone(s.places), func(q *place) bool { return q == p })
		}
		if s.home == u {
			s.home = nil
		}
		s.mu.Unlock()
		s.changed()
	})
}

// noteFailure notes that an attempt or a link of u failed.
func (s *Set) noteFailure(u *Uplink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.cfg.MaxBackoff
	if s.homeless.IsZero() {
		most = max(most, restTime)
	}
	u.place.failed(time.Now(), s.cfg.MinBackoff, most)
}

// noteSuccess notes that u's relay is up.
func (s *Set) noteSuccess(u *Uplink, rtt time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.place.failures, u.place.tries, u.place.retry = 0, 0, time.Time{}
	u.place.sample(time.Now(), rtt)
}

// jittered adds up to a fifth.
func jittered(d time.Duration) time.Duration { return d + rand.N(d/5) }
