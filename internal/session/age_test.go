package session

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/wire"
)

// age makes both ends of a session older.
func age(packets uint64, ends ...*Session) {
	time.Sleep(10 * time.Second) // nothing is on its way
	for _, s := range ends {
		s.Age(packets)
	}
}

// Only the low half of a number is in packets. A session goes on where that begins
// anew, and ends before the numbers do.
func TestASessionEndsBeforeItsPacketNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, simnet.Impairment{Delay: 10 * time.Millisecond, Loss: 0.01}, simnet.Impairment{Delay: 10 * time.Millisecond}, 1, wire.MinPacket)
		defer p.close()
		a, b := p.dial(t)
		for _, n := range []uint64{1<<31 - 100, 1<<31 - 100, 1 << 40} {
			x, y := open(t, a, b)
			transfer(t, x, y, 500_000, 1)
			age(n, a, b)
		}
		x, y := open(t, a, b)
		go func() { _, _ = io.Copy(io.Discard, y) }()
		age(lastNumber-a.Age(0)-100, a, b)
		for a.Err() == nil {
			if _, err := x.Write(make([]byte, 1000)); err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		<-a.Done()
		<-b.Done()
		if next := a.spaces[wire.SpaceApp].next; a.Err() == nil || b.Err() == nil || next > wire.MaxVarint {
			t.Errorf("before packet %d the sessions are %v and %v", next, a.Err(), b.Err())
		}
		a, b = p.dial(t)
		x, y = open(t, a, b)
		transfer(t, x, y, 100_000, 1)
	})
}
