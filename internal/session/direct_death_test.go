package session

import (
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/simnet"
)

// upTo waits until both sides use the first way.
func (l *pathLab) upTo(a, b *Session) {
	l.t.Helper()
	for i := range 100 {
		if i%5 == 0 {
			a.Challenge(l.ways[0].a)
			b.Challenge(l.ways[0].b)
		}
		time.Sleep(50 * time.Millisecond)
		if a.Path() == l.ways[0].a && b.Path() == l.ways[0].b && i > 10 {
			return
		}
	}
	l.t.Fatalf("not on the direct path: %+v\n%+v", a.Paths(), b.Paths())
}

// pump writes from x and reads at y until stop is closed, in pieces of n bytes
// every so often.
func pump(t *testing.T, wg *sync.WaitGroup, x, y *Stream, n int, every time.Duration, stop chan struct{}) {
	wg.Go(func() {
		defer func() { _ = x.CloseWrite() }()
		for b := make([]byte, n); ; time.Sleep(every) {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := x.Write(b); err != nil {
				t.Errorf("write: %v", err)
				return
			}
		}
	})
	wg.Go(func() {
		if _, err := io.Copy(io.Discard, y); err != nil {
			t.Errorf("read: %v", err)
		}
	})
}

// Under traffic a path that dies is left within 3 s by the sides that send, and soon
// after by the other, whichever direction dies and whichever side sends, fast or slow.
func TestDeadDirectionIsNoticedUnderTraffic(t *testing.T) {
	type pace struct {
		n     int
		every time.Duration
	}
	for _, delay := range []time.Duration{100 * time.Microsecond, 25 * time.Millisecond, 245 * time.Millisecond} {
		for _, dead := range []string{"there", "back", "both"} {
			for _, sends := range []string{"a", "b", "both"} {
				for _, p := range []pace{{30_000, 10 * time.Millisecond}, {100, 20 * time.Millisecond}, {10, 400 * time.Millisecond}} {
					if testing.Short() && (sends == "both") != (dead == "both") {
						continue
					}
					name := fmt.Sprint(delay, " dead ", dead, " sends ", sends, " ", p.n, " every ", p.every)
					t.Run(name, func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { deadDirection(t, delay, dead, sends, p.n, p.every) })
					})
				}
			}
		}
	}
}

func deadDirection(t *testing.T, delay time.Duration, dead, sends string, n int, every time.Duration) {
	way := simnet.Impairment{Delay: delay, Rate: 5 << 20}
	l := newPathLab(t, simnet.Impairment{Delay: delay * 3 / 2, Rate: 5 << 20}, 1, way)
	defer l.close()
	a, b := l.dial(t)
	l.upTo(a, b)
	x, y := open(t, a, b)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	if sends != "b" {
		pump(t, &wg, x, y, n, every, stop)
	}
	if sends != "a" {
		pump(t, &wg, y, x, n, every, stop)
	}
	time.Sleep(3 * time.Second)
	wantPath(t, a, l.ways[0].a, true, PathValidated)
	wantPath(t, b, l.ways[0].b, true, PathValidated)
	if m := l.countEvents(0, PathMoved) + l.countEvents(1, PathMoved); m != 2 {
		t.Errorf("%d moves while nothing was wrong", m)
	}
	way.Down = true
	if dead != "back" {
		l.ways[0].a.wire.Set(way)
	}
	if dead != "there" {
		l.ways[0].b.wire.Set(way)
	}
	begun := time.Now()
	// A piece may only just have been sent, so that nothing awaits an answer.
	limit := 3*time.Second + every
	// Who sends nothing doubts the path once the other's packets come over the route.
	follow := maxDoubt + delay*3/2
	within := map[bool]time.Duration{true: limit, false: limit + follow}
	l.moved(a, l.aOut, within[sends != "b"])
	l.moved(b, l.bOut, within[sends != "a"]-time.Since(begun))
	t.Logf("both left after %v", time.Since(begun))
	close(stop)
	wg.Wait()
}

