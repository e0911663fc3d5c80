package uplink

import (
	"errors"
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
	errLeft     = errors.New("the relay is about to stop, and another one is up")
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

// up makes a joined link the one in use. It returns false if it broke.
func (u *Uplink) up(relay identity.Peer, client *control.Client, answer control.Registered) bool {
	u.change(func(s *Status) {
		if s.Phase != PhaseJoining {
			client = nil
			return
		}
		s.enter(PhaseUp)
		s.Relay = relay
		s.answered(answer)
		u.client = client
	})
	if client == nil {
		return false
	}
	u.log.WithField("id", relay.ID).Info("relay is up")
	u.carrier.pathUp()
	return true
}

// down undoes up.
func (u *Uplink) down() {
	u.change(func(s *Status) {
		u.client = nil
		if s.Phase == PhaseUp {
			s.enter(PhaseJoining)
		}
	})
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
	s.Phase, s.Since, s.Next, s.GoingAway = p, time.Now(), time.Time{}, false
}

// answered notes what the relay said about itself and this node.
func (s *Status) answered(m control.Registered) {
	s.ObservedAddr, s.RelayName, s.RelayVersion = m.ObservedAddr, m.RelayName, m.RelayVersion
}
