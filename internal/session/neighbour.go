package session

import (
	"math/rand/v2"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

// validationTries is how often a link or path that packets begin to come from
// is challenged before it is given up.
const validationTries = 4

// A validation is a link of the switch that the peer's packets have begun to
// come from, and which must prove to lead to the peer (RFC 9000 section 8.2).
type validation struct {
	via   Path
	data  uint64 // of the challenge
	tries int
	at    time.Time // when to try again
}

// checkNeighbour looks at the link that a packet came in on. The first packet
// from a neighbour that has not proven itself there starts a validation.
func (s *Session) checkNeighbour(now time.Time, it item) {
	via := direct(it.f, it.via, s.peerID)
	if via == nil || via == s.proven || via.ID() == s.peerID {
		return
	}
	if s.validation.via == via && !s.validation.at.IsZero() {
		return
	}
	s.validation = validation{via: via, data: rand.Uint64()}
	s.retryValidation(now)
}

// ChallengeLink asks the peer, up to four times, whether it is at the other end
// of a link of the switch that is bound to nobody. Its answer there binds the link. It does
// nothing on a session that is not established or has ended.
func (s *Session) ChallengeLink(via Path) {
	s.do(func(now time.Time) {
		if s.state != established || s.closing != nil || via == s.proven || via.ID() == s.peerID {
			return
		}
		s.validation = validation{via: via, data: rand.Uint64()}
		s.retryValidation(now)
	})
}

// Rerouted tells that the route leads another way from now on, so that what was
// on the former one is lost perhaps, and what was measured there does not hold.
func (s *Session) Rerouted() {
	s.do(func(now time.Time) {
		if s.state == established && s.closing == nil {
			s.rerouted(now)
		}
	})
}

func (s *Session) rerouted(now time.Time) {
	t := &s.paths
	t.routeRec, t.routeRTT = nil, 0
	t.mtuRetry, t.mtuWait = time.Time{}, 0
	t.settled = now.Add(lateFor)
	if t.active == nil {
		s.use(now, nil)
		s.probe(now)
	}
}

// retryValidation sends a challenge, again if there was no answer.
func (s *Session) retryValidation(now time.Time) {
	v := &s.validation
	if v.tries == validationTries {
		*v = validation{}
		return
	}
	v.tries++
	v.at = now.Add(s.det.PTO() << v.tries)
	s.sendProbe(now, v.via, wire.TypePathChallenge, v.data, 0)
}

// validated handles the answer to the challenge of a link.
func (s *Session) validated(now time.Time, data uint64) bool {
	v := s.validation
	if v.at.IsZero() || v.data != data {
		return false
	}
	s.validation = validation{}
	s.bind(v.via)
	s.outside(func() {
		if v.via.ID() == s.peerID {
			s.rerouted(now)
		}
	})
	s.wantProbe = true
	return true
}

// bind tells the switch that the peer is at the other end of via, and leaves
// it to the switch to find the way from now on.
func (s *Session) bind(via Path) {
	s.proven = via
	if s.ep.cfg.OnBind == nil {
		return
	}
	s.outside(func() {
		s.ep.cfg.OnBind(s.hs.Peer(), via)
		if s.ep.cfg.Route != nil && via.ID() == s.peerID {
			s.setRoute(time.Now(), s.ep.cfg.Route(s.peerID))
		}
	})
}
