package session

import (
	"io"
	"sync"
	"testing"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// A directPath hands frames to the other endpoint's goroutine over a channel,
// so that the session alone is measured.
type directPath struct {
	self identity.NodeID
	out  chan *frame.Frame
	mu   sync.Mutex
	wait []Waker
}

func (p *directPath) MaxPacket() int      { return frame.MaxPacket }
func (p *directPath) ID() identity.NodeID { return 0 }
func (p *directPath) String() string      { return "direct" }
func (p *directPath) Ready(w Waker) bool {
	if len(p.out) < cap(p.out)/2 {
		return true
	}
	p.mu.Lock()
	p.wait = append(p.wait, w)
	p.mu.Unlock()
	return false
}

func (p *directPath) Send(f *frame.Frame) error {
	f.SetSrc(p.self)
	select {
	case p.out <- f:
	default:
		f.Release()
	}
	return nil
}

func (p *directPath) deliver(to *Endpoint, via Path) {
	for f := range p.out {
		if f == nil {
			return
		}
		to.Receive(f, via)
		if len(p.out) < cap(p.out)/4 {
			p.mu.Lock()
			for _, w := range p.wait {
				w.Wake()
			}
			p.wait = p.wait[:0]
			p.mu.Unlock()
		}
	}
}

func benchPair(b *testing.B) (x, y *Stream) {
	b.Helper()
	ends := [2]*directPath{{out: make(chan *frame.Frame, 128)}, {out: make(chan *frame.Frame, 128)}}
	var eps [2]*Endpoint
	sessions := make(chan *Session, 2)
	for i := range eps {
		e, err := NewEndpoint(Config{
			Credentials: credentials(b), Layer: "native",
			Route: func(identity.NodeID) Path { return ends[i] },
			OnSession: func(s *Session) {
				if !s.Initiator() {
					sessions <- s
				}
			},
		})
		if err != nil {
			b.Fatal(err)
		}
		eps[i], ends[i].self = e, e.self
	}
	var wg sync.WaitGroup
	wg.Go(func() { ends[0].deliver(eps[1], ends[1]) })
	wg.Go(func() { ends[1].deliver(eps[0], ends[0]) })
	b.Cleanup(func() {
		_ = eps[0].Close()
		_ = eps[1].Close()
		ends[0].out <- nil
		ends[1].out <- nil
		wg.Wait()
	})
	a, err := eps[0].Dial(b.Context(), identity.Target{ID: eps[1].self})
	if err != nil {
		b.Fatal(err)
	}
	return open(b, a, <-sessions)
}

func BenchmarkBulk(b *testing.B) {
	x, y := benchPair(b)
	const size = 64 << 10
	buf := make([]byte, size)
	b.SetBytes(size)
	b.ReportAllocs()
	var wg sync.WaitGroup
	wg.Go(func() {
		for range b.N {
			if _, err := x.Write(buf); err != nil {
				b.Error(err)
				return
			}
		}
		_ = x.CloseWrite()
	})
	in := make([]byte, size)
	b.ResetTimer()
	for {
		if _, err := y.Read(in); err != nil {
			if err != io.EOF {
				b.Error(err)
			}
			break
		}
	}
	wg.Wait()
	st := x.Session().Stats()
	b.ReportMetric(float64(st.PacketsLost), "lost")
	b.ReportMetric(float64(st.PacketsReceived)/float64(b.N), "acks/op")
}

func BenchmarkPingPong(b *testing.B) {
	x, y := benchPair(b)
	buf := make([]byte, 64)
	var wg sync.WaitGroup
	wg.Go(func() {
		in := make([]byte, 64)
		for {
			if _, err := io.ReadFull(y, in); err != nil {
				return
			}
			if _, err := y.Write(in); err != nil {
				return
			}
		}
	})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(x, buf); err != nil {
			b.Fatal(err)
		}
	}
	_ = x.CloseWrite()
	wg.Wait()
}
