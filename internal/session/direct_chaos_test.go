package session

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/simnet"
)

// Whatever happens to three direct ways and the route, nothing is lost,
// duplicated or reordered, and the transfer ends soon after the end of it.
func TestChaosOnAllPaths(t *testing.T) {
	for seed := range uint64(seeds(30)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { pathChaos(t, seed) })
		})
	}
}

func randomWay(rng *rand.Rand) simnet.Impairment {
	imp := simnet.Impairment{
		Delay:  time.Duration(rng.IntN(60)) * time.Millisecond,
		Jitter: time.Duration(rng.IntN(5)) * time.Millisecond,
		Rate:   256<<10 + rng.IntN(5<<20),
		Loss:   []float64{0, 0, 0.01, 0.05}[rng.IntN(4)],
	}
	if rng.IntN(2) == 0 {
		imp.Reorder, imp.Duplicate = 0.02, 0.01
	}
	imp.MaxPacket = []int{0, 1300, 1452, 9000}[rng.IntN(4)]
	imp.Down = rng.IntN(4) == 0
	return imp
}

func pathChaos(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	l := newPathLab(t, relayed, seed, randomWay(rng), randomWay(rng), randomWay(rng))
	defer l.close()
	a, b := l.dial(t)
	x, y := open(t, a, b)
	var wg sync.WaitGroup
	wg.Go(func() { transfer(t, x, y, 4<<20, seed) })
	for range 40 {
		time.Sleep(time.Duration(1+rng.IntN(400)) * time.Millisecond)
		w := l.ways[rng.IntN(len(l.ways))]
		switch rng.IntN(10) {
		case 0, 1, 2:
			a.Challenge(w.a)
		case 3:
			b.Challenge(w.b)
		case 4, 5:
			w.set(randomWay(rng))
		case 6:
			w.b.wire.Set(randomWay(rng))
		case 7:
			imp := relayed
			imp.Down = rng.IntN(2) == 0
			l.aOut.wire.Set(imp)
			l.bOut.wire.Set(imp)
		case 8:
			[]*Session{a, b}[rng.IntN(2)].Recheck()
		case 9:
			a.DropPath(w.a)
		}
	}
	l.aOut.wire.Set(relayed)
	l.bOut.wire.Set(relayed)
	begun := time.Now()
	wg.Wait()
	if d := time.Since(begun); d > 75*time.Second {
		t.Errorf("the transfer took %v from when the route was well", d)
	}
	for _, s := range []*Session{a, b} {
		if n := len(s.Paths()); n > 1+len(l.ways) {
			t.Errorf("%d paths", n)
		}
	}
	if sent := a.Stats().BytesSent + b.Stats().BytesSent; sent > 30<<20 {
		t.Errorf("%d bytes sent for 8 MiB", sent)
	}
}

// A path that comes and goes does not make the session jump at each turn.
func TestFlappingPathIsHeldBack(t *testing.T) {
	for seed := range uint64(seeds(3)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPathLab(t, relayed, seed, straight)
				defer l.close()
				a, b := l.dial(t)
				l.upTo(a, b)
				x, y := open(t, a, b)
				var wg sync.WaitGroup
				stop := make(chan struct{})
				pump(t, &wg, x, y, 2_000, 10*time.Millisecond, stop)
				pump(t, &wg, y, x, 2_000, 10*time.Millisecond, stop)
				rng := rand.New(rand.NewPCG(seed, 3))
				begun := time.Now()
				for time.Since(begun) < 2*time.Minute {
					a.Challenge(l.ways[0].a) // as one does who looks for paths
					time.Sleep(time.Duration(500+rng.IntN(1500)) * time.Millisecond)
					down := straight
					down.Down = true
					l.ways[0].set(down)
					time.Sleep(time.Duration(500+rng.IntN(1500)) * time.Millisecond)
					l.ways[0].set(straight)
				}
				if n := l.countEvents(0, PathMoved); n > 40 {
					t.Errorf("moved %d times in two minutes", n)
				} else {
					t.Logf("moved %d times", n)
				}
				a.Challenge(l.ways[0].a)
				l.moved(a, l.ways[0].a, maxHold+5*time.Second)
				close(stop)
				wg.Wait()
			})
		})
	}
}

