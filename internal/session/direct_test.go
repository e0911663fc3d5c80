package session

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/wire"
)

// A simDirect is one end of a direct path over simulated wires.
type simDirect struct {
	wirePath
	addr      netip.AddrPort
	users     atomic.Int64
	validated atomic.Bool
	largest   atomic.Int64
	id        atomic.Uint64
	in, out   atomic.Uint64
}

func (p *simDirect) Addr() netip.AddrPort    { return p.addr }
func (p *simDirect) Validated()              { p.validated.Store(true) }
func (p *simDirect) SetMaxPacket(n int)      { p.largest.Store(int64(n)) }
func (p *simDirect) MaxPacket() int          { return max(int(p.largest.Load()), wire.MinPacket) }
func (p *simDirect) Bind(id identity.NodeID) { p.id.Store(uint64(id)) }
func (p *simDirect) ID() identity.NodeID     { return identity.NodeID(p.id.Load()) }
func (p *simDirect) Keep() bool              { p.users.Add(1); return true }
func (p *simDirect) Forget()                 { p.users.Add(-1) }
func (p *simDirect) Bytes() (in, out uint64) { return p.in.Load(), p.out.Load() }
func (p *simDirect) Send(f *frame.Frame) error {
	p.out.Add(uint64(len(f.Packet())))
	return p.wirePath.Send(f)
}
func (p *simDirect) deliver(e *Endpoint) func(*frame.Frame) {
	return func(f *frame.Frame) { p.in.Add(uint64(len(f.Packet()))); e.Receive(f, p) }
}

// A simWay is a direct path with both of its ends.
type simWay struct{ a, b *simDirect }

// set changes both directions.
func (w simWay) set(imp simnet.Impairment) {
	w.a.wire.Set(imp)
	w.b.wire.Set(imp)
}

// A pathLab is two nodes with a route between them and direct ways.
type pathLab struct {
	*pair
	t      testing.TB
	ways   []simWay
	mu     sync.Mutex
	events [2][]PathEvent // of a and b
	times  [2][]time.Time
	cands  [2][][]byte
}

func newPathLab(t testing.TB, route simnet.Impairment, seed uint64, ways ...simnet.Impairment) *pathLab {
	t.Helper()
	l := &pathLab{t: t, pair: &pair{aOut: &wirePath{name: "route", mtu: frame.MaxPacket}, bOut: &wirePath{name: "route", mtu: frame.MaxPacket}}}
	l.a, l.b = l.endpoint(0), l.endpoint(1)
	l.live.Store(l.b)
	l.aOut.wire = simnet.NewWire(route, seed, func(f *frame.Frame) { l.live.Load().Receive(f, l.bOut) })
	l.bOut.wire = simnet.NewWire(route, seed+1, func(f *frame.Frame) { l.a.Receive(f, l.aOut) })
	for i, imp := range ways {
		l.addWay(imp, seed+2+2*uint64(i))
	}
	return l
}

func (l *pathLab) endpoint(side int) *Endpoint {
	out := []*wirePath{l.aOut, l.bOut}[side]
	e, err := NewEndpoint(Config{
		Credentials: credentials(l.t), Layer: "native",
		Route: func(identity.NodeID) Path { return out },
		OnPath: func(_ *Session, ev PathEvent) {
			l.mu.Lock()
			l.events[side] = append(l.events[side], ev)
			l.times[side] = append(l.times[side], time.Now())
			l.mu.Unlock()
		},
		OnCandidates: func(_ *Session, b []byte) {
			l.mu.Lock()
			l.cands[side] = append(l.cands[side], b)
			l.mu.Unlock()
		},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	out.self = e.self
	return e
}

// addWay adds a direct way.
func (l *pathLab) addWay(imp simnet.Impairment, seed uint64) simWay {
	i := len(l.ways)
	end := func(e *Endpoint, net int) *simDirect {
		p := &simDirect{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(2 + net), byte(1 + i)}), 4000)}
		p.name, p.self = fmt.Sprint("udp ", p.addr), e.self
		return p
	}
	w := simWay{end(l.a, 0), end(l.b, 100)}
	w.a.wire = simnet.NewWire(imp, seed, func(f *frame.Frame) { w.b.deliver(l.live.Load())(f) })
	w.b.wire = simnet.NewWire(imp, seed+1, w.a.deliver(l.a))
	l.ways = append(l.ways, w)
	return w
}

