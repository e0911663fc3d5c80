package session

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weftnet/weft/internal/frame"
)

// contentAt is the byte at an offset of every stream in these tests.
func contentAt(off uint64) byte { return byte(off ^ off>>8*31 ^ off>>16*17) }

func content(off uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = contentAt(off + uint64(i))
	}
	return b
}

// wantContent fails unless data is the stream's content at off.
func wantContent(t *testing.T, off uint64, data []byte) {
	t.Helper()
	for i, c := range data {
		if c != contentAt(off+uint64(i)) {
			t.Fatalf("the byte at %d is %#x, want %#x", off+uint64(i), c, contentAt(off+uint64(i)))
		}
	}
}

// wantLastOwner gives up a reference and fails unless it was the last one.
func wantLastOwner(t *testing.T, f *frame.Frame) {
	t.Helper()
	f.Release()
	defer func() {
		if recover() == nil {
			t.Error("a buffer is still held")
		}
	}()
	f.Release()
}

// A sendModel is a sendBuf and, byte by byte, what should be in it.
type sendModel struct {
	t     *testing.T
	rng   *rand.Rand
	buf   sendBuf
	state []sendState
	out   []span         // packets in flight
	lost  int            // bytes in state sendLost
	seen  []*frame.Frame // buffers of chunks, with a reference of our own
}

type sendState uint8

const (
	sendNever sendState = iota
	sendFlying
	sendLost
	sendAcked
)

func (m *sendModel) write(n int) {
	m.buf.write(content(uint64(len(m.state)), n))
	m.state = append(m.state, make([]sendState, n)...)
	for _, c := range m.buf.chunks {
		if k := len(m.seen); k == 0 || m.seen[k-1] != c.f && c.off >= m.buf.end-uint64(n) {
			c.f.Retain()
			m.seen = append(m.seen, c.f)
		}
	}
}

// send sends one packet of up to n bytes, which may be of several chunks.
func (m *sendModel) send(n int, limit uint64) {
	start, k := m.buf.pending(limit)
	stop := start
	for off := start; k > 0 && off == stop && n > 0; off, k = m.buf.pending(limit) {
		data, c, first := m.buf.at(off, min(k, n))
		if len(data) == 0 || cap(data) != len(data) || first != (c.off == off) {
			m.t.Fatalf("at(%d) gives %d bytes of capacity %d, first %v of a chunk at %d", off, len(data), cap(data), first, c.off)
		}
		wantContent(m.t, off, data)
		m.buf.sent(off, len(data))
		stop = off + uint64(len(data))
		n -= len(data)
		m.fly(off, stop, limit)
	}
	if stop > start {
		m.out = append(m.out, span{start, stop})
	}
}

// fly takes note that [lo, hi) was sent, and fails unless it had to be.
func (m *sendModel) fly(lo, hi, limit uint64) {
	for off := lo; off < hi; off++ {
		switch s := &m.state[off]; {
		case *s == sendLost:
			m.lost--
			*s = sendFlying
		case *s == sendNever && m.lost == 0 && off < limit:
			*s = sendFlying
		default:
			m.t.Fatalf("the byte at %d is sent in state %d, with %d lost ones and a limit of %d", off, *s, m.lost, limit)
		}
	}
}

// settle acknowledges or loses a packet in flight; a lost one may still be
// acknowledged later.
func (m *sendModel) settle(acked bool) {
	if len(m.out) == 0 {
		return
	}
	i := m.rng.IntN(len(m.out))
	p := m.out[i]
	if acked || m.rng.IntN(4) > 0 {
		m.out = append(m.out[:i], m.out[i+1:]...)
	}
	n := int(p.hi - p.lo)
	if acked {
		m.buf.ack(p.lo, n)
	} else {
		m.buf.lose(p.lo, n)
	}
	for off := p.lo; off < p.hi; off++ {
		s := &m.state[off]
		switch {
		case *s == sendAcked:
		case acked:
			if *s == sendLost {
				m.lost--
			}
			*s = sendAcked
		case *s == sendFlying:
			*s = sendLost
			m.lost++
		}
	}
}

