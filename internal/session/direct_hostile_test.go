package session

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/wire"
)

// forge sends a packet with path frames on any path, as a peer that keeps to
// nothing may.
func forge(s *Session, via Path, kind uint8, data uint64) {
	s.do(func(now time.Time) { s.sendProbe(now, via, kind, data, 0) })
}

// Whoever begins a handshake and never hears of it, because he is not where his
// packets say: three times what came is sent there, also if the address is one that
// another session has proven.
func TestUnansweredHandshakesGetThreeTimesWhatTheySent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1, straight)
		defer l.close()
		w := l.ways[0]
		w.b.Validated()
		w.b.wire.Set(simnet.Impairment{Down: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		time.AfterFunc(100*time.Millisecond, func() { w.a.wire.Set(simnet.Impairment{Down: true}) }) // it says no more
		if _, err := l.a.DialDirect(ctx, identity.Target{ID: l.b.self}, w.a); err == nil {
			t.Fatal("a session came of it")
		}
		time.Sleep(time.Minute)
		in, out := w.a.wire.Counters().BytesDelivered, w.b.wire.Counters().BytesSent
		if in == 0 || out < in || out > 3*in {
			t.Errorf("%d bytes were sent for %d", out, in)
		}
	})
}

// A peer that answers challenges on another path than they came on validates
// nothing: it could have one way only, or an accomplice.
func TestAnswersOnTheWrongPathValidateNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1, straight, straight)
		defer l.close()
		a, b := l.dial(t)
		_, _ = open(t, a, b)
		// Whatever b owes on the first way goes out on the second.
		l.ways[0].b.wire.Set(simnet.Impairment{Down: true})
		for range 5 {
			a.Challenge(l.ways[0].a)
			time.Sleep(7 * time.Millisecond)
		}
		var stolen []uint64
		done := make(chan struct{})
		a.do(func(time.Time) {
			if d := a.paths.find(l.ways[0].a); d != nil {
				for _, c := range d.asked {
					stolen = append(stolen, c.data)
				}
			}
			close(done)
		})
		<-done
		for _, data := range stolen {
			forge(b, l.ways[1].b, wire.TypePathResponse, data)
			forge(b, l.bOut, wire.TypePathResponse, data)
		}
		time.Sleep(100 * time.Millisecond)
		wantPath(t, a, l.ways[0].a, false, PathProbing)
		if n := a.Stats().AnswersIgnored; n < 10 {
			t.Errorf("%d answers were ignored, want at least 10", n)
		}
		time.Sleep(30 * time.Second)
		wantPath(t, a, l.ways[0].a, false, PathFailed)
		if a.Path() == l.ways[0].a || l.ways[0].a.validated.Load() {
			t.Error("the path is used")
		}
	})
}

// Challenges are answered one for one at most, and never with more bytes.
func TestFloodOfChallengesIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1, straight)
		defer l.close()
		a, b := l.dial(t)
		x, y := open(t, a, b)
		var wg sync.WaitGroup
		wg.Go(func() { transfer(t, x, y, 1<<20, 1) })
		for i := range 5000 {
			forge(b, l.ways[0].b, wire.TypePathChallenge, uint64(i))
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		wg.Wait()
		time.Sleep(time.Second)
		in, out := l.ways[0].a.Bytes()
		if out > in+100_000 { // beside it are the path's own checks and search for its packet size
			t.Errorf("%d bytes out for %d in", out, in)
		}
		a.do(func(time.Time) {
			if cap(a.responses) > 2*maxResponses {
				t.Errorf("room for %d responses", cap(a.responses))
			}
		})
		time.Sleep(time.Second)
	})
}

