package session

import (
	"errors"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

// lastNumber is the packet number after which a session ends. The largest there is
// has 62 bits (RFC 9000 section 12.3); some are left for the packets that say so.
const lastNumber = wire.MaxVarint - 1<<10

var errNumbersUsedUp = errors.New("session: all packet numbers are used up; dial the peer again")

// usedUp says that the session must end because it is too old, or because a key is.
func (s *Session) usedUp() error {
	if err := s.app.Err(); err != nil {
		return err
	}
	if s.spaces[wire.SpaceApp].next > lastNumber {
		return errNumbersUsedUp
	}
	return nil
}

// Age makes the session as old as if so many more packets had gone each way, for
// tests of what comes of that. The same has to be done at the other end, while nothing
// is on its way. It returns the number of the next packet.
func (s *Session) Age(packets uint64) (next uint64) {
	done := make(chan struct{})
	s.do(func(time.Time) {
		defer close(done)
		sp := &s.spaces[wire.SpaceApp]
		sp.next += packets
		sp.floor += packets
		for i := range sp.recv {
			sp.recv[i].lo += packets
			sp.recv[i].hi += packets
		}
		s.det.Untracked(wire.SpaceApp, sp.next-1)
		next = sp.next
	})
	select {
	case <-done:
		return next
	case <-s.done:
		return 0
	}
}