// The last bytes before the end, whole or half, arrive although the session
// moves just then, and the path that it leaves is dead.
func TestLastBytesArriveDuringAMove(t *testing.T) {
	for seed := range uint64(seeds(30)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { lastBytes(t, seed) })
		})
	}
}

func lastBytes(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 5))
	l := newPathLab(t, relayed, seed, straight)
	defer l.close()
	a, b := l.dial(t)
	if seed%2 == 0 {
		l.upTo(a, b) // away from the path; else towards it
	}
	x, y := open(t, a, b)
	data := make([]byte, 1+rng.IntN(300_000))
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(data)
	var wg sync.WaitGroup
	defer wg.Wait()
	pause := time.Duration(rng.IntN(20_000)) * time.Microsecond
	wg.Go(func() {
		time.Sleep(pause)
		down := straight
		switch {
		case seed%2 == 0:
			down.Down = true
			l.ways[0].set(down)
		case seed%4 == 1:
			a.Challenge(l.ways[0].a)
		default:
			b.Challenge(l.ways[0].b)
		}
	})
	wg.Go(func() {
		if _, err := x.Write(data); err != nil {
			t.Errorf("write: %v", err)
		}
		if seed%3 == 0 {
			_ = x.CloseWrite()
			return
		}
		_ = x.Close()
		if seed%3 == 1 {
			if err := l.a.Shutdown(t.Context()); err != nil {
				t.Errorf("shutdown: %v", err)
			}
		}
	})
	got, err := io.ReadAll(y)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
		t.Errorf("read %d of %d bytes: %v", len(got), len(data), err)
	}
	if seed%3 == 0 { // the other half is still open
		if _, err := y.Write(data); err != nil {
			t.Errorf("write back: %v", err)
		}
		_ = y.Close()
		got, err := io.ReadAll(x)
		if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
			t.Errorf("read back %d of %d bytes: %v", len(got), len(data), err)
		}
	}
}

// Both sides dial at once; both sessions use the same direct path.
func TestSimultaneousOpenAndDirectPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1, straight)
		defer l.close()
		var wg sync.WaitGroup
		var sessions [2]*Session
		for i, e := range []*Endpoint{l.a, l.b} {
			wg.Go(func() {
				var err error
				if sessions[i], err = e.Dial(t.Context(), identity.Target{ID: []*Endpoint{l.b, l.a}[i].self}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		for _, s := range l.a.Sessions() {
			s.Challenge(l.ways[0].a)
		}
		time.Sleep(time.Second)
		for _, e := range []*Endpoint{l.a, l.b} {
			for _, s := range e.Sessions() {
				if s.Path() == l.aOut || s.Path() == l.bOut {
					t.Errorf("a session is on the route: %+v", s.Paths())
				}
			}
		}
		x, y := open(t, l.a.Session(l.b.self), l.b.Session(l.a.self))
		transfer(t, x, y, 1<<20, 1)
	})
}

// A side that restarts answers on the direct path that the peer still uses.
func TestRestartOnADirectPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1, straight)
		defer l.close()
		a, b := l.dial(t)
		l.upTo(a, b)
		x, _ := open(t, a, b)
		time.Sleep(time.Second)
		again, err := NewEndpoint(l.b.cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = again.Close() }()
		l.bOut.wire.Set(simnet.Impairment{Down: true})
		l.ways[0].b.wire.Set(simnet.Impairment{Down: true}) // the dying process says nothing
		_ = l.b.Close()
		l.live.Store(again)
		l.bOut.wire.Set(relayed)
		l.ways[0].b.wire.Set(straight)
		begun := time.Now()
		_, _ = x.Write([]byte("hello?"))
		<-a.Done()
		if d := time.Since(begun); d > time.Second {
			t.Errorf("ended after %v: %v", d, a.Err())
		}
		a, err = l.a.Dial(t.Context(), identity.Target{ID: again.self})
		if err != nil {
			t.Fatal(err)
		}
		a.Challenge(l.ways[0].a)
		l.moved(a, l.ways[0].a, time.Second)
	})
}

