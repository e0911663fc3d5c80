package streamtest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing/iotest"
	"time"

	"github.com/weftnet/weft/stream"
)

var dataCases = []testCase{
	{name: "ReadersOfEveryKind", run: testReaders},
	{name: "WritesOfEverySize", run: testWriteSizes},
	{name: "AReaderThatDoesNotReadHoldsItsWriter", run: testBackPressure},
	{name: "AHeldWriterHoldsNobodyElse", run: testNoBlockingEachOther},
	{name: "BulkBothWays", run: testBulk},
	{name: "ManyStreamsAtOnce", run: testCrowd},
}

// pattern returns n bytes in which no part looks like another.
func pattern(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

func testReaders(l *lab) {
	data := pattern(10_000)
	readers := map[string]func(io.Reader) io.Reader{
		"OneByteReader": iotest.OneByteReader,
		"HalfReader":    iotest.HalfReader,
		"DataErrReader": iotest.DataErrReader,
	}
	transmit := func() stream.Conn {
		a, b := l.conns()
		l.send(a, string(data))
		a.CloseWrite()
		return b
	}
	for name, wrap := range readers {
		if got, err := io.ReadAll(wrap(transmit())); err != nil || !bytes.Equal(got, data) {
			l.Errorf("%s: %d bytes of %d, or others; %v", name, len(got), len(data), err)
		}
	}
	if err := iotest.TestReader(transmit(), data); err != nil {
		l.Errorf("TestReader: %v", err)
	}
}

func testWriteSizes(l *lab) {
	a, b := l.conns()
	for _, n := range []int{0, 1, 2, 1199, 1200, 16 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20} {
		data := pattern(n)
		writing := async(func() (int, error) { return a.Write(data) })
		l.expect(b, string(data))
		if r := l.await("Write", writing); r.n != n || r.err != nil {
			l.Fatalf("Write of %d bytes = %d, %v", n, r.n, r.err)
		}
	}
	if n, err := b.Read(nil); n != 0 || err != nil {
		l.Errorf("Read of nothing = %d, %v", n, err)
	}
}

// held returns a writer that is blocked because nobody reads what it writes,
// and will be until somebody does.
func (l *lab) held(c stream.Conn) <-chan result {
	l.Helper()
	l.fill(c)
	return flood(c)
}

// fill writes until a Write blocks, and returns how much went in.
func (l *lab) fill(c stream.Conn) int {
	l.Helper()
	total, chunk := 0, make([]byte, 64<<10)
	for {
		c.SetWriteDeadline(time.Now().Add(5 * soon))
		n, err := c.Write(chunk)
		total += n
		if timedOut(err) {
			c.SetWriteDeadline(time.Time{})
			return total
		}
		if err != nil {
			l.Fatalf("Write: %v", err)
		}
		if total > l.cfg.MaxBuffered {
			l.Fatalf("%d bytes went in although nobody reads", total)
		}
	}
}

func testBackPressure(l *lab) {
	a, b := l.conns()
	total := l.fill(a)
	l.roundTripBackwards(b, a)
	l.expect(b, string(make([]byte, total)))
	l.roundTrip(a, b)
	a.CloseWrite()
	l.expectEOF(b)
}

// roundTripBackwards shows that the direction from b to a works although the
// other is full.
func (l *lab) roundTripBackwards(b, a stream.Conn) {
	l.Helper()
	l.send(b, "the other way is free")
	l.expect(a, "the other way is free")
}

func testNoBlockingEachOther(l *lab) {
	for range 5 {
		a, _ := l.conns()
		l.fill(a)
	}
	l.roundTrip(l.conns())
	l.roundTrip(l.connect(l.B, l.A))
}

func testBulk(l *lab) {
	a, b := l.conns()
	var wg sync.WaitGroup
	for i, way := range [][2]stream.Conn{{a, b}, {b, a}} {
		sent, got := sha256.New(), sha256.New()
		var done sync.WaitGroup
		done.Add(1)
		wg.Go(func() {
			defer done.Done()
			seed := [32]byte{byte(i)}
			n, err := io.CopyBuffer(struct{ io.Writer }{way[0]},
				io.TeeReader(io.LimitReader(rand.NewChaCha8(seed), int64(l.cfg.Bulk)), sent), make([]byte, 100_000))
			if err != nil || n != int64(l.cfg.Bulk) {
				l.Errorf("writing: %d bytes, %v", n, err)
			}
			way[0].CloseWrite()
		})
		wg.Go(func() {
			n, err := io.Copy(got, way[1])
			if err != nil || n != int64(l.cfg.Bulk) {
				l.Errorf("reading: %d bytes of %d, %v", n, l.cfg.Bulk, err)
			}
			done.Wait()
			if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
				l.Error("other bytes arrived than were sent")
			}
		})
	}
	wg.Wait()
}

func testCrowd(l *lab) {
	ctx := l.ctx()
	n := l.cfg.Crowd
	var opened, asked sync.WaitGroup
	opened.Add(n)
	for range n {
		asked.Go(func() {
			r, err := l.B.Accept(ctx)
			if err != nil {
				l.Errorf("Accept: %v", err)
				return
			}
			c, err := r.Accept()
			if err != nil {
				l.Errorf("Request.Accept: %v", err)
				return
			}
			echo(l, c)
		})
		asked.Go(func() {
			c, err := l.A.Open(ctx, port, stream.OpenOptions{})
			opened.Done()
			if err != nil {
				l.Errorf("Open: %v", err)
				return
			}
			opened.Wait() // all are open at this time
			ask(l, c, c.LocalAddr().String()+string(make([]byte, 1000)))
		})
	}
	asked.Wait()
}
