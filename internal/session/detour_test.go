package session

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/simnet"
)

// A twoWay is a route that may take another way, which is as good.
type twoWay struct {
	*wirePath
	detours, follows atomic.Int64
}

func (w *twoWay) Over() identity.NodeID         { return 0xe1 }
func (w *twoWay) Detour() bool                  { w.detours.Add(1); return true }
func (w *twoWay) Follow(_ identity.NodeID) bool { w.follows.Add(1); return true }

// A session takes another way when nothing has come back for three seconds, and yet
// another three seconds later; not for a gap that is shorter, and not while it has nothing
// to say.
func TestSilenceIsAReasonForADetour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		way := &twoWay{wirePath: p.aOut}
		p.a.cfg.Route = func(identity.NodeID) Path { return way }
		a, b := p.dial(t)
		x, _ := open(t, a, b)
		p.aOut.wire.Set(simnet.Impairment{Down: true})
		time.Sleep(5 * time.Second) // nobody has anything to say
		if n := way.detours.Load(); n != 0 {
			t.Errorf("%d detours without a reason", n)
		}
		say := func() {
			if _, err := x.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
		say()
		time.Sleep(2 * time.Second)
		p.aOut.wire.Set(ten)
		time.Sleep(5 * time.Second)
		if n := way.detours.Load(); n != 0 {
			t.Errorf("%d detours after a gap of two seconds", n)
		}
		p.aOut.wire.Set(simnet.Impairment{Down: true})
		say()
		time.Sleep(20 * time.Second)
		if n := way.detours.Load(); n < 3 || n > 6 {
			t.Errorf("%d detours in 20 s of silence", n)
		}
		if n := way.follows.Load(); n != 0 {
			t.Errorf("the peer was followed %d times", n)
		}
	})
}

// A client's handshake that is not answered takes other ways, too.
func TestAHandshakeSeeksOtherWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, simnet.Impairment{Down: true}, ten, 1, 1200)
		defer p.close()
		way := &twoWay{wirePath: p.aOut}
		p.a.cfg.Route = func(identity.NodeID) Path { return way }
		time.AfterFunc(2*time.Second, func() {
			if n := way.detours.Load(); n != 0 {
				t.Errorf("%d detours in two seconds", n)
			}
		})
		if _, err := p.a.Dial(t.Context(), identity.Target{ID: p.b.self}); err == nil {
			t.Fatal("a dial into nothing succeeded")
		}
		if n := way.detours.Load(); n < 1 || n > 3 {
			t.Errorf("%d detours", n)
		}
	})
}