// A laptop that slept: nothing gets through for a while, then the network is
// another one.
func TestSleepAndResume(t *testing.T) {
	for _, slept := range []time.Duration{5 * time.Second, 30 * time.Second, 50 * time.Second} {
		t.Run(slept.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPathLab(t, relayed, 1, straight, straight)
				defer l.close()
				a, b := l.dial(t)
				l.upTo(a, b)
				x, y := open(t, a, b)
				var wg sync.WaitGroup
				wg.Go(func() { transfer(t, x, y, 8<<20, 1) })
				time.Sleep(300 * time.Millisecond)
				for _, w := range l.ways {
					w.set(simnet.Impairment{Down: true})
				}
				l.aOut.wire.Set(simnet.Impairment{Down: true})
				l.bOut.wire.Set(simnet.Impairment{Down: true})
				time.Sleep(slept)
				l.aOut.wire.Set(relayed)
				l.bOut.wire.Set(relayed)
				l.ways[1].set(straight)
				a.Recheck()
				l.a.PathUp()
				a.Challenge(l.ways[1].a)
				l.moved(a, l.ways[1].a, time.Second)
				begun := time.Now()
				wg.Wait()
				if d := time.Since(begun); d > 15*time.Second {
					t.Errorf("the rest took %v", d)
				}
			})
		})
	}
}

// The addresses of both nodes change at once: the old way is dead, and a new
// one appears.
func TestBothAddressesChange(t *testing.T) {
	for seed := range uint64(seeds(6)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPathLab(t, relayed, seed, straight)
				defer l.close()
				a, b := l.dial(t)
				l.upTo(a, b)
				x, y := open(t, a, b)
				var wg sync.WaitGroup
				wg.Go(func() { transfer(t, x, y, 4<<20, seed) })
				for i := range 4 {
					time.Sleep(300 * time.Millisecond)
					old := l.ways[len(l.ways)-1]
					old.set(simnet.Impairment{Down: true})
					w := l.addWay(straight, seed+100+uint64(i))
					a.Recheck()
					b.Recheck()
					a.Challenge(w.a)
					b.Challenge(w.b)
					l.moved(a, w.a, time.Second)
					l.moved(b, w.b, time.Second)
				}
				wg.Wait()
			})
		})
	}
}

// Packets that come from a new address are enough to find it, without word
// from anybody.
func TestPathIsFoundByPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1, straight)
		defer l.close()
		a, b := l.dial(t)
		a.Challenge(l.ways[0].a)
		l.moved(a, l.ways[0].a, time.Second)
		l.moved(b, l.ways[0].b, time.Second)
	})
}

func TestBetterDirectPathTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, fast := straight, straight
		slow.Delay, fast.Delay = 18*time.Millisecond, 4*time.Millisecond
		l := newPathLab(t, relayed, 1, slow, fast)
		defer l.close()
		a, b := l.dial(t)
		_, _ = open(t, a, b)
		a.Challenge(l.ways[0].a)
		l.moved(a, l.ways[0].a, time.Second)
		a.Challenge(l.ways[1].a)
		if d := l.moved(a, l.ways[1].a, 40*time.Second); d < 9*time.Second {
			t.Errorf("moved after %v, want not before 10 s have passed since the last move", d)
		}
		l.moved(b, l.ways[1].b, 40*time.Second)
	})
}

func TestSlowDirectPathIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := straight
		slow.Delay = 60 * time.Millisecond
		l := newPathLab(t, relayed, 1, slow)
		defer l.close()
		a, b := l.dial(t)
		_, _ = open(t, a, b)
		a.Challenge(l.ways[0].a)
		time.Sleep(time.Minute)
		wantPath(t, a, l.ways[0].a, false, PathValidated)
		wantPath(t, b, l.ways[0].b, false, PathValidated)
		l.aOut.blocked.Store(true)
		a.Wake()
		l.moved(a, l.ways[0].a, 3*time.Second)
	})
}
