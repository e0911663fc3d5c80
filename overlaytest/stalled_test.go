package overlaytest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// A hundred conns between two nodes share a link, and the reader of one stops reading:
// the others lose next to nothing.
func TestAReaderThatStallsCostsTheOthersNothing(t *testing.T) {
	const conns = 100
	all, others := readBy(t, conns, 0), readBy(t, conns, 1)
	t.Logf("%d conns read %d bytes; beside one that stalled, %d read %d", conns, all, conns-1, others)
	if others*100 < all*95 {
		t.Error("the others lost more than 5 %")
	}
}

// readBy has n conns share a link, all of them written to as fast as they take it, and
// returns how much is read in some seconds when some of the readers stop.
func readBy(t *testing.T, n, stalled int) (total int64) {
	inLab(t, Config{Link: Impairment{Latency: 5 * time.Millisecond, Bandwidth: 2 << 20}}, func(t *testing.T, l *Lab) {
		a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
		ln, err := b.Listen(7)
		if err != nil {
			t.Fatal(err)
		}
		var read atomic.Int64
		var wg sync.WaitGroup
		var open []net.Conn
		for range n {
			c := dial(t, a, "b:7")
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			s, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, s, c)
			wg.Go(func() { // until its conn is closed
				b := make([]byte, 4<<10)
				for {
					if _, err := c.Write(b); err != nil {
						return
					}
				}
			})
			if len(open) > 2*stalled {
				wg.Go(func() { _, _ = io.Copy(counting{&read}, s) })
			}
		}
		time.Sleep(2 * time.Second)
		before := read.Load()
		time.Sleep(4 * time.Second)
		total = read.Load() - before
		for _, c := range open {
			_ = c.Close()
		}
		wg.Wait()
	})
	return total
}

// counting counts what is written to it.
type counting struct{ n *atomic.Int64 }

func (c counting) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}
