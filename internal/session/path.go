package session

import (
	"math/rand/v2"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/recovery"
	"github.com/weftnet/weft/internal/wire"
)

const (
	// maxResponses bounds the PATH_RESPONSEs that wait to be sent.
	maxResponses = 16
	// validationTries is how often a path is challenged before it is given up.
	validationTries = 4
	// minMTUWait and maxMTUWait bound how long a session keeps to small
	// packets after the path swallowed large ones.
	minMTUWait = 10 * time.Second
	maxMTUWait = 10 * time.Minute
)

// A validation is a link that the peer's packets have begun to come from, and
// which must prove to lead to the peer (RFC 9000 section 8.2).
type validation struct {
	via   Path
	data  uint64 // of the challenge
	tries int
	at    time.Time // when to try again
}

// A response is a PATH_RESPONSE that is owed, on the link of the challenge.
type response struct {
	data uint64
	via  Path
}

// checkPath looks at the link that a packet came in on. The first packet from
// a neighbour that has not proven itself there starts a validation.
func (s *Session) checkPath(now time.Time, it item) {
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
	s.sendOn(now, v.via, wire.TypePathChallenge, v.data)
}

// validated handles a PATH_RESPONSE.
func (s *Session) validated(_ time.Time, data uint64) {
	if v := s.validation; !v.at.IsZero() && v.data == data {
		s.validation = validation{}
		s.bind(v.via)
		s.wantProbe = true
	}
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
		s.setPath(s.ep.cfg.Route(s.peerID))
	}
}

// sendResponses sends the PATH_RESPONSEs that are owed.
func (s *Session) sendResponses(now time.Time) {
	for _, r := range s.responses {
		if r.via != nil && s.closing == nil {
			s.sendOn(now, r.via, wire.TypePathResponse, r.data)
		}
	}
	s.responses = s.responses[:0]
}

// sendOn sends a packet with one path frame on a link that need not be the
// path in use.
func (s *Session) sendOn(now time.Time, via Path, kind uint8, data uint64) {
	s.plan.reset()
	s.plan.ctrl = wire.AppendPath(s.plan.ctrl, kind, data)
	s.plan.eliciting = true
	s.transmit(s.sealApp(now, via), via)
}

// setPath changes the path in use. Nothing is known about a new path, so its
// round trip and congestion start anew (RFC 9000 section 9.4).
func (s *Session) setPath(p Path) {
	if p == nil || p == s.ownPath {
		return
	}
	s.ownPath = p
	s.mu.Lock()
	s.path = p
	s.mu.Unlock()
	s.mtuRetry, s.mtuWait = time.Time{}, 0
	s.setMTU(p.MaxPacket())
	s.det.PathChanged(time.Now(), s.mtu)
}

// setMTU changes the size of packets.
func (s *Session) setMTU(n int) {
	s.mtu = min(max(n, wire.MinPacket), frame.MaxPacket)
	s.det.SetMaxPacket(s.mtu)
	s.maxDatagram.Store(int64(s.mtu))
}

// packetLimit is the size of the next packet at most. The second probe
// timeout in a row may mean that the path swallows large packets.
func (s *Session) packetLimit() int {
	if s.probes[wire.SpaceApp] > 0 && s.det.PTOCount() >= 2 {
		return wire.MinPacket
	}
	return s.mtu
}

// checkBlackHole falls back to the smallest packets when the path swallows
// large ones (RFC 8899 section 4.3), and tries large ones again after a while.
func (s *Session) checkBlackHole(now time.Time) {
	switch {
	case s.mtu > wire.MinPacket && s.det.LargeLost() >= recovery.BlackHoleLosses:
		s.mtuWait = min(max(2*s.mtuWait, minMTUWait), maxMTUWait)
		s.mtuRetry = now.Add(s.mtuWait)
		s.setMTU(wire.MinPacket)
	case !s.mtuRetry.IsZero() && now.After(s.mtuRetry):
		s.mtuRetry = time.Time{}
		s.setMTU(s.ownPath.MaxPacket())
	}
}

// SetPath moves the session to p and asks the peer for a sign of life there.
func (s *Session) SetPath(p Path) {
	s.do(func(now time.Time) {
		if p != s.ownPath {
			s.setPath(p)
			s.probe(now)
		}
	})
}
