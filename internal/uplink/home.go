package uplink

import (
	"slices"
	"time"
)

const (
	// moveEvery is the least time between two moves to a nearer relay. A relay
	// that dies or goes away is left at once.
	moveEvery = 30 * time.Second
	// measureEvery is how often home and spare are measured; up to a fifth is
	// added at random.
	measureEvery = 30 * time.Second
)

// changed chooses the home relay anew and tells everybody who waits.
func (s *Set) changed() {
	s.mu.Lock()
	lost := s.chooseHome()
	close(s.change)
	s.change = make(chan struct{})
	s.mu.Unlock()
	kick(s.wake)
	if lost {
		s.carrier.pathUp() // by the spare; the registration follows
	}
	if s.cfg.OnChange != nil {
		s.cfg.OnChange()
	}
}

// chooseHome keeps the home relay while it is up and stays, and otherwise takes
// the nearest that is; one that goes away is better than none. Relays that go
// away are left once the node is registered elsewhere. It reports whether home
// has moved because its relay was lost. s.mu is held.
func (s *Set) chooseHome() (lost bool) {
	var stays, leaves []*place
	homeUp := false
	for _, p := range s.places {
		if p.uplink == nil || p.stopping {
			continue
		}
		switch st := p.uplink.Status(); {
		case st.Phase != PhaseUp:
			continue
		case !st.GoingAway:
			stays = append(stays, p)
		default:
			leaves = append(leaves, p)
		}
		homeUp = homeUp || p.uplink == s.home
	}
	s.noteUp(len(stays)+len(leaves) > 0)
	if home := s.home; home != nil && slices.ContainsFunc(stays, func(p *place) bool { return p.uplink == home }) {
		if home.Status().Registered {
			for _, p := range leaves {
				kick(p.uplink.leave)
			}
		}
		return false
	}
	if s.entering {
		return false // it is about to be up
	}
	best := stays
	if len(stays) == 0 && !homeUp {
		best = leaves
	}
	if len(best) == 0 {
		return false
	}
	s.moveTo(slices.MinFunc(best, compareRTT).uplink)
	return !homeUp
}

// noteUp notes since when no relay is up. s.mu is held.
func (s *Set) noteUp(up bool) {
	switch {
	case up:
		s.homeless = time.Time{}
	case s.homeless.IsZero():
		s.homeless = time.Now()
		for _, p := range s.places {
			p.retry = time.Time{} // there is no time for rests now
		}
	}
}

// moveTo makes u, which is up, home: it registers. s.mu is held.
func (s *Set) moveTo(u *Uplink) {
	s.home = u
	s.entering = false
	s.moved = time.Now()
	u.mu.Lock()
	u.status.Registered = false // from an earlier time
	u.mu.Unlock()
	kick(u.renew)
}

// enter makes u home if there is none, and reports whether it is: it then
// registers at once instead of standing by.
func (s *Set) enter(u *Uplink) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.home == u || s.home == nil || !s.entering && s.home.Status().Phase != PhaseUp {
		s.home = u
		s.entering = true
		s.moved = time.Now()
	}
	return s.home == u
}

// entered ends what enter began, whatever became of it.
func (s *Set) entered(u *Uplink) {
	s.mu.Lock()
	ended := s.home == u && s.entering
	if ended {
		s.entering = false
	}
	s.mu.Unlock()
	if ended {
		s.changed() // another one may have to take over
	}
}

// version numbers a registration of u, unless it is not home any more. Of two
// registrations the one at the present home is thereby the newer.
func (s *Set) version(u *Uplink) (epoch, seq uint64, home bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.home != u {
		return 0, 0, false
	}
	epoch, seq = s.versions.next()
	return epoch, seq, true
}

// registered tells that the node is registered at u's relay.
func (s *Set) registered(u *Uplink, st Status) {
	s.carrier.prefer(st.Relay.ID)
	s.carrier.pathUp()
	s.mu.Lock()
	from := s.listed
	s.listed = u.addr
	s.mu.Unlock()
	if from == u.addr {
		return
	}
	u.log.WithField("from", from).Info("relay is home")
	s.event(Event{Kind: EventMoved, Addr: u.addr, Relay: st.Relay.ID, From: from})
}

// measured notes a round trip.
func (s *Set) measured(u *Uplink, rtt time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.place.sample(time.Now(), rtt)
}
