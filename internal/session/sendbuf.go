package session

import (
	"slices"

	"github.com/weftnet/weft/internal/frame"
)

const (
	// chunkHeadroom is kept free before a chunk's data, so that a packet's
	// frames before the data can be put there and sealed together with it
	// without copying the data.
	chunkHeadroom = 96
	// chunkData is the most data in a chunk: what fits the largest packet.
	chunkData = 65400
	// chunkSplit is the size of a write from which on it starts a chunk of
	// its own rather than fill up one of which a part was sent.
	chunkSplit = 8 << 10
)

// A chunk is a pooled buffer with written data. What is written never
// changes, so that it can be sealed without holding the stream's lock.
type chunk struct {
	f    *frame.Frame
	off  uint64 // stream offset of the first byte
	data []byte
}

func (c *chunk) end() uint64 { return c.off + uint64(len(c.data)) }

// prefix returns n bytes of headroom that end where the data begin.
func (c *chunk) prefix(n int) []byte { return c.f.Packet()[chunkHeadroom-n : chunkHeadroom] }

// A sendBuf holds what was written and not yet acknowledged. Writing and
// looking happen under the stream's lock; chunks are freed only by the
// session's goroutine, which may therefore use them without the lock.
type sendBuf struct {
	chunks []chunk
	una    uint64 // first byte not acknowledged
	next   uint64 // first byte never sent
	end    uint64 // behind the last byte written
	acked  spans  // acknowledged, above una
	lost   spans  // to be sent again
}

// unsent is the number of bytes that were never sent.
func (b *sendBuf) unsent() int { return int(b.end - b.next) }

// held is the number of bytes that were sent and are kept until they and all
// before them are acknowledged.
func (b *sendBuf) held() uint64 { return b.next - b.una }

// write appends p.
func (b *sendBuf) write(p []byte) {
	for len(p) > 0 {
		n := len(b.chunks)
		if n == 0 || len(b.chunks[n-1].data) == cap(b.chunks[n-1].data) ||
			len(p) >= chunkSplit && b.next > b.chunks[n-1].off {
			b.grow(len(p))
			n = len(b.chunks)
		}
		c := &b.chunks[n-1]
		k := min(cap(c.data)-len(c.data), len(p))
		c.data = append(c.data, p[:k]...)
		b.end += uint64(k)
		p = p[k:]
	}
}

// grow adds an empty chunk for n bytes. A write that takes several chunks is
// split evenly, lest each leave a small rest that costs a packet. Where many
// small writes wait already, the chunk is made for more of them.
func (b *sendBuf) grow(n int) {
	k := (n + chunkData - 1) / chunkData
	size := (n + k - 1) / k
	if n < chunkSplit {
		size = min(max(n, b.unsent()), chunkData)
	}
	f := frame.New(chunkHeadroom + size)
	if k == 1 {
		size = min(f.Cap()-frame.HeaderLen-chunkHeadroom, chunkData)
	}
	data := f.Bytes()[frame.HeaderLen+chunkHeadroom:][:0:size]
	b.chunks = append(b.chunks, chunk{f: f, off: b.end, data: data})
}

// pending returns the range to send next, lost bytes first: new bytes only
// below limit. n is 0 if there is none.
func (b *sendBuf) pending(limit uint64) (off uint64, n int) {
	if len(b.lost) > 0 {
		return b.lost[0].lo, int(b.lost[0].hi - b.lost[0].lo)
	}
	if stop := min(b.end, limit); b.next < stop {
		return b.next, int(stop - b.next)
	}
	return b.next, 0
}

// at returns the data at off, at most n bytes and only as far as the chunk
// reaches. first tells whether off is the chunk's first byte.
func (b *sendBuf) at(off uint64, n int) (data []byte, c chunk, first bool) {
	i, _ := slices.BinarySearchFunc(b.chunks, off, func(c chunk, off uint64) int {
		if c.end() <= off {
			return -1
		}
		return 1
	})
	c = b.chunks[i]
	start := int(off - c.off)
	stop := min(start+n, len(c.data))
	return c.data[start:stop:stop], c, start == 0
}

// sent records that [off, off+n) went out.
func (b *sendBuf) sent(off uint64, n int) {
	stop := off + uint64(n)
	b.lost.sub(off, stop)
	b.next = max(b.next, stop)
}

// ack records that [off, off+n) arrived, and frees what is no longer needed.
func (b *sendBuf) ack(off uint64, n int) {
	lo, hi := max(off, b.una), off+uint64(n)
	if lo >= hi {
		return
	}
	b.lost.sub(lo, hi)
	if lo > b.una {
		b.acked.add(lo, hi)
		return
	}
	b.una = hi
	for len(b.acked) > 0 && b.acked[0].lo <= b.una {
		b.una = max(b.una, b.acked[0].hi)
		b.acked = slices.Delete(b.acked, 0, 1)
	}
	k := 0
	for k < len(b.chunks) && b.chunks[k].end() <= b.una {
		b.chunks[k].f.Release()
		k++
	}
	b.chunks = slices.Delete(b.chunks, 0, k)
}

// lose records that [off, off+n) must be sent again unless it has arrived.
func (b *sendBuf) lose(off uint64, n int) {
	lo, hi := max(off, b.una), off+uint64(n)
	if lo >= hi {
		return
	}
	b.lost.add(lo, hi)
	for _, a := range b.acked {
		if a.lo >= hi {
			break
		}
		b.lost.sub(a.lo, a.hi)
	}
}

// free releases everything; nothing is sent any more.
func (b *sendBuf) free() {
	for _, c := range b.chunks {
		c.f.Release()
	}
	b.chunks, b.acked, b.lost = nil, nil, nil
	b.una, b.next = b.end, b.end
}
