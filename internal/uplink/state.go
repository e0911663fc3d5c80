package uplink

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
)

// How an uplink's state changes. The dialler says when a link is dialled, up
// or broken; what happens on a link counts only while that link is the
// dialler's, that is, in PhaseJoining and PhaseUp.

// Why the use of a link ends.
var (
	errLinkDown = errors.New("the link to the relay went down")
	errLeft     = errors.New("another relay is used instead")
)

// begin enters a phase that does not depend on the one before.
func (u *Uplink) begin(p Phase, next time.Time, err error) {
	u.change(func(s *Status) {
		s.enter(p)
		s.Next = next
		if err != nil {
			s.Err = err
		}
	})
}

// up makes a joined link the one in use; registered says that it is home. It
// returns false if it broke.
func (u *Uplink) up(relay identity.Peer, client *control.Client, answer control.Registered, registered bool) bool {
	alone := !u.set.Up()
	u.change(func(s *Status) {
		if s.Phase != PhaseJoining {
			client = nil
			return
		}
		s.enter(PhaseUp)
		s.Relay = relay
		s.Registered = registered
		s.answered(answer)
		u.client = client
	})
	if client == nil {
		return false
	}
	u.log.WithField("id", relay.ID.String()).Info("relay is up")
	u.set.event(Event{Kind: EventUp, Addr: u.addr, Relay: relay.ID})
	switch {
	case registered:
		u.set.registered(u, u.Status())
	case alone:
		u.carrier.pathUp()
	}
	return true
}

// down undoes up. err is why it was necessary.
func (u *Uplink) down(err error) {
	u.change(func(s *Status) {
		u.client = nil
		if s.Phase == PhaseUp {
			s.enter(PhaseJoining)
		}
	})
	if errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed) || errors.Is(err, errLeft) {
		return // not the relay's doing
	}
	u.set.event(Event{Kind: EventDown, Addr: u.addr, Relay: u.Status().Relay.ID, Err: err})
}

// failed notes why joining over the present link failed.
func (u *Uplink) failed(err error) {
	u.change(func(s *Status) {
		if s.Phase == PhaseJoining {
			s.Err = err
		}
	})
}

// change changes the status under the lock, and tells the set.
func (u *Uplink) change(f func(*Status)) {
	u.mu.Lock()
	f(&u.status)
	u.mu.Unlock()
	u.set.changed()
}

// enter changes the phase.
func (s *Status) enter(p Phase) {
	if s.Phase == p {
		return
	}
	if s.Phase != PhaseJoining || p != PhaseUp { // a relay may say so before anything else
		s.GoingAway = false
	}
	if p == PhaseJoining {
		s.droppedHere = 0 // relays count anew for each link
	}
	s.Phase, s.Since, s.Next, s.Registered = p, time.Now(), time.Time{}, false
}

// answered notes what the relay said about itself and this node.
func (s *Status) answered(m control.Registered) {
	s.ObservedAddr = m.ObservedAddr
	if m.RelayName != "" || m.RelayVersion != "" {
		s.RelayName, s.RelayVersion = m.RelayName, m.RelayVersion
	}
}

// pushed takes what the relay says unasked. It runs in the client's reader.
func (u *Uplink) pushed(m control.Message) {
	relay := u.Status().Relay.ID
	switch m := m.(type) {
	case *control.GoingAway:
		u.log.WithField("grace", m.Grace()).Info("relay is about to stop")
		u.set.event(Event{Kind: EventGoingAway, Addr: u.addr, Relay: relay, Grace: m.Grace()})
		u.change(func(s *Status) { s.GoingAway = true })
	case *control.Throttled:
		u.log.WithField("dropped", m.Dropped).Warn("relay throttles this node")
		var more uint64
		u.change(func(s *Status) {
			s.Throttled++
			more = m.Dropped - min(s.droppedHere, m.Dropped)
			s.droppedHere = m.Dropped
			s.Dropped += more
		})
		u.set.event(Event{Kind: EventThrottled, Addr: u.addr, Relay: relay, Dropped: more})
	case *control.Relays:
		u.set.learn(m)
	case *control.Revocations:
		if u.cfg.OnRevocations != nil {
			u.cfg.OnRevocations(m.Revocations)
		}
	}
}
