package overlaytest

import (
	"fmt"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// An idle node costs next to nothing however many peers it knows.
func TestIdleNodeSendsLittle(t *testing.T) {
	const (
		peers   = 100
		while   = 4 * time.Minute
		linkAll = uint64(2 * while / (5 * time.Second)) // its pings of the relay and its answers to the relay's
	)
	for _, test := range []struct {
		name   string
		conns  bool
		settle time.Duration
		limit  uint64 // of frames that the node sends in the while after
	}{
		{"without conns", false, 6 * time.Minute, linkAll},
		// One question or one answer a keep-alive period for each peer, and the
		// acknowledgement of an acknowledgement now and then.
		{"with an idle conn to each", true, 15 * time.Second, linkAll + 2*peers*uint64(while/(10*time.Second))},
	} {
		t.Run(test.name, func(t *testing.T) {
			inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
				hub := l.Node("hub", overlay.Config{})
				for i := range peers {
					n := l.Node(fmt.Sprint("peer-", i), overlay.Config{})
					c, _ := connect(t, hub, n)
					if !test.conns {
						_ = c.Close()
					}
				}
				time.Sleep(test.settle) // sessions without conns end after 5 minutes
				before := l.Traffic("hub")
				time.Sleep(while)
				after := l.Traffic("hub")
				if n := after.FramesSent - before.FramesSent; n > test.limit {
					t.Errorf("%d frames were sent in %v, want %d at most", n, while, test.limit)
				}
				if n := after.BytesSent - before.BytesSent; n > 100*test.limit {
					t.Errorf("%d bytes were sent in %v, want %d at most", n, while, 100*test.limit)
				}
			})
		})
	}
}
