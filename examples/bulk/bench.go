package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/weftnet/weft/examples/bulk/bulk"
)

// A size is how much is measured.
type size struct {
	rounds int
	bytes  int64 // of each body
	calls  int   // small ones
}

var fullSize = size{rounds: 7, bytes: 512 << 20, calls: 2000}

// A way is one to reach the server. A conn begins with a byte: what is measured.
type way struct {
	name string
	ln   net.Listener
	dial bulk.Dialer
}

const (
	calls = 'c' // package bulk
	plain = 'p' // eight bytes say how many come, and one is the answer
)

// open is a dialler of conns for one of the two.
func (w way) open(what byte) bulk.Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := w.dial(ctx)
		if err == nil {
			_, err = conn.Write([]byte{what})
		}
		return conn, err
	}
}

// bench measures bodies and small calls on TCP, TLS and weft, round by round in turn, so
// that a busy moment of the machine hits all, and writes the medians.
func bench(ctx context.Context, s size, out io.Writer) error {
	ways, stop, err := startWays(ctx)
	defer stop()
	if err != nil {
		return err
	}
	for _, w := range ways {
		servers := make(chan struct{})
		go func() { defer close(servers); w.serve(ctx) }()
		defer func() { _ = w.ln.Close(); <-servers }()
	}
	columns := []struct {
		name    string
		measure func(context.Context, way, size) (float64, error)
	}{{"bare, MB/s", bare}, {"sent, MB/s", sent}, {"received, MB/s", received}, {"small calls, 1/s", small}}
	figures := make([][][]float64, len(ways))
	for i := range ways {
		figures[i] = make([][]float64, len(columns))
	}
	for range s.rounds {
		for c, column := range columns {
			for i, w := range ways {
				f, err := column.measure(ctx, w, s)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", w.name, column.name, err)
				}
				figures[i][c] = append(figures[i][c], f)
			}
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "\t")
	for _, c := range columns {
		fmt.Fprint(table, c.name, "\tof TCP\tof TLS\t")
	}
	fmt.Fprintln(table)
	for i, w := range ways {
		fmt.Fprint(table, w.name, "\t")
		for c := range columns {
			m := median(figures[i][c])
			fmt.Fprintf(table, "%.0f\t%.2f\t%.2f\t", m, m/median(figures[0][c]), m/median(figures[1][c]))
		}
		fmt.Fprintln(table)
	}
	fmt.Fprintf(table, "%d rounds of %d MB and %d calls, %s, %d processors\n", s.rounds, s.bytes>>20, s.calls, runtime.Version(), runtime.NumCPU())
	return table.Flush()
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil } // whatever is there

type none struct{}

var benchServer = bulk.Server{Handlers: map[string]bulk.Handler{
	"take": bulk.Func(func(_ context.Context, _ none, body io.Reader) (int64, io.Reader, error) {
		n, err := io.Copy(io.Discard, body)
		return n, nil, err
	}),
	"give": bulk.Func(func(_ context.Context, n int64, _ io.Reader) (none, io.Reader, error) {
		return none{}, io.LimitReader(zeros{}, n), nil
	}),
}}

func rate(n int64, began time.Time) float64 { return float64(n) / 1e6 / time.Since(began).Seconds() }

// serve serves what is measured, until the listener is closed.
func (w way) serve(ctx context.Context) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := w.ln.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			defer conn.Close()
			var what [1]byte
			if _, err := io.ReadFull(conn, what[:]); err == nil && what[0] == calls {
				_ = benchServer.ServeConn(ctx, conn)
			} else if err == nil {
				take(conn)
			}
		})
	}
}

// take takes bytes without package bulk.
func take(conn net.Conn) {
	var n int64
	if binary.Read(conn, binary.BigEndian, &n) == nil {
		// Without its method ReadFrom, io.Discard has the buffer used.
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.LimitReader(conn, n)}, make([]byte, 256<<10)); err == nil {
			_, _ = conn.Write([]byte{1})
		}
	}
}

// bare is what a conn does by itself, with writes as large as chunks.
func bare(ctx context.Context, w way, s size) (float64, error) {
	conn, err := w.open(plain)(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	began := time.Now()
	if err := binary.Write(conn, binary.BigEndian, s.bytes); err != nil {
		return 0, err
	}
	chunk := make([]byte, 256<<10)
	for left := s.bytes; left > 0; left -= int64(len(chunk)) {
		if _, err := conn.Write(chunk[:min(left, int64(len(chunk)))]); err != nil {
			return 0, err
		}
	}
	_, err = io.ReadFull(conn, chunk[:1])
	return rate(s.bytes, began), err
}

func sent(ctx context.Context, w way, s size) (float64, error) {
	began := time.Now()
	n, body, err := bulk.Call[none, int64](ctx, w.open(calls), "take", none{}, io.LimitReader(zeros{}, s.bytes))
	if err != nil {
		return 0, err
	}
	if n != s.bytes {
		return 0, fmt.Errorf("%d bytes came of %d", n, s.bytes)
	}
	return rate(n, began), body.Close()
}

func received(ctx context.Context, w way, s size) (float64, error) {
	began := time.Now()
	_, body, err := bulk.Call[int64, none](ctx, w.open(calls), "give", s.bytes, nil)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	n, err := io.Copy(io.Discard, body)
	return rate(n, began), err
}

// small makes calls without bodies, one after the other on one conn.
func small(ctx context.Context, w way, s size) (float64, error) {
	rw, err := w.open(calls)(ctx)
	if err != nil {
		return 0, err
	}
	conn := bulk.NewConn(rw)
	defer conn.Close()
	began := time.Now()
	for range s.calls {
		_, body, err := bulk.Call[none, int64](ctx, conn, "take", none{}, nil)
		if err != nil {
			return 0, err
		}
		_ = body.Close()
	}
	return float64(s.calls) / time.Since(began).Seconds(), nil
}