func TestDeadPathIsNoticedWhenIdle(t *testing.T) {
	for _, dead := range []string{"there", "back", "both"} {
		t.Run(dead, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPathLab(t, relayed, 1, straight)
				defer l.close()
				a, b := l.dial(t)
				l.upTo(a, b)
				_, _ = open(t, a, b)
				time.Sleep(time.Minute)
				wantPath(t, a, l.ways[0].a, true, PathValidated)
				down := straight
				down.Down = true
				if dead != "back" {
					l.ways[0].a.wire.Set(down)
				}
				if dead != "there" {
					l.ways[0].b.wire.Set(down)
				}
				begun := time.Now()
				l.moved(a, l.aOut, 15*time.Second)
				l.moved(b, l.bOut, 15*time.Second-time.Since(begun))
				time.Sleep(10 * time.Second)
				wantPath(t, a, l.ways[0].a, false, PathFailed)
				if n := l.countEvents(0, PathDied); n != 1 {
					t.Errorf("a was told %d times that a path died", n)
				}
				l.ways[0].set(straight)
				a.Challenge(l.ways[0].a)
				l.moved(a, l.ways[0].a, time.Second)
				l.moved(b, l.ways[0].b, 30*time.Second)
			})
		})
	}
}

// What is idle costs next to nothing.
func TestIdleDirectPathIsKeptWithFewPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1, straight)
		defer l.close()
		a, b := l.dial(t)
		l.upTo(a, b)
		_, _ = open(t, a, b)
		time.Sleep(30 * time.Second)
		before, turns := a.Stats().PacketsSent, a.Stats().Turns
		time.Sleep(5 * time.Minute)
		sent, woke := a.Stats().PacketsSent-before, a.Stats().Turns-turns
		if sent < 25 || sent > 70 {
			t.Errorf("%d packets in five minutes, want one or two every 10 s", sent)
		}
		if woke > 300 {
			t.Errorf("woke up %d times in five minutes", woke)
		}
		wantPath(t, a, l.ways[0].a, true, PathValidated)
	})
}

// While the route is gone, a direct path stays in use, and a suspect one too.
func TestRouteIsGoneWhileTheDirectPathStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1, straight)
		defer l.close()
		a, b := l.dial(t)
		l.upTo(a, b)
		x, y := open(t, a, b)
		l.aOut.blocked.Store(true)
		l.bOut.blocked.Store(true)
		l.aOut.wire.Set(simnet.Impairment{Down: true})
		l.bOut.wire.Set(simnet.Impairment{Down: true})
		transfer(t, x, y, 1<<20, 1)
		x, y = open(t, a, b)
		var wg sync.WaitGroup
		wg.Go(func() { transfer(t, x, y, 8<<20, 2) })
		time.Sleep(100 * time.Millisecond)
		down := straight
		down.Down = true
		l.ways[0].set(down)
		time.Sleep(20 * time.Second)
		wantPath(t, a, l.ways[0].a, true, PathSuspect)
		l.ways[0].set(straight)
		begun := time.Now()
		wg.Wait()
		if d := time.Since(begun); d > 10*time.Second {
			t.Errorf("took %v from when the path was back", d)
		}
		wantPath(t, a, l.ways[0].a, true, PathValidated)
		if n := l.countEvents(0, PathDied); n != 0 {
			t.Errorf("the only path died %d times", n)
		}
	})
}

// The route comes back while the direct path, the only one so far, is dead.
func TestRouteComesBackWhileTheDirectPathIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1, straight)
		defer l.close()
		a, b := l.dial(t)
		l.upTo(a, b)
		x, y := open(t, a, b)
		l.aOut.blocked.Store(true)
		l.bOut.blocked.Store(true)
		l.ways[0].set(simnet.Impairment{Down: true})
		time.Sleep(40 * time.Second)
		l.aOut.blocked.Store(false)
		l.bOut.blocked.Store(false)
		a.Wake() // as the switch does
		b.Wake()
		l.moved(a, l.aOut, time.Second)
		l.moved(b, l.bOut, time.Second)
		transfer(t, x, y, 1<<20, 1)
	})
}

func TestSessionsOfDeadNodesEndOnDirectPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1, straight)
		defer l.close()
		a, b := l.dial(t)
		l.upTo(a, b)
		_, _ = open(t, a, b)
		time.Sleep(time.Second)
		l.ways[0].set(simnet.Impairment{Down: true})
		l.aOut.wire.Set(simnet.Impairment{Down: true})
		l.bOut.wire.Set(simnet.Impairment{Down: true})
		begun := time.Now()
		<-a.Done()
		if d := time.Since(begun); d < 55*time.Second || d > 75*time.Second {
			t.Errorf("ended after %v: %v", d, a.Err())
		}
		<-b.Done()
	})
}