// check compares the sets of offsets.
func (m *sendModel) check() {
	m.t.Helper()
	b := &m.buf
	var acked, lost spans
	una, next := uint64(0), uint64(0)
	for off, s := range m.state {
		switch s {
		case sendAcked:
			if una == uint64(off) {
				una++
			} else {
				acked.add(uint64(off), uint64(off)+1)
			}
		case sendLost:
			lost.add(uint64(off), uint64(off)+1)
		}
		if s != sendNever {
			next = uint64(off) + 1
		}
	}
	if b.una != una || b.next != next || b.end != uint64(len(m.state)) || b.unsent() != len(m.state)-int(next) {
		m.t.Fatalf("una %d, next %d, end %d; want %d, %d, %d", b.una, b.next, b.end, una, next, len(m.state))
	}
	if !slices.Equal(b.acked, acked) || !slices.Equal(b.lost, lost) {
		m.t.Fatalf("acknowledged %v and lost %v, want %v and %v", b.acked, b.lost, acked, lost)
	}
	at := b.una
	for i, c := range b.chunks {
		if i == 0 && (c.off > at || c.end() <= at) || i > 0 && c.off != at {
			m.t.Fatalf("chunk %d is [%d, %d), expected at %d", i, c.off, c.end(), at)
		}
		at = c.end()
	}
	if at != b.end {
		m.t.Fatalf("chunks end at %d, want %d", at, b.end)
	}
}

func TestSendBufAgreesWithAModel(t *testing.T) {
	for seed := range uint64(12) {
		m := &sendModel{t: t, rng: rand.New(rand.NewPCG(seed, 2))}
		scale := []int{10, 500, 40000}[seed%3]
		for range 300 {
			switch op := m.rng.IntN(10); {
			case op < 3 && len(m.state) < min(20*scale, 200_000):
				m.write(1 + m.rng.IntN(scale))
			case op < 6:
				m.send(1+m.rng.IntN(scale), m.buf.una+m.rng.Uint64N(8*uint64(scale)))
			case op < 8:
				m.settle(true)
			default:
				m.settle(false)
			}
			if scale < 500 || m.rng.IntN(16) == 0 {
				m.check()
			}
		}
		m.check()
		m.finish()
	}
}

// finish delivers everything and looks for buffers that are still held.
func (m *sendModel) finish() {
	for len(m.out) > 0 {
		m.settle(true)
	}
	for m.buf.una < m.buf.end {
		una := m.buf.una
		m.send(1+m.rng.IntN(3000), ^uint64(0))
		for len(m.out) > 0 {
			m.settle(true)
		}
		if m.lost == 0 && m.buf.una == una {
			m.t.Fatalf("nothing is sent although [%d, %d) is not delivered", una, m.buf.end)
		}
	}
	m.check()
	if len(m.buf.chunks) != 0 {
		m.t.Errorf("%d chunks are left", len(m.buf.chunks))
	}
	for _, f := range m.seen {
		wantLastOwner(m.t, f)
	}
}

func TestFreeReleasesEverythingAndNothingIsSentAfterwards(t *testing.T) {
	m := &sendModel{t: t, rng: rand.New(rand.NewPCG(3, 3))}
	m.write(200_000)
	m.send(100_000, ^uint64(0))
	m.send(1000, ^uint64(0))
	m.buf.ack(50, 1000)
	m.buf.lose(2000, 5000)
	m.buf.free()
	for _, f := range m.seen {
		wantLastOwner(t, f)
	}
	m.buf.lose(0, 100_000) // what was in flight still comes back
	m.buf.ack(0, 100_000)
	if off, n := m.buf.pending(^uint64(0)); n != 0 || m.buf.una != m.buf.end || m.buf.unsent() != 0 {
		t.Errorf("%d bytes at %d are pending, una %d of %d", n, off, m.buf.una, m.buf.end)
	}
}

func TestLargeWriteAfterASentPartStartsAChunkOfItsOwn(t *testing.T) {
	var b sendBuf
	defer b.free()
	b.write(content(0, 100))
	b.sent(0, 50)
	b.write(content(100, chunkSplit))
	if _, _, first := b.at(100, 1); !first {
		t.Error("the write does not begin a chunk, so it cannot be sealed in place")
	}
	b.write(content(100+chunkSplit, 100))
	if len(b.chunks) != 2 {
		t.Errorf("%d chunks, want 2: a small write fills the last one up", len(b.chunks))
	}
}

func TestPrefixIsTheHeadroomBeforeTheData(t *testing.T) {
	var b sendBuf
	defer b.free()
	b.write([]byte("data"))
	_, c, _ := b.at(0, 4)
	copy(c.prefix(3), "abc")
	if got := string(c.f.Packet()[chunkHeadroom-3 : chunkHeadroom+4]); got != "abcdata" {
		t.Errorf("%q, want headroom and data side by side", got)
	}
	if n := len(c.prefix(chunkHeadroom)); n != chunkHeadroom {
		t.Errorf("the longest prefix has %d bytes, want %d", n, chunkHeadroom)
	}
}
