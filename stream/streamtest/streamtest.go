// Package streamtest is the conformance suite that every reliability layer
// passes, whatever the path below: clean, lossy, relayed or migrating.
//
//	func TestConformance(t *testing.T) {
//		streamtest.Run(t, streamtest.Config{New: newPair})
//	}
//
// Cases that are marked so also run inside testing/synctest bubbles; see
// [Cases].
package streamtest

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/stream"
)

// A Pair is a layer at work on both ends of one session.
type Pair struct {
	A, B stream.Mux

	// Kill ends the session on both ends as the loss of the peer does. If
	// nil, the cases that need it are skipped.
	Kill func()

	// Close releases what the pair holds, session included. It is called
	// once, after the muxes were closed.
	Close func()
}

// A Config says what to test.
type Config struct {
	// New makes a fresh pair.
	New func(t testing.TB) *Pair

	// Bulk is how many bytes go each way in the largest transfer. If zero,
	// 64 MiB, and 4 MiB with -short.
	Bulk int

	// Churn is how many streams the leak test opens and closes. If zero,
	// 10,000, and 1,000 with -short.
	Churn int

	// Crowd is how many streams are open at one time in the largest test. If
	// zero, 1,000, and 100 with -short.
	Crowd int

	// Silence is how long a conn is left alone in the test that nothing
	// happens to it meanwhile. If zero, a second.
	Silence time.Duration

	// MaxBuffered is how many bytes a layer may take from a writer whose
	// reader does not read. If zero, 64 MiB.
	MaxBuffered int
}

// A Case is one test of the suite.
type Case struct {
	// Name reads as what a layer does.
	Name string
	// RealTime is set on cases that cannot run inside a testing/synctest
	// bubble.
	RealTime bool
	// Alone is set on cases that measure the whole process, so that no other
	// test may run meanwhile. They are RealTime, too.
	Alone bool
	// Run makes a pair of its own.
	Run func(t *testing.T)
}

// patience is how long any call may take that ought to return. It is far more
// than a slow path needs.
const patience = 30 * time.Second

// Run runs all cases as subtests.
func Run(t *testing.T, cfg Config) {
	t.Helper()
	for _, c := range Cases(cfg) {
		t.Run(c.Name, c.Run)
	}
}

// Cases returns the suite.
func Cases(cfg Config) []Case {
	if cfg.Bulk == 0 {
		cfg.Bulk = unlessShort(64<<20, 4<<20)
	}
	if cfg.Churn == 0 {
		cfg.Churn = unlessShort(10_000, 1_000)
	}
	if cfg.Crowd == 0 {
		cfg.Crowd = unlessShort(1_000, 100)
	}
	if cfg.Silence == 0 {
		cfg.Silence = time.Second
	}
	if cfg.MaxBuffered == 0 {
		cfg.MaxBuffered = 64 << 20
	}
	var all []Case
	for _, group := range [][]testCase{openCases, closeCases, deadlineCases, endCases, dataCases} {
		for _, c := range group {
			all = append(all, Case{Name: c.name, RealTime: c.alone, Alone: c.alone, Run: func(t *testing.T) {
				p := newLab(t, cfg)
				c.run(p)
			}})
		}
	}
	all = append(all, Case{Name: "TestConn", RealTime: true, Run: func(t *testing.T) { testConn(t, cfg) }})
	return all
}

func unlessShort(long, short int) int {
	if testing.Short() {
		return short
	}
	return long
}

type testCase struct {
	name  string
	alone bool
	run   func(l *lab)
}

// A lab is one case at work.
type lab struct {
	*testing.T
	cfg Config
	*Pair
	stop func() // closes the pair; called again, it does nothing
}

func newLab(t *testing.T, cfg Config) *lab {
	t.Helper()
	p := cfg.New(t)
	l := &lab{T: t, cfg: cfg, Pair: p}
	l.stop = sync.OnceFunc(func() {
		p.A.Close()
		p.B.Close()
		p.Close()
	})
	t.Cleanup(l.stop)
	return l
}