func (l *pathLab) close() {
	l.pair.close()
	for _, w := range l.ways {
		w.a.wire.Close()
		w.b.wire.Close()
		if n, m := w.a.users.Load(), w.b.users.Load(); n != 0 || m != 0 {
			l.t.Errorf("%v is kept %d and %d times after the sessions have ended", w.a, n, m)
		}
	}
}

// moved waits until side's data take p, and returns how long that took.
func (l *pathLab) moved(s *Session, p Path, within time.Duration) time.Duration {
	l.t.Helper()
	begun := time.Now()
	for s.Path() != p {
		if time.Since(begun) > within {
			l.t.Fatalf("still on %v after %v, want %v: %+v", s.Path(), within, p, s.Paths())
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begun)
}

func (l *pathLab) countEvents(side int, k PathEventKind) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events[side] {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// wantPath checks what a session says of a path.
func wantPath(t *testing.T, s *Session, p Path, active bool, state PathState) {
	t.Helper()
	for _, st := range s.Paths() {
		if st.Path == p {
			if st.Active != active || st.State != state {
				t.Errorf("%v: active %v, %v; want %v, %v: %q", p, st.Active, st.State, active, state, st.Reason)
			}
			return
		}
	}
	t.Errorf("%v is not among the paths", p)
}

var (
	relayed  = simnet.Impairment{Delay: 20 * time.Millisecond, Rate: 4 << 20}
	straight = simnet.Impairment{Delay: 5 * time.Millisecond, Rate: 8 << 20}
)

func TestStreamMovesToADirectPathAndBack(t *testing.T) {
	for seed := range uint64(seeds(6)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { moveThereAndBack(t, seed) })
		})
	}
}

func moveThereAndBack(t *testing.T, seed uint64) {
	lossy := func(imp simnet.Impairment) simnet.Impairment {
		if seed%2 == 1 {
			imp.Loss, imp.Reorder, imp.Jitter = 0.05, 0.02, 2*time.Millisecond
		}
		return imp
	}
	l := newPathLab(t, lossy(relayed), seed, lossy(straight))
	defer l.close()
	a, b := l.dial(t)
	x, y := open(t, a, b)
	var wg sync.WaitGroup
	wg.Go(func() { transfer(t, x, y, 8<<20, seed) })
	time.Sleep(200 * time.Millisecond)
	w := l.ways[0]
	for try := 0; a.Path() != w.a && try < 50; try++ {
		a.Challenge(w.a)
		time.Sleep(100 * time.Millisecond)
	}
	l.moved(a, w.a, time.Second)
	l.moved(b, w.b, 10*time.Second) // challenges may get lost
	wantPath(t, a, w.a, true, PathValidated)
	time.Sleep(300 * time.Millisecond)
	down := lossy(straight)
	down.Down = true
	w.set(down)
	if d := l.moved(a, l.aOut, 3*time.Second); d > 3*time.Second {
		t.Errorf("a noticed after %v that the path is dead", d)
	}
	l.moved(b, l.bOut, 3*time.Second)
	time.Sleep(time.Second)
	w.set(lossy(straight))
	for try := 0; a.Path() != w.a && try < 20; try++ {
		a.Challenge(w.a)
		time.Sleep(500 * time.Millisecond)
	}
	l.moved(a, w.a, time.Second)
	wg.Wait()
	if up, moved := l.countEvents(0, PathUp), l.countEvents(0, PathMoved); up < 2 || moved < 3 {
		t.Errorf("%d times up, %d times moved", up, moved)
	}
	t.Logf("a %+v\n%+v", a.Stats(), a.Paths())
}

func TestCandidatesArriveAndTheLatestWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPathLab(t, simnet.Impairment{Delay: 10 * time.Millisecond, Loss: 0.3}, 1)
		defer l.close()
		a, b := l.dial(t)
		for i := range 20 {
			a.SetCandidates([]byte{byte(i)})
			b.SetCandidates(make([]byte, wire.MaxCandidates))
			if i%3 == 0 {
				time.Sleep(30 * time.Millisecond)
			}
		}
		time.Sleep(10 * time.Second)
		l.mu.Lock()
		defer l.mu.Unlock()
		got := l.cands[1]
		if len(got) == 0 || got[len(got)-1][0] != 19 {
			t.Fatalf("the latest that arrived is %v, want 19", got)
		}
		for i := range got[1:] {
			if got[i][0] >= got[i+1][0] {
				t.Errorf("%v after %v", got[i+1], got[i])
			}
		}
		if n := len(l.cands[0]); n == 0 || len(l.cands[0][n-1]) != wire.MaxCandidates {
			t.Errorf("%d came the other way", n)
		}
	})
}
