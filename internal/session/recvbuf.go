package session

import (
	"errors"
	"slices"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/spare"
)

const (
	// recvSlack is how much memory beyond twice the window the received data of
	// a stream, or of all streams of a session, may pin.
	recvSlack = 1 << 20
	// recvPerStream is what a stream pins at least that has data, of which a
	// session may have MaxStreams: the smallest buffer.
	recvPerStream = 512
)

// spareSegs has the room of recvBufs that were read to the end.
var spareSegs spare.Slices[seg]

// errFragmented ends a session whose peer sends a stream in so many small
// pieces with gaps between them that they would pin too much memory.
var errFragmented = errors.New("a stream arrived in too many fragments")

// A seg is a run of received bytes. Large runs stay in the packet that they
// came in; small ones are collected in a buffer of the segment's own.
type seg struct {
	off  uint64
	data []byte
	f    *frame.Frame
	own  bool // f belongs to this segment alone: cap(data) may be filled up
}

func (s *seg) end() uint64 { return s.off + uint64(len(s.data)) }

// A recvBuf puts a stream's bytes in order. It must not be copied.
type recvBuf struct {
	one    [1]seg // room of segs while one suffices, as it does for questions and answers
	segs   []seg  // ascending, disjoint; the first is at read unless there is a gap
	head   int    // segs before it are consumed
	read   uint64
	contig uint64 // end of the bytes that can be read now
	pinned int    // memory that segs hold
}

// readable is the number of bytes that can be read now.
func (b *recvBuf) readable() int { return int(b.contig - b.read) }

// insert adds data that lie in f's packet at off. limit bounds the memory.
func (b *recvBuf) insert(off uint64, data []byte, f *frame.Frame, limit int) error {
	if off < b.contig {
		skip := b.contig - off
		if skip >= uint64(len(data)) {
			return nil
		}
		off, data = b.contig, data[skip:]
	}
	n := len(b.segs)
	if n == b.head || b.segs[n-1].end() <= off { // behind everything: what nearly always happens
		b.put(n, off, data, f)
	} else {
		b.fill(off, data, f)
	}
	b.advance()
	if b.pinned > limit {
		return errFragmented
	}
	return nil
}

// search returns the index of the first segment that ends behind off.
func (b *recvBuf) search(off uint64) int {
	i, _ := slices.BinarySearchFunc(b.segs[b.head:], off, func(s seg, off uint64) int {
		if s.end() <= off {
			return -1
		}
		return 1
	})
	return b.head + i
}

// fill inserts what is missing of [off, off+len(data)).
func (b *recvBuf) fill(off uint64, data []byte, f *frame.Frame) {
	i := b.search(off)
	for len(data) > 0 {
		hole := uint64(len(data))
		if i < len(b.segs) {
			next := &b.segs[i]
			if next.off <= off {
				skip := min(next.end()-off, uint64(len(data)))
				off, data = off+skip, data[skip:]
				i++
				continue
			}
			hole = min(hole, next.off-off)
		}
		i = b.put(i, off, data[:hole], f)
		off, data = off+hole, data[hole:]
	}
}

// room makes room for one more segment.
func (b *recvBuf) room() {
	if cap(b.segs) == 0 {
		b.segs = b.one[:0]
		return
	}
	b.segs = spareSegs.Grow(b.segs)
	if cap(b.segs) > 1 {
		b.one = [1]seg{}
	}
}

// put stores data as segment i, or at the end of segment i-1, and returns the
// index behind it.
func (b *recvBuf) put(i int, off uint64, data []byte, f *frame.Frame) int {
	if 2*len(data) >= f.Cap() {
		f.Retain()
		b.pinned += f.Cap()
		b.room()
		b.segs = slices.Insert(b.segs, i, seg{off: off, data: data[:len(data):len(data)], f: f})
		return i + 1
	}
	if i > b.head {
		if prev := &b.segs[i-1]; prev.own && prev.end() == off {
			k := min(cap(prev.data)-len(prev.data), len(data))
			prev.data = append(prev.data, data[:k]...)
			off, data = off+uint64(k), data[k:]
		}
	}
	if len(data) == 0 {
		return i
	}
	own := frame.New(len(data))
	b.pinned += own.Cap()
	room := own.Cap() - frame.HeaderLen
	buf := append(own.Bytes()[frame.HeaderLen:][:0:room], data...)
	b.room()
	b.segs = slices.Insert(b.segs, i, seg{off: off, data: buf, f: own, own: true})
	return i + 1
}

// advance moves contig over the segments that follow without a gap.
func (b *recvBuf) advance() {
	i := len(b.segs) - 1
	if i >= b.head && b.segs[i].off <= b.contig { // in order: only the last is new
		b.contig = max(b.contig, b.segs[i].end())
		return
	}
	for i := b.search(b.contig - min(b.contig, 1)); i < len(b.segs) && b.segs[i].off <= b.contig; i++ {
		b.contig = max(b.contig, b.segs[i].end())
	}
}

// consume copies bytes out in order.
func (b *recvBuf) consume(p []byte) (n int) {
	for n < len(p) && b.read < b.contig {
		s := &b.segs[b.head]
		k := copy(p[n:], s.data[b.read-s.off:])
		n += k
		b.read += uint64(k)
		if b.read == s.end() {
			b.drop(s)
		}
	}
	return n
}

// peek returns the next readable bytes without copying; skip consumes them.
func (b *recvBuf) peek() []byte {
	if b.read == b.contig {
		return nil
	}
	s := &b.segs[b.head]
	return s.data[b.read-s.off:]
}

// skip consumes n bytes of what peek returned.
func (b *recvBuf) skip(n int) {
	s := &b.segs[b.head]
	b.read += uint64(n)
	if b.read == s.end() {
		b.drop(s)
	}
}

// drop releases the first segment.
func (b *recvBuf) drop(s *seg) {
	b.pinned -= s.f.Cap()
	s.f.Release()
	*s = seg{}
	b.head++
	switch {
	case b.head == len(b.segs):
		spareSegs.Put(b.segs) // does nothing to one
		b.segs, b.head = nil, 0
	case b.head > 64 && b.head > len(b.segs)/2:
		b.segs = slices.Delete(b.segs, 0, b.head)
		b.head = 0
	}
}

// free releases everything.
func (b *recvBuf) free() {
	for _, s := range b.segs[b.head:] {
		s.f.Release()
	}
	b.one = [1]seg{}
	b.segs, b.head, b.pinned = nil, 0, 0
	b.read = b.contig
}
