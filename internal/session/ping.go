package session

import (
	"context"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

// A ping is a caller of Ping that waits for its answer.
type ping struct {
	id     uint64
	due    bool // must be sent
	begun  time.Time
	answer chan time.Duration
}

// Ping asks the peer for a sign of life and returns the round-trip time.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) {
	answer := make(chan time.Duration, 1)
	s.do(func(now time.Time) {
		if s.closing != nil {
			close(answer)
			return
		}
		s.pingID++
		s.pings = append(s.pings, ping{id: s.pingID, due: true, begun: now, answer: answer})
	})
	select {
	case rtt, ok := <-answer:
		if ok {
			return rtt, nil
		}
		<-s.done
		return 0, s.death()
	case <-s.done:
		return 0, s.death()
	case <-ctx.Done():
		s.do(func(time.Time) { s.dropPing(answer) })
		return 0, context.Cause(ctx)
	}
}

func (s *Session) dropPing(answer chan time.Duration) {
	for i := range s.pings {
		if s.pings[i].answer == answer {
			s.pings = append(s.pings[:i], s.pings[i+1:]...)
			return
		}
	}
}

func (s *Session) pingsDue() bool {
	for i := range s.pings {
		if s.pings[i].due {
			return true
		}
	}
	return false
}

// planPings adds the pings that are due.
func (s *Session) planPings() {
	for i := range s.pings {
		if p := &s.pings[i]; p.due {
			p.due = false
			s.plan.ctrl = append(s.plan.ctrl, wire.TypePing, wire.TypeImmediateAck)
			s.plan.add(wire.TypePing, p.id)
		}
	}
}

// pong handles the acknowledgement of a PING.
func (s *Session) pong(id uint64) {
	for i := range s.pings {
		if p := s.pings[i]; p.id == id {
			p.answer <- time.Since(p.begun)
			s.pings = append(s.pings[:i], s.pings[i+1:]...)
			return
		}
	}
}

// lostPing makes a lost PING due again.
func (s *Session) lostPing(id uint64) {
	for i := range s.pings {
		if s.pings[i].id == id {
			s.pings[i].due = true
		}
	}
}
