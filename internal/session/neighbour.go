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
func (s *Session) validated(data uint64) bool {
	v := s.validation
	if v.at.IsZero() || v.data != data {
		return false
	}
	s.validation = validation{}
	s.bind(v.via)
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
	s.ep.cfg.OnBind(s.hs.Peer(), via)
	if s.ep.cfg.Route != nil && via.ID() == s.peerID {
		s.setRoute(time.Now(), s.ep.cfg.Route(s.peerID))
	}
}
