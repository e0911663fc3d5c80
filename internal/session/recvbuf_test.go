package session

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/weftnet/weft/internal/frame"
)

// frameWith returns a frame whose packet ends in the stream's content at off,
// behind some bytes of header, and that content.
func frameWith(off uint64, n, header int) (*frame.Frame, []byte) {
	f := frame.New(header + n)
	data := f.Packet()[header:]
	copy(data, content(off, n))
	return f, data
}

// pinnedBy is the memory that b's segments hold.
func pinnedBy(b *recvBuf) (n int) {
	for _, s := range b.segs[b.head:] {
		n += s.f.Cap()
	}
	return n
}

// checkRecv fails if b contradicts itself.
func checkRecv(t *testing.T, b *recvBuf) {
	t.Helper()
	at, contig := b.read, b.read
	for i, s := range b.segs[b.head:] {
		if len(s.data) == 0 || s.end() <= at || i > 0 && s.off < at {
			t.Fatalf("segment %d is [%d, %d) behind %d", i, s.off, s.end(), at)
		}
		wantContent(t, s.off, s.data)
		if s.off <= contig {
			contig = s.end()
		}
		at = s.end()
	}
	if b.contig != contig {
		t.Fatalf("readable up to %d, want %d", b.contig, contig)
	}
	if n := pinnedBy(b); b.pinned != n {
		t.Fatalf("%d bytes are pinned, want %d", b.pinned, n)
	}
}

func TestRecvBufAgreesWithAModel(t *testing.T) {
	for seed := range uint64(16) {
		rng := rand.New(rand.NewPCG(seed, 4))
		scale := []int{5, 400, 2000, 40000}[seed%4]
		var b recvBuf
		var frames []*frame.Frame
		have := make([]bool, 10*scale+500)
		for step := 0; int(b.read) < len(have); step++ {
			off := int(b.contig) + rng.IntN(4*scale) - 2*scale
			if step%3 == 0 {
				off = int(b.contig) // so that it ends
			}
			off = min(max(off, 0), len(have)-1)
			n := min(1+rng.IntN(scale), len(have)-off)
			f, data := frameWith(uint64(off), n, rng.IntN(40))
			if err := b.insert(uint64(off), data, f, 1<<40); err != nil {
				t.Fatal(err)
			}
			frames = append(frames, f)
			for i := range n {
				have[off+i] = true
			}
			if want := int(b.read); want < len(have) {
				for want < len(have) && have[want] {
					want++
				}
				if b.readable() != want-int(b.read) {
					t.Fatalf("%d bytes can be read at %d, want %d", b.readable(), b.read, want-int(b.read))
				}
			}
			checkRecv(t, &b)
			for b.readable() > 0 && rng.IntN(2) == 0 {
				readSome(t, rng, &b, scale)
				checkRecv(t, &b)
			}
		}
		if b.pinned != 0 || len(b.segs) != 0 {
			t.Errorf("%d bytes in %d segments are held after all was read", b.pinned, len(b.segs))
		}
		for _, f := range frames {
			wantLastOwner(t, f)
		}
	}
}

// readSome reads by copying, or without.
func readSome(t *testing.T, rng *rand.Rand, b *recvBuf, scale int) {
	t.Helper()
	at, readable := b.read, b.readable()
	if rng.IntN(2) == 0 {
		p := make([]byte, 1+rng.IntN(2*scale))
		n := b.consume(p)
		if n != min(len(p), readable) {
			t.Fatalf("%d of %d bytes are read into %d", n, readable, len(p))
		}
		wantContent(t, at, p[:n])
		return
	}
	data := b.peek()
	if len(data) == 0 || len(data) > readable {
		t.Fatalf("peek gives %d of %d bytes", len(data), readable)
	}
	wantContent(t, at, data)
	b.skip(1 + rng.IntN(len(data)))
}

func TestNothingIsPinnedAfterFree(t *testing.T) {
	var b recvBuf
	var frames []*frame.Frame
	put := func(off uint64, n int) {
		f, data := frameWith(off, n, 30)
		if err := b.insert(off, data, f, 1<<20); err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
	}
	put(0, 1170) // stays in its frame
	put(1170, 40)
	put(5000, 40) // is copied
	put(6000, 60000)
	for i, own := range []bool{false, true, true, false} {
		if b.segs[i].own != own {
			t.Errorf("segment %d is copied: %v, want %v", i, !own, own)
		}
	}
	var p [500]byte
	b.consume(p[:])
	segs := append([]seg(nil), b.segs...)
	for _, s := range segs {
		s.f.Retain()
	}
	b.free()
	for _, s := range segs {
		if s.own {
			wantLastOwner(t, s.f)
		} else {
			s.f.Release()
		}
	}
	for _, f := range frames {
		wantLastOwner(t, f)
	}
	if b.pinned != 0 || b.readable() != 0 || b.peek() != nil {
		t.Errorf("%d bytes are pinned, %d can be read", b.pinned, b.readable())
	}
}

func TestPeekAndConsumeOfAnEmptyBufferGiveNothing(t *testing.T) {
	var b recvBuf
	if n := b.consume(make([]byte, 9)); n != 0 || b.peek() != nil {
		t.Errorf("%d bytes, peek %q", n, b.peek())
	}
}

func TestSmallPiecesInOrderShareBuffers(t *testing.T) {
	var b recvBuf
	defer b.free()
	const total = 100_000
	for off := range uint64(total) {
		f, data := frameWith(off, 1, 30)
		if err := b.insert(off, data, f, 2*64<<10+recvSlack); err != nil {
			t.Fatal(err)
		}
		f.Release()
	}
	if b.readable() != total || b.pinned > 2*total {
		t.Errorf("%d of %d bytes pin %d", b.readable(), total, b.pinned)
	}
}

func TestManySmallPiecesWithGapsEndInAnError(t *testing.T) {
	const window = 64 << 10
	var b recvBuf
	defer b.free()
	for off := uint64(2*window + recvSlack); ; off -= 2 {
		f, data := frameWith(off, 1, 30)
		err := b.insert(off, data, f, int(2*window+recvSlack))
		f.Release()
		if b.pinned > 2*window+recvSlack+frame.HeaderLen+frame.MaxPacket+1 {
			t.Fatalf("%d bytes are pinned", b.pinned)
		}
		if errors.Is(err, errFragmented) {
			return
		}
		if err != nil || off < 4 {
			t.Fatalf("at %d: %v, want errFragmented by then", off, err)
		}
	}
}

func TestDuplicatesHoldNoMemory(t *testing.T) {
	var b recvBuf
	defer b.free()
	f, data := frameWith(0, 1900, 30)
	for range 3 {
		if err := b.insert(0, data, f, 4000); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.segs) != 1 || b.pinned != f.Cap() {
		t.Errorf("%d segments pin %d bytes", len(b.segs), b.pinned)
	}
	f.Release()
}

func BenchmarkRecvBufWithALossInFront(b *testing.B) {
	f, data := frameWith(0, 1170, 30)
	defer f.Release()
	b.ReportAllocs()
	for b.Loop() {
		var buf recvBuf
		for i := range uint64(4000) {
			if err := buf.insert((i+1)*1170, data, f, 16<<20); err != nil {
				b.Fatal(err)
			}
		}
		if err := buf.insert(0, data, f, 16<<20); err != nil || buf.readable() != 4001*1170 {
			b.Fatal(err)
		}
		buf.free()
	}
}
