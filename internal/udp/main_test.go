package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/racetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	goleak.VerifyTestMain(m)
}

var (
	loopback4 = netip.MustParseAddrPort("127.0.0.1:0")
	loopback6 = netip.MustParseAddrPort("[::1]:0")
)

// kinds are the ways in which the kernel moves datagrams.
var kinds = []struct {
	name   string
	config func(t testing.TB, cfg Config) Config
}{
	{"segments", func(_ testing.TB, cfg Config) Config { return cfg }},
	{"batches", func(_ testing.TB, cfg Config) Config { cfg.NoSegments = true; return cfg }},
	{"plain", func(t testing.TB, cfg Config) Config {
		var lc net.ListenConfig
		pc, err := lc.ListenPacket(t.Context(), "udp", cfg.Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		uc := pc.(*net.UDPConn)
		uc.SetReadBuffer(DefaultReadBuffer)
		cfg.Conn = OneByOne(uc)
		return cfg
	}},
}

// open opens a socket that is closed with the test.
func open(t testing.TB, cfg Config) *Socket {
	t.Helper()
	if cfg.OnFrame == nil {
		cfg.OnFrame = func(_ *Flow, f *frame.Frame) { f.Release() }
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// drain waits until everything is written and counted.
func drain(t testing.TB, s *Socket) {
	t.Helper()
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// needIPv6 skips the test on systems without IPv6.
func needIPv6(t *testing.T) {
	t.Helper()
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(t.Context(), "udp6", loopback6.String())
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	pc.Close()
}

// got is a frame that came.
type got struct {
	fl  *Flow
	num uint64
	len int
}

// inbox collects frames. Its capacity is more than any test lets come at once.
type inbox chan got

func newInbox() inbox { return make(inbox, 10000) }

func (in inbox) onFrame(fl *Flow, f *frame.Frame) {
	p := f.Packet()
	g := got{fl: fl, len: len(p)}
	if len(p) >= 8 {
		g.num = binary.BigEndian.Uint64(p)
	}
	for i := 8; i < len(p); i++ {
		if p[i] != byte(g.num+uint64(i)) {
			g.num = 1 << 63 // spoilt
			break
		}
	}
	f.Release()
	in <- g
}

// numbered returns a frame of n bytes that inbox can check.
func numbered(num uint64, n int) *frame.Frame {
	f := frame.New(n)
	f.SetDst(1)
	f.SetSrc(2)
	p := f.Packet()
	if n >= 8 {
		binary.BigEndian.PutUint64(p, num)
		for i := 8; i < n; i++ {
			p[i] = byte(num + uint64(i))
		}
	}
	return f
}

// send fails the test if a frame is not taken.
func send(t testing.TB, fl *Flow, f *frame.Frame) {
	t.Helper()
	if err := fl.Send(f); err != nil {
		t.Fatal(err)
	}
}

// wakes counts Wake calls.
type wakes chan struct{}

func (w wakes) Wake() { w <- struct{}{} }

// A fakeConn takes the place of the kernel. WriteBatch waits for a place in
// gate, if there is one, and then keeps copies of what refuse lets through.
type fakeConn struct {
	segments int
	gate     chan struct{}
	refuse   func(m Outgoing) error
	down     chan struct{}
	once     sync.Once
	entered  chan struct{} // told of each WriteBatch before it waits

	mu      sync.Mutex
	written []sent
}

type sent struct {
	to    netip.AddrPort
	sizes []int
	first []byte // content of each datagram's last byte
}

func newFakeConn(segments int) *fakeConn {
	return &fakeConn{segments: segments, down: make(chan struct{}), entered: make(chan struct{}, 10000)}
}

func (c *fakeConn) ReadBatch([]Incoming) (int, error) {
	<-c.down
	return 0, net.ErrClosed
}

func (c *fakeConn) WriteBatch(ms []Outgoing) (int, error) {
	c.entered <- struct{}{}
	if c.gate != nil {
		select {
		case <-c.gate:
		case <-c.down:
			return 0, net.ErrClosed
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, m := range ms {
		if c.refuse != nil {
			if err := c.refuse(m); err != nil {
				return i, err
			}
		}
		s := sent{to: m.To}
		for _, b := range m.Bufs {
			s.sizes = append(s.sizes, len(b))
			s.first = append(s.first, b[len(b)-1])
		}
		c.written = append(c.written, s)
	}
	return len(ms), nil
}

func (c *fakeConn) all() []sent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written
}

func (c *fakeConn) MaxSegments() int          { return c.segments }
func (c *fakeConn) LocalAddr() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.1:1") }
func (c *fakeConn) Close() error              { c.once.Do(func() { close(c.down) }); return nil }
