package uplink

import (
	"slices"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
)

// learn takes what a relay says about others.
func (s *Set) learn(m *control.Relays) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var told []*place
	for _, r := range m.Relays {
		k, ok := Known{ID: r.ID, Addrs: r.Addrs, Seen: now}.valid()
		if !ok || k.ID == s.cfg.Self {
			continue
		}
		if p := s.adopt(k); p != nil {
			told = append(told, p)
		}
	}
	s.arrange(told)
	kick(s.wake)
}

// adopt makes a learned relay a place. It returns nil for a configured one.
func (s *Set) adopt(k Known) *place {
	for _, p := range s.places {
		if p.configured && (p.id == k.ID || slices.Contains(k.Addrs, p.addr())) {
			return nil
		}
		if !p.configured && p.id == k.ID {
			if !slices.Equal(p.addrs, k.Addrs) {
				p.addrs, p.failures, p.retry = k.Addrs, 0, time.Time{}
				s.dirty = true
			}
			p.seen = k.Seen
			return p
		}
	}
	p := &place{addrs: k.Addrs, id: k.ID, seen: k.Seen}
	p.last = Status{Addr: p.addr(), Learned: true}
	return p
}

// arrange puts the relays that were just told of before the other learned ones
// and forgets those beyond the limit, except those in use.
func (s *Set) arrange(told []*place) {
	before := slices.Clone(s.places)
	rest := slices.DeleteFunc(s.places[len(s.cfg.Relays):], func(p *place) bool { return slices.Contains(told, p) })
	learned := slices.Concat(told, rest)
	for i := len(learned) - 1; i >= 0 && len(learned) > maxLearned; i-- {
		if learned[i].uplink == nil {
			learned = slices.Delete(learned, i, i+1)
		}
	}
	s.places = slices.Concat(before[:len(s.cfg.Relays)], learned)
	s.dirty = s.dirty || !slices.Equal(before, s.places)
}

// forget drops a learned relay that turned out to be none.
func (s *Set) forget(u *Uplink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.place.configured || u.place.stopping {
		return
	}
	u.place.useless = true
	s.stop(u.place)
	s.dirty = true
}

// knownLocked returns the learned relays.
func (s *Set) knownLocked() []Known {
	var all []Known
	for _, p := range s.places[len(s.cfg.Relays):] {
		if !p.useless {
			all = append(all, Known{ID: p.id, Addrs: slices.Clone(p.addrs), Seen: p.seen})
		}
	}
	return all
}

// recall reads what was learned before the node was restarted.
func (s *Set) recall() {
	if s.cfg.Memory == nil {
		return
	}
	relays, err := s.cfg.Memory.Load()
	if err != nil {
		s.cfg.Logger.WithError(err).Warn("the relays learned before are forgotten")
	}
	seen := make(map[identity.NodeID]bool)
	for _, k := range relays {
		k, ok := k.valid()
		if !ok || seen[k.ID] || k.ID == s.cfg.Self || len(seen) == maxLearned {
			continue
		}
		seen[k.ID] = true
		if p := s.adopt(k); p != nil {
			s.places = append(s.places, p)
		}
	}
	s.dirty = false
}

// remember writes what was learned, if that has changed.
func (s *Set) remember() {
	s.mu.Lock()
	dirty, relays := s.dirty, s.knownLocked()
	s.dirty = false
	s.mu.Unlock()
	if !dirty || s.cfg.Memory == nil {
		return
	}
	if err := s.cfg.Memory.Save(relays); err != nil {
		s.cfg.Logger.WithError(err).Warn("after a restart this node knows the configured relays only")
	}
}
