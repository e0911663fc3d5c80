package sctp

import (
	"io"
	"net"
	"sync"
	"testing"

	psctp "github.com/pion/sctp"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/stream"
)

// A directPath hands frames to the other endpoint over a channel, so that
// session and layer alone are measured.
type directPath struct {
	self identity.NodeID
	out  chan *frame.Frame
	mu   sync.Mutex
	wait []session.Waker
}

func (p *directPath) MaxPacket() int      { return frame.MaxPacket }
func (p *directPath) ID() identity.NodeID { return 0 }
func (p *directPath) String() string      { return "direct" }
func (p *directPath) Ready(w session.Waker) bool {
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

func (p *directPath) deliver(to *session.Endpoint, via session.Path) {
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

func benchCredentials(b *testing.B) *identity.Credentials {
	b.Helper()
	n, err := identity.OpenNetwork(identity.NetworkConfig{Open: true})
	if err != nil {
		b.Fatal(err)
	}
	k, err := identity.GenerateKey()
	if err != nil {
		b.Fatal(err)
	}
	c, err := identity.NewCredentials(k, n, nil)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// benchConns returns a conn of the layer over a session without a network.
func benchConns(b *testing.B) (x, y net.Conn) {
	b.Helper()
	ends := [2]*directPath{{out: make(chan *frame.Frame, 128)}, {out: make(chan *frame.Frame, 128)}}
	var eps [2]*session.Endpoint
	accepted := make(chan *session.Session, 1)
	for i := range eps {
		creds := benchCredentials(b)
		e, err := session.NewEndpoint(session.Config{
			Credentials: creds, Layer: "sctp", Greeting: Layer{}.Greeting,
			Route: func(identity.NodeID) session.Path { return ends[i] },
			OnSession: func(s *session.Session) {
				if !s.Initiator() {
					accepted <- s
				}
			},
		})
		if err != nil {
			b.Fatal(err)
		}
		eps[i], ends[i].self = e, creds.Key().ID()
	}
	var wg sync.WaitGroup
	wg.Go(func() { ends[0].deliver(eps[1], ends[1]) })
	wg.Go(func() { ends[1].deliver(eps[0], ends[0]) })
	s, err := eps[0].Dial(b.Context(), identity.Target{ID: ends[1].self})
	if err != nil {
		b.Fatal(err)
	}
	m0, m1 := start(b, stream.FromSession(s)), start(b, stream.FromSession(<-accepted))
	b.Cleanup(func() {
		m0.Close()
		m1.Close()
		_ = eps[0].Close()
		_ = eps[1].Close()
		ends[0].out <- nil
		ends[1].out <- nil
		wg.Wait()
	})
	x, err = m0.Open(b.Context(), 80, stream.OpenOptions{EarlyData: true})
	if err != nil {
		b.Fatal(err)
	}
	r, err := m1.Accept(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if y, err = r.Accept(); err != nil {
		b.Fatal(err)
	}
	return x, y
}

// A pipeEnd is one end of a pipe for packets, for pion alone.
type pipeEnd struct {
	net.Conn // nil: pion needs nothing else
	in, out  chan []byte
	done     chan struct{}
	once     *sync.Once
}

func (p *pipeEnd) Read(b []byte) (int, error) {
	select {
	case d := <-p.in:
		return copy(b, d), nil
	case <-p.done:
		return 0, io.EOF
	}
}

func (p *pipeEnd) Write(b []byte) (int, error) {
	select {
	case p.out <- b: // pion writes each slice once
		return len(b), nil
	case <-p.done:
		return 0, io.ErrClosedPipe
	}
}

func (p *pipeEnd) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// pionStreams returns a stream of pion/sctp alone, with the packets that the
// layer has, its receive buffer, and writes that wait.
func pionStreams(b *testing.B) (x, y *psctp.Stream) {
	b.Helper()
	there, back, done, once := make(chan []byte, 128), make(chan []byte, 128), make(chan struct{}), new(sync.Once)
	options := func(c net.Conn) []psctp.ClientOption {
		return []psctp.ClientOption{
			psctp.WithNetConn(c), psctp.WithMTU(maxPacket), psctp.WithMaxReceiveBufferSize(receiveBuffer),
			psctp.WithLoggerFactory(logger{silent()}), psctp.WithBlockWrite(true),
		}
	}
	ends := [2]net.Conn{
		&pipeEnd{in: back, out: there, done: done, once: once},
		&pipeEnd{in: there, out: back, done: done, once: once},
	}
	var assocs [2]*psctp.Association
	var wg sync.WaitGroup
	for i := range assocs {
		wg.Go(func() {
			var err error
			if assocs[i], err = psctp.ClientWithOptions(options(ends[i])...); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	b.Cleanup(func() {
		_ = assocs[0].Close()
		_ = assocs[1].Close()
	})
	var err error
	for i, s := range []**psctp.Stream{&x, &y} {
		if *s, err = assocs[i].OpenStream(1, psctp.PayloadTypeWebRTCBinary); err != nil {
			b.Fatal(err)
		}
	}
	return x, y
}

// BenchmarkBulk compares one conn of the layer, over a session that seals, with
// one stream of pion/sctp alone over a channel.
func BenchmarkBulk(b *testing.B) {
	const size = 64 << 10
	b.Run("layer", func(b *testing.B) {
		x, y := benchConns(b)
		benchBulk(b, x, y, size)
	})
	for _, message := range []int{16 << 10, 32 << 10, 64 << 10} {
		b.Run("pion-alone-"+map[int]string{16 << 10: "16K", 32 << 10: "32K", 64 << 10: "64K"}[message], func(b *testing.B) {
			x, y := pionStreams(b)
			benchBulk(b, x, y, message)
		})
	}
}

func benchBulk(b *testing.B, w io.Writer, r io.Reader, size int) {
	b.Helper()
	b.SetBytes(int64(size))
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, size)
		for range b.N {
			if _, err := w.Write(buf); err != nil {
				b.Error(err)
				return
			}
		}
	})
	in := make([]byte, 64<<10)
	b.ResetTimer()
	for left := b.N * size; left > 0; {
		n, err := r.Read(in)
		if err != nil {
			b.Fatal(err)
		}
		left -= n
	}
	b.StopTimer()
	wg.Wait()
}
