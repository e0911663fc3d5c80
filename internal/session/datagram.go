package session

import (
	"bytes"
	"context"
	"time"

	"github.com/weftnet/weft/internal/handshake"
	"github.com/weftnet/weft/internal/wire"
)

const (
	// datagramQueue is how many received datagrams wait for ReceiveDatagram.
	datagramQueue = 1024
	// datagramBytes is how many bytes of datagrams wait to be sent.
	datagramBytes = 1 << 20
	// datagramOverhead is what a packet needs besides a datagram's data:
	// header, tag, frame header, and an ACK frame of some ranges.
	datagramOverhead = wire.ShortHeaderLen + handshake.Overhead + 5 + 64
)

// MaxDatagram is the largest datagram that SendDatagram takes on the present
// path, in bytes.
func (s *Session) MaxDatagram() int { return int(s.maxDatagram.Load()) - datagramOverhead }

// SendDatagram sends b, which may get lost, arrive late, but never twice. It
// does not block: if too much waits to be sent, b is dropped and counted. b is
// not kept. The error is a *TooLargeError or why the session has ended.
func (s *Session) SendDatagram(b []byte) error {
	if m := s.MaxDatagram(); len(b) > m {
		return &TooLargeError{Max: m}
	}
	if err := s.death(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.dgramBytes+len(b) > datagramBytes {
		s.dgramDropped++
	} else {
		s.dgramOut = append(s.dgramOut, bytes.Clone(b))
		s.dgramBytes += len(b)
	}
	s.mu.Unlock()
	s.Wake()
	return nil
}

// ReceiveDatagram returns the next datagram; the caller owns it.
func (s *Session) ReceiveDatagram(ctx context.Context) ([]byte, error) { return s.dgramIn.get(ctx) }

func (s *Session) datagramsDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.dgramOut) > 0
}

// planDatagrams adds datagrams as far as they fit. One that no longer fits any
// packet of the path is dropped.
func (s *Session) planDatagrams(now time.Time) {
	for {
		s.mu.Lock()
		if len(s.dgramOut) == 0 {
			s.mu.Unlock()
			return
		}
		b := s.dgramOut[0]
		tooLarge := len(b) > s.mtu-datagramOverhead
		if !tooLarge && len(b)+5 > s.room() && len(s.plan.ctrl) > 0 {
			s.mu.Unlock()
			return
		}
		s.dgramOut[0] = nil
		s.dgramOut = s.dgramOut[1:]
		s.dgramBytes -= len(b)
		if tooLarge {
			s.dgramDropped++
		}
		s.mu.Unlock()
		if !tooLarge {
			s.inUse(now)
			s.plan.ctrl = wire.AppendDatagram(s.plan.ctrl, b)
			s.plan.eliciting = true
		}
	}
}

// receiveDatagram handles a DATAGRAM frame.
func (s *Session) receiveDatagram(data []byte) {
	s.inUse(s.lastRecv)
	if !s.dgramIn.put(bytes.Clone(data)) {
		s.count.DatagramsDropped++
	}
}

// inUse puts off the end of a session that has no streams.
func (s *Session) inUse(now time.Time) {
	if s.idle() {
		s.idleSince = now
	}
}
