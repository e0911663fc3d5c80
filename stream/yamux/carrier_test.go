package yamux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/streamtest/memsession"
)

// streams returns both ends of a stream of a session.
func streams(t testing.TB) (a, b stream.Stream) {
	t.Helper()
	x, y := memsession.New()
	a, err := x.OpenStream(t.Context(), stream.KindLayer)
	if err != nil {
		t.Fatal(err)
	}
	b, err = y.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// frameOf is a yamux frame of type 0 with data.
func frameOf(data string) []byte {
	b := make([]byte, yamuxHeader, yamuxHeader+len(data))
	binary.BigEndian.PutUint32(b[8:], uint32(len(data)))
	return append(b, data...)
}

// recorder is the stream below a carrier: it notes every Write.
type recorder struct {
	stream.Stream
	writes chan string
}

func (r recorder) Write(b []byte) (int, error) {
	r.writes <- string(b)
	return len(b), nil
}

func TestACarrierSendsHeaderAndDataTogether(t *testing.T) {
	st, _ := streams(t)
	rec := recorder{st, make(chan string, 10)}
	c := newCarrier(rec, func(error) {})
	frame := frameOf(strings.Repeat("x", yamuxHeader)) // data that could be a header
	update := make([]byte, yamuxHeader)
	update[1] = 1 // a window update, whose length means no data
	update[11] = 9
	for _, want := range []string{string(frame), string(update), string(frame)} {
		if len(want) > yamuxHeader {
			c.Write([]byte(want[:yamuxHeader]))
			c.Write([]byte(want[yamuxHeader:]))
		} else {
			c.Write([]byte(want))
		}
		if got := <-rec.writes; got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
	c.Close()
}

func TestACarrierReturnsWholeFramesOnly(t *testing.T) {
	a, b := streams(t)
	c := newCarrier(a, func(error) {})
	defer c.Close()
	frame := frameOf("hello")
	got := make(chan string)
	go func() {
		buf := make([]byte, 100)
		n, _ := c.Read(buf)
		got <- string(buf[:n])
	}()
	b.Write(frame[:yamuxHeader+2])
	select {
	case s := <-got:
		t.Errorf("Read returned %q of an unfinished frame", s)
	default:
	}
	b.Write(append(frame[yamuxHeader+2:], frameOf("next")...))
	if s := <-got; s != string(frame) {
		t.Errorf("Read = %q, want %q", s, frame)
	}
}

func TestACarrierRefusesLongFrames(t *testing.T) {
	a, b := streams(t)
	c := newCarrier(a, func(error) {})
	defer c.Close()
	for _, n := range []uint32{maxChunk + 1, 1 << 31, 1<<32 - 1} {
		header := make([]byte, yamuxHeader)
		binary.BigEndian.PutUint32(header[8:], n)
		b.Write(header)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, errFrameTooLong) {
			t.Fatalf("a frame of %d bytes: error is %v", n, err)
		}
	}
}

func TestACarrierEndsBetweenFramesOnly(t *testing.T) {
	for cut, want := range map[int]error{
		0: io.EOF, 1: io.ErrUnexpectedEOF, yamuxHeader: io.ErrUnexpectedEOF, yamuxHeader + 4: io.ErrUnexpectedEOF,
	} {
		a, b := streams(t)
		var told error
		c := newCarrier(a, func(err error) { told = err })
		b.Write(frameOf("hello")[:cut])
		b.CloseWrite()
		if _, err := c.Read(make([]byte, 100)); err != want || told != want {
			t.Errorf("cut after %d bytes: Read says %v, the mux was told %v, want %v", cut, err, told, want)
		}
		c.Close()
	}
}

func TestACarrierGrantsRoomInOrder(t *testing.T) {
	a, b := streams(t)
	c := newCarrier(a, func(error) {})
	for range queueRoom / maxChunk {
		if !c.tryReserve(maxChunk) {
			t.Fatal("no room in an empty carrier")
		}
	}
	if c.tryReserve(1) {
		t.Fatal("there is room beyond queueRoom")
	}
	first, second, third := c.reserve(maxChunk), c.reserve(1), c.reserve(1)
	c.release(1)
	select {
	case <-second.Granted:
		t.Error("a small write overtook a large one")
	default:
	}
	c.cancel(first)
	<-second.Granted
	c.release(maxChunk - 1)
	<-third.Granted
	c.cancel(third) // it was granted, and its user went
	c.release(1)
	for range queueRoom/maxChunk - 1 {
		c.release(maxChunk)
	}
	if granted, waiting := c.room.State(); granted != 0 || waiting != 0 {
		t.Errorf("%d bytes are granted to nobody, %d wait", granted, waiting)
	}
	b.Close()
	c.Close()
}

func TestACarrierHasALimit(t *testing.T) {
	a, _ := streams(t) // nobody reads
	c := newCarrier(a, func(error) {})
	defer c.Close()
	defer a.Reset(0)
	ping := bytes.Repeat([]byte{2}, 100*yamuxHeader)
	for n := 0; ; n += len(ping) {
		if _, err := c.Write(ping); err != nil {
			if !errors.Is(err, errQueueFull) {
				t.Errorf("error is %v", err)
			}
			return
		}
		if n > 2*queueLimit {
			t.Fatal("there is no limit")
		}
	}
}

// FuzzCarrierRead feeds what a peer could send. Whatever it is, Read returns
// a prefix of it, and no frame that is longer than allowed.
func FuzzCarrierRead(f *testing.F) {
	f.Add(frameOf("hello"), uint8(5))
	f.Add(append(frameOf(""), 1, 2, 3), uint8(100))
	f.Add(bytes.Repeat([]byte{0xff}, 40), uint8(1))
	f.Fuzz(func(t *testing.T, input []byte, size uint8) {
		if len(input) > 100_000 {
			return
		}
		a, b := streams(t)
		c := newCarrier(a, func(error) {})
		defer c.Close()
		go func() {
			b.Write(input)
			b.CloseWrite()
		}()
		var got []byte
		buf := make([]byte, int(size)+1)
		for {
			n, err := c.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				break
			}
		}
		if !bytes.HasPrefix(input, got) {
			t.Errorf("Read returned other bytes than came in")
		}
	})
}