// ctx ends when a call should long have returned.
func (l *lab) ctx() context.Context {
	ctx, cancel := context.WithTimeout(l.Context(), patience)
	l.Cleanup(cancel)
	return ctx
}

// port is what the cases dial.
const port = 80

// conns opens a conn from A to B.
func (l *lab) conns() (a, b stream.Conn) {
	l.Helper()
	return l.connect(l.A, l.B)
}

// connect opens a conn between two muxes.
func (l *lab) connect(from, to stream.Mux) (opened, accepted stream.Conn) {
	l.Helper()
	ctx := l.ctx()
	result := make(chan stream.Conn, 1)
	go func() {
		defer close(result)
		r, err := to.Accept(ctx)
		if err != nil {
			l.Errorf("Accept: %v", err)
			return
		}
		c, err := r.Accept()
		if err != nil {
			l.Errorf("Request.Accept: %v", err)
			return
		}
		result <- c
	}()
	opened, err := from.Open(ctx, port, stream.OpenOptions{})
	accepted = <-result
	if err != nil {
		l.Fatalf("Open: %v", err)
	}
	if accepted == nil {
		l.FailNow()
	}
	return opened, accepted
}

// A result is what Read or Write returned.
type result struct {
	n   int
	err error
}

// async runs a call that may block; await gets what it returned.
func async(call func() (int, error)) <-chan result {
	ch := make(chan result, 1)
	go func() {
		n, err := call()
		ch <- result{n, err}
	}()
	return ch
}

// asyncErr is async for calls that return only an error.
func asyncErr(call func() error) <-chan result {
	return async(func() (int, error) { return 0, call() })
}

// read starts a Read of up to a byte.
func read(c io.Reader) <-chan result {
	return async(func() (int, error) { return c.Read(make([]byte, 1)) })
}

// flood writes until an error ends it, which it returns with all that was
// written.
func flood(c io.Writer) <-chan result {
	return async(func() (int, error) {
		total, chunk := 0, make([]byte, 64<<10)
		for {
			n, err := c.Write(chunk)
			total += n
			if err != nil {
				return total, err
			}
		}
	})
}

// await waits for a call that has to return.
func (l *lab) await(what string, ch <-chan result) result {
	l.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r := <-ch:
		return r
	case <-timer.C:
		l.Fatalf("%s is still blocked after %v", what, patience)
		return result{}
	}
}

// eventually waits until a condition holds that nothing announces.
func (l *lab) eventually(what string, holds func() bool) {
	l.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	ctx := l.ctx()
	for !holds() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			l.Fatalf("%s: not so after %v", what, patience)
		}
	}
}

// send writes s, all of it.
func (l *lab) send(c io.Writer, s string) {
	l.Helper()
	r := l.await("Write", async(func() (int, error) { return io.WriteString(c, s) }))
	if r.n != len(s) || r.err != nil {
		l.Fatalf("Write of %d bytes = %d, %v", len(s), r.n, r.err)
	}
}

// expect reads s, all of it and no more.
func (l *lab) expect(c io.Reader, s string) {
	l.Helper()
	b := make([]byte, len(s))
	r := l.await("Read", async(func() (int, error) { return io.ReadFull(c, b) }))
	if r.err != nil || string(b) != s {
		l.Fatalf("Read = %q, %v; want %q", b[:r.n], r.err, s)
	}
}

// expectEOF wants the clean end and nothing before it, more than once.
func (l *lab) expectEOF(c io.Reader) {
	l.Helper()
	for range 2 {
		if r := l.await("Read", read(c)); r.n != 0 || r.err != io.EOF {
			l.Fatalf("Read = %d, %v; want 0, EOF", r.n, r.err)
		}
	}
}

// roundTrip shows that a conn works in both directions.
func (l *lab) roundTrip(a, b stream.Conn) {
	l.Helper()
	l.send(a, "ping")
	l.expect(b, "ping")
	l.send(b, "pong")
	l.expect(a, "pong")
}

// setDeadline fails the test if the conn refuses.
func (l *lab) set(err error) {
	l.Helper()
	if err != nil {
		l.Fatalf("setting a deadline: %v", err)
	}
}
