package link

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/weftnet/weft/internal/frame"
)

// readAll reads frames from a stream of bytes until an error.
func readAll(r io.Reader) ([]*frame.Frame, error) {
	c := NewStreamConn(readConn{Reader: r})
	var fs []*frame.Frame
	for {
		f, err := c.ReadFrame()
		if err != nil {
			return fs, err
		}
		fs = append(fs, f)
	}
}

// readConn is a conn that only reads.
type readConn struct {
	io.Reader
	net.Conn
}

func (c readConn) Read(b []byte) (int, error) { return c.Reader.Read(b) }

// chunks reads at most n bytes at a time.
type chunks struct {
	r io.Reader
	n int
}

func (c chunks) Read(b []byte) (int, error) { return c.r.Read(b[:min(len(b), c.n)]) }

func TestFramesOfAllSizesSurviveAnyFragmentation(t *testing.T) {
	sizes := []int{0, 1, 100, 500, 8171, 8172, 8173, 16363, 16364, 16365, 61440, 65535, 3, 65535, 20000, 0, 40}
	var stream []byte
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range sizes {
		f := frame.New(n)
		for i := range f.Packet() {
			f.Packet()[i] = byte(rnd.Uint32())
		}
		stream = append(stream, f.Bytes()...)
		f.Release()
	}
	for _, n := range []int{1, 7, 1000, 16 << 10, 40000, 1 << 20} {
		fs, err := readAll(chunks{bytes.NewReader(stream), n})
		if err != io.EOF {
			t.Errorf("chunks of %d: reading ends with %v, want io.EOF", n, err)
		}
		var got []byte
		for _, f := range fs {
			got = append(got, f.Bytes()...)
			f.Release()
		}
		if !bytes.Equal(got, stream) {
			t.Errorf("chunks of %d: %d frames differ from what was sent", n, len(fs))
		}
	}
}

func TestTruncatedStreamIsAnError(t *testing.T) {
	for _, n := range []int{10, 9000, 60000} {
		f := frame.New(n)
		whole := bytes.Clone(f.Bytes())
		f.Release()
		for _, cut := range []int{1, frame.HeaderLen - 1, frame.HeaderLen, len(whole) - 1} {
			fs, err := readAll(bytes.NewReader(whole[:cut]))
			if len(fs) != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d of %d bytes: %d frames and %v, want io.ErrUnexpectedEOF", cut, len(whole), len(fs), err)
			}
		}
	}
}

func TestPeekedBytesAreReadFirst(t *testing.T) {
	f := newFrame("peeked", 0)
	defer f.Release()
	b := f.Bytes()
	c := NewPeekedConn(readConn{Reader: bytes.NewReader(b[9:])}, b[:9])
	got, err := c.ReadFrame()
	if err != nil || string(got.Packet()) != "peeked" {
		t.Fatalf("read %v, %v", got, err)
	}
	got.Release()
}

// countingConn counts Write calls and hides what the conn can do besides.
type countingConn struct {
	net.Conn
	writes int
	out    bytes.Buffer
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.writes++
	return c.out.Write(b)
}

func TestSmallFramesShareAWrite(t *testing.T) {
	for _, tt := range []struct {
		name   string
		sizes  []int
		writes int // on a conn without writev
	}{
		{"nothing", nil, 0},
		{"one small", []int{10}, 1},
		{"one large", []int{60000}, 1},
		{"a hundred small", repeat(100, 100), 1},
		{"small, large, small", []int{10, 60000, 10}, 3},
		{"small ones around a large one", []int{10, 20, 60000, 10, 20, 30}, 3},
		{"more small ones than the buffer takes", repeat(1000, 20), 5},
	} {
		cc := &countingConn{}
		c := NewStreamConn(cc)
		var fs []*frame.Frame
		var want []byte
		for i, n := range tt.sizes {
			f := newFrame(string(rune('a'+i%26)), n)
			fs = append(fs, f)
			want = append(want, f.Bytes()...)
		}
		if err := c.WriteFrames(fs); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if !bytes.Equal(cc.out.Bytes(), want) {
			t.Errorf("%s: %d bytes were written that differ from the frames' %d", tt.name, cc.out.Len(), len(want))
		}
		if cc.writes != tt.writes {
			t.Errorf("%s: %d writes, want %d", tt.name, cc.writes, tt.writes)
		}
		for _, f := range fs {
			f.Release()
		}
	}
}

func repeat(n, times int) []int {
	s := make([]int, times)
	for i := range s {
		s[i] = n
	}
	return s
}

func FuzzReadFrame(f *testing.F) {
	g := frame.New(300)
	f.Add(g.Bytes(), uint16(7))
	f.Add(bytes.Repeat([]byte{0x10, 0, 0x40, 0}, 9000), uint16(5000))
	f.Add([]byte("WEFT"), uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, chunk uint16) {
		fs, err := readAll(chunks{bytes.NewReader(b), int(chunk) + 1})
		var got []byte
		for _, f := range fs {
			got = append(got, f.Bytes()...)
			f.Release()
		}
		if !bytes.HasPrefix(b, got) {
			t.Fatal("frames differ from the stream")
		}
		if err == io.EOF && len(got) != len(b) {
			t.Fatalf("clean end after %d of %d bytes", len(got), len(b))
		}
	})
}