// A peer whose packets seem to come from ever new addresses costs a bounded
// number of challenges and of paths.
func TestInventedAddressesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1, straight)
		defer l.close()
		a, b := l.dial(t)
		l.upTo(a, b)
		x, y := open(t, a, b)
		var sent int
		var ends []*simDirect
		sink := simnet.NewWire(simnet.Impairment{}, 1, func(f *frame.Frame) { sent++; f.Release() })
		defer sink.Close()
		for i := range 1000 {
			victim := &simDirect{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)}
			victim.name, victim.self, victim.wire = fmt.Sprint("udp ", victim.addr), l.a.self, sink
			ends = append(ends, victim)
			from := &simDirect{addr: victim.addr}
			from.name, from.self = "spoofed", l.b.self
			from.wire = simnet.NewWire(simnet.Impairment{}, 1, victim.deliver(l.a))
			b.do(func(now time.Time) {
				b.plan.reset()
				b.plan.ctrl = append(b.plan.ctrl, wire.TypePing)
				b.plan.eliciting = true
				b.transmit(b.sealApp(now), from)
			})
			time.Sleep(2 * time.Millisecond)
			from.wire.Close()
		}
		time.Sleep(100 * time.Millisecond)
		if n := len(a.Paths()); n > 1+maxPaths {
			t.Errorf("%d paths", n)
		}
		if sent > validationTries*maxFound {
			t.Errorf("%d challenges for addresses that somebody made up", sent)
		}
		if a.Stats().PathsRefused == 0 {
			t.Error("no path was refused")
		}
		kept := 0
		for _, v := range ends {
			kept += int(v.users.Load())
		}
		if kept > maxPaths {
			t.Errorf("%d paths are kept", kept)
		}
		wantPath(t, a, l.ways[0].a, true, PathValidated) // it has not been pushed out
		transfer(t, x, y, 100_000, 1)
	})
}

// Challenges and answers that somebody on the way sends back or repeats, on
// any path, mean nothing.
func TestReflectedProbesMeanNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1)
		defer l.close()
		a, b := l.dial(t)
		_, _ = open(t, a, b)
		// The mirror at the address sends everything back to a, as if b had.
		mirror := &simDirect{addr: netip.MustParseAddrPort("10.0.0.1:1")}
		mirror.name, mirror.self = "mirror", l.a.self
		mirror.wire = simnet.NewWire(straight, 1, func(f *frame.Frame) {
			f.SetSrc(l.b.self)
			f.SetDst(l.a.self)
			l.a.Receive(f.Clone(), mirror)
			l.a.Receive(f, mirror)
		})
		defer mirror.wire.Close()
		for range 10 {
			a.Challenge(mirror)
			time.Sleep(20 * time.Millisecond)
		}
		wantPath(t, a, mirror, false, PathProbing)
		time.Sleep(15 * time.Second)
		wantPath(t, a, mirror, false, PathFailed)
		if a.Path() != l.aOut {
			t.Errorf("on %v", a.Path())
		}
	})
}

// The table is full of paths that do not answer: the newest take the place of
// the oldest, and none that of one that works.
func TestChallengesBeyondTheTableMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, relayed, 1, straight)
		defer l.close()
		a, b := l.dial(t)
		l.upTo(a, b)
		void := simnet.NewWire(simnet.Impairment{Down: true}, 1, func(f *frame.Frame) { f.Release() })
		defer void.Close()
		var all []*simDirect
		for i := range 40 {
			d := &simDirect{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1)}
			d.name, d.wire = fmt.Sprint("udp ", d.addr), void
			all = append(all, d)
			a.Challenge(d)
		}
		if n := len(a.Paths()); n != 1+maxPaths {
			t.Errorf("%d paths, want the route and %d", n, maxPaths)
		}
		wantPath(t, a, l.ways[0].a, true, PathValidated)
		a.DropPath(all[39])
		time.Sleep(2 * time.Minute)
		if n := len(a.Paths()); n != 2 {
			t.Errorf("%d paths two minutes later, want 2", n)
		}
		for _, d := range all {
			if d.users.Load() != 0 {
				t.Errorf("%v is still kept", d)
			}
		}
	})
}
