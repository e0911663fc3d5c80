package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/racetest"
	"github.com/weftnet/weft/internal/simnet"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	goleak.VerifyTestMain(m)
}

// A wirePath is a path over a simulated wire.
type wirePath struct {
	name string
	self identity.NodeID
	wire *simnet.Wire
	mtu  int
	sent atomic.Int64

	blocked atomic.Bool // it takes no packets
}

func (p *wirePath) Ready(Waker) bool    { return !p.blocked.Load() }
func (p *wirePath) MaxPacket() int      { return p.mtu }
func (p *wirePath) ID() identity.NodeID { return 0 }
func (p *wirePath) String() string      { return p.name }
func (p *wirePath) Send(f *frame.Frame) error {
	f.SetSrc(p.self)
	p.sent.Add(1)
	p.wire.Send(f)
	return nil
}

// network returns an open network and credentials in it, made once: keys do
// not depend on the simulated clock, certificates do.
func credentials(t testing.TB, names ...string) *identity.Credentials {
	t.Helper()
	n, err := identity.OpenNetwork(identity.NetworkConfig{Open: true})
	if err != nil {
		t.Fatal(err)
	}
	k, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.NewCredentials(k, n, names)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A pair is two endpoints on a simulated wire in each direction.
type pair struct {
	a, b       *Endpoint
	aOut, bOut *wirePath
	live       atomic.Pointer[Endpoint] // b, for the wire
}

func newPair(t testing.TB, there, back simnet.Impairment, seed uint64, mtu int) *pair {
	t.Helper()
	return newPairWith(t, there, back, seed, mtu, Config{})
}

func newPairWith(t testing.TB, there, back simnet.Impairment, seed uint64, mtu int, cfg Config) *pair {
	t.Helper()
	p := &pair{aOut: &wirePath{name: "a-b", mtu: mtu}, bOut: &wirePath{name: "b-a", mtu: mtu}}
	endpoint := func(out *wirePath) *Endpoint {
		cfg := cfg
		cfg.Credentials = credentials(t)
		cfg.Layer = "native"
		cfg.Route = func(identity.NodeID) Path { return out }
		e, err := NewEndpoint(cfg)
		if err != nil {
			t.Fatal(err)
		}
		out.self = e.self
		return e
	}
	p.a, p.b = endpoint(p.aOut), endpoint(p.bOut)
	p.live.Store(p.b)
	p.aOut.wire = simnet.NewWire(there, seed, func(f *frame.Frame) { p.live.Load().Receive(f, p.bOut) })
	p.bOut.wire = simnet.NewWire(back, seed+1, func(f *frame.Frame) { p.a.Receive(f, p.aOut) })
	return p
}

func (p *pair) close() {
	_ = p.a.Close()
	_ = p.b.Close()
	p.aOut.wire.Close()
	p.bOut.wire.Close()
}

// dial returns both sides' sessions.
func (p *pair) dial(t testing.TB) (a, b *Session) {
	t.Helper()
	a, err := p.a.Dial(t.Context(), identity.Target{ID: p.b.self})
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	for b = p.b.Session(p.a.self); b == nil; b = p.b.Session(p.a.self) {
		time.Sleep(time.Millisecond)
	}
	return a, b
}

// open returns both ends of a new stream from a to b.
func open(t testing.TB, a, b *Session) (x, y *Stream) {
	t.Helper()
	x, err := a.OpenStream(t.Context(), 80)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	y, err = b.AcceptStream(t.Context())
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	if err := y.Accept(); err != nil {
		t.Fatal(err)
	}
	if err := x.Accepted(t.Context()); err != nil {
		t.Fatalf("accepted: %v", err)
	}
	return x, y
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestDialAndEcho(t *testing.T) {
	bubble(t, func(t *testing.T) {
		delay := simnet.Impairment{Delay: 10 * time.Millisecond}
		p := newPair(t, delay, delay, 1, frame.MaxPacket)
		defer p.close()
		begun := time.Now()
		if _, err := p.a.Dial(t.Context(), identity.Target{ID: p.b.self}); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(begun); got != 20*time.Millisecond {
			t.Errorf("dial took %v, want one round trip of 20 ms", got)
		}
		a, b := p.dial(t)
		if a.Peer().ID != b.LocalID() || b.Peer().ID != a.LocalID() {
			t.Errorf("peers are %v and %v", a.Peer().ID, b.Peer().ID)
		}
		x, y := open(t, a, b)
		if _, err := x.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := x.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(y)
		if string(got) != "hello" || err != nil {
			t.Fatalf("read %q, %v", got, err)
		}
		if _, err := y.Write([]byte("world")); err != nil {
			t.Fatal(err)
		}
		if err := y.Close(); err != nil {
			t.Fatal(err)
		}
		got, err = io.ReadAll(x)
		if string(got) != "world" || err != nil {
			t.Fatalf("read %q, %v", got, err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := a.Stats().Streams + b.Stats().Streams; n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

// transfer sends n random bytes from x to y and from y to x at once and
// checks that they arrive unharmed, in order, and with the end.
func transfer(t testing.TB, x, y *Stream, n int, seed uint64) {
	t.Helper()
	var wg sync.WaitGroup
	way := func(from, to *Stream, seed uint64) {
		src := rand.NewChaCha8(sha256.Sum256([]byte(strconv.FormatUint(seed, 10))))
		sum := sha256.New()
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for left := n; left > 0; {
				b := make([]byte, min(left, 1+r.IntN(40000)))
				_, _ = src.Read(b)
				_, _ = sum.Write(b)
				if _, err := from.Write(b); err != nil {
					t.Errorf("write with %d bytes left: %v", left, err)
					return
				}
				left -= len(b)
			}
			if err := from.CloseWrite(); err != nil {
				t.Errorf("close write: %v", err)
			}
		})
		wg.Go(func() {
			got := sha256.New()
			k, err := io.Copy(got, to)
			if err != nil || k != int64(n) {
				t.Errorf("read %d of %d bytes: %v", k, n, err)
				return
			}
			if [32]byte(got.Sum(nil)) != [32]byte(sum.Sum(nil)) {
				t.Error("what arrived is not what was sent")
			}
		})
	}
	way(x, y, seed)
	way(y, x, seed+1)
	wg.Wait()
}

// seeds is how many seeds the simulations run: WEFT_SEEDS, or few.
func seeds(few int) int {
	if n, err := strconv.Atoi(os.Getenv("WEFT_SEEDS")); err == nil {
		return n
	}
	if testing.Short() {
		return max(few/10, 1)
	}
	return few
}

func TestNothingIsLostOnABadPath(t *testing.T) {
	for seed := range uint64(seeds(200)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				bad := simnet.Impairment{
					Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond,
					Loss: 0.05, Reorder: 0.02, Duplicate: 0.01, Rate: 5 << 20,
				}
				mtu := 1200
				if seed%3 == 0 {
					mtu = frame.MaxPacket
				}
				p := newPair(t, bad, bad, seed, mtu)
				defer p.close()
				a, b := p.dial(t)
				x, y := open(t, a, b)
				transfer(t, x, y, 100_000, seed)
			})
		})
	}
}

func TestPacketSizeChangesInMidStream(t *testing.T) {
	for seed := range uint64(seeds(50)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				imp := simnet.Impairment{Delay: 5 * time.Millisecond, Rate: 20 << 20, Loss: 0.01}
				p := newPair(t, imp, imp, seed, frame.MaxPacket)
				defer p.close()
				a, b := p.dial(t)
				x, y := open(t, a, b)
				stop := make(chan struct{})
				var wg sync.WaitGroup
				wg.Go(func() {
					small := false
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						case <-time.After(50 * time.Millisecond):
						}
						small = !small
						mtu, limit := frame.MaxPacket, 0
						if small {
							mtu, limit = 1200, 1300
						}
						next := imp
						next.MaxPacket = limit
						p.aOut.wire.Set(next)
						p.bOut.wire.Set(next)
						for _, s := range []*Session{a, b} {
							s.SetPath(&wirePath{name: strconv.Itoa(i), self: s.LocalID(), mtu: mtu, wire: p.wireOf(s)})
						}
					}
				})
				transfer(t, x, y, 500_000, seed)
				close(stop)
				wg.Wait()
			})
		})
	}
}

