package session

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/simnet"
)

// A path that was slow when it was measured is measured again, even if the peer
// sends there all the time.
func TestSparePathsAreMeasuredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1, simnet.Impairment{Delay: 300 * time.Millisecond})
		var wg sync.WaitGroup
		defer wg.Wait()
		defer l.close()
		a, b := l.dial(t)
		x, y := open(t, a, b)
		w := l.ways[0]
		a.Challenge(w.a)
		time.Sleep(5 * time.Second)
		wantPath(t, a, w.a, false, PathValidated)
		wantPath(t, b, w.b, false, PathValidated)
		w.set(straight)
		a.Challenge(w.a)
		wg.Go(func() {
			for {
				if _, err := x.Write([]byte("hello")); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
		wg.Go(func() {
			for buf := make([]byte, 100); ; {
				if _, err := y.Read(buf); err != nil {
					return
				}
			}
		})
		l.moved(a, w.a, time.Second)
		l.moved(b, w.b, spareAfter+time.Second)
	})
}