func (p *pair) wireOf(s *Session) *simnet.Wire {
	if s.ep == p.a {
		return p.aOut.wire
	}
	return p.bOut.wire
}

func TestBlackHoleForLargePacketsIsFound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		imp := simnet.Impairment{Delay: 5 * time.Millisecond}
		p := newPair(t, imp, imp, 1, frame.MaxPacket)
		defer p.close()
		a, b := p.dial(t)
		x, y := open(t, a, b)
		imp.MaxPacket = 1400
		p.aOut.wire.Set(imp)
		p.bOut.wire.Set(imp)
		transfer(t, x, y, 1_000_000, 1)
	})
}

func TestCutAndHealedPathLosesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		imp := simnet.Impairment{Delay: 10 * time.Millisecond, Rate: 1 << 20}
		p := newPair(t, imp, imp, 1, frame.MaxPacket)
		defer p.close()
		a, b := p.dial(t)
		x, y := open(t, a, b)
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(300 * time.Millisecond)
			down := imp
			down.Down = true
			p.aOut.wire.Set(down)
			p.bOut.wire.Set(down)
			time.Sleep(20 * time.Second)
			p.aOut.wire.Set(imp)
			p.bOut.wire.Set(imp)
		})
		begun := time.Now()
		transfer(t, x, y, 2_000_000, 1)
		if d := time.Since(begun); d > 30*time.Second {
			t.Errorf("took %v; a path that is back must be used within 5 s", d)
		}
		wg.Wait()
	})
}

func TestUnreachablePeer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, simnet.Impairment{}, simnet.Impairment{}, 1, 1200)
		defer p.close()
		p.aOut.wire.Set(simnet.Impairment{Down: true})
		_, err := p.a.Dial(t.Context(), identity.Target{ID: 42})
		if !errors.Is(err, ErrTimeout) {
			t.Errorf("dial into the void: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			time.Sleep(time.Millisecond)
			p.a.Notice(frame.Notice{Code: frame.NoticeUnknown, Node: 42})
		}()
		begun := time.Now()
		_, err = p.a.Dial(ctx, identity.Target{ID: 42})
		var unreachable *UnreachableError
		if !errors.As(err, &unreachable) || time.Since(begun) != time.Millisecond {
			t.Errorf("dial refused by a relay: %v after %v", err, time.Since(begun))
		}
	})
}

func TestSessionEndReleasesEverything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, simnet.Impairment{Delay: time.Millisecond}, simnet.Impairment{Delay: time.Millisecond}, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		x, y := open(t, a, b)
		errs := make(chan error, 2)
		go func() { _, err := x.Read(make([]byte, 1)); errs <- err }()
		go func() { _, err := y.Read(make([]byte, 1)); errs <- err }()
		synctest.Wait()
		if err := a.CloseWithError(7, "enough"); err != nil {
			t.Fatal(err)
		}
		if err := <-errs; !errors.Is(err, net.ErrClosed) {
			t.Errorf("local read: %v", err)
		}
		err := <-errs
		var closed *ClosedError
		if !errors.As(err, &closed) || !closed.Remote || closed.Code != 7 || closed.Reason != "enough" {
			t.Errorf("remote read: %v", err)
		}
	})
}
