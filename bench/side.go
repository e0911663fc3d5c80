package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"
)

// An order is what the client's side asks of the server's, be that in this
// process or in another one.
type order struct {
	Do        string        // one of the constants below
	Transport string        // for doServe; empty for none
	N         int           // for doAwait: how many conns
	Timeout   time.Duration // for modes: when a conn's reads and writes fail
}

// What can be ordered. The modes say what happens to each conn that arrives.
const (
	doServe   = "serve"   // start a transport's server, in place of the one that ran
	doSettle  = "settle"  // wait until it is what is to be measured
	doEcho    = "echo"    // mode: send back what arrives
	doDrain   = "drain"   // mode: read to the end
	doHold    = "hold"    // mode: read one byte and keep it open
	doHTTP    = "http"    // mode: HTTP/2 without TLS
	doAwait   = "await"   // wait until N conns were dealt with since the last await
	doRelease = "release" // close what doHold keeps, and end doHTTP's server
	doUsage   = "usage"   // say what the process uses
)

// An answer is what an order led to.
type answer struct {
	Addr  string `json:",omitempty"` // of doServe
	Bytes int64  `json:",omitempty"` // of doAwait: what arrived, in mode doDrain
	Usage usage  // of doUsage
}

// usage is what a process has used so far, and uses now.
type usage struct {
	Before     time.Duration // processor time, before the collection
	After      time.Duration // and after it
	Mallocs    uint64
	Bytes      float64 // heap and stacks, after a collection
	Goroutines float64
}

// A side carries out orders, one after the other.
type side interface {
	call(ctx context.Context, o order) (answer, error)
	Close() error
}

// A localSide carries out orders in its own process.
type localSide struct {
	server  Server
	ended   chan struct{} // closed when nobody accepts any more
	results chan result   // of conns that were dealt with

	mu   sync.Mutex
	mode func(net.Conn) (int64, error)
	held []io.Closer
}

type result struct {
	bytes int64
	err   error
}

// resultsQueue has room for more conns than any measurement opens at once.
const resultsQueue = 1024

// newLocalSide runs orders on a server; it may be nil until the first doServe.
func newLocalSide(s Server) *localSide {
	h := &localSide{}
	h.use(s)
	return h
}

// use begins to accept conns of s.
func (h *localSide) use(s Server) {
	h.server, h.ended, h.results = s, make(chan struct{}), make(chan result, resultsQueue)
	if s == nil {
		close(h.ended)
		return
	}
	go h.accept(s, h.ended, h.results)
}

func (h *localSide) accept(s Server, ended chan<- struct{}, results chan<- result) {
	defer close(ended)
	for {
		c, err := s.Accept()
		if err != nil {
			select {
			case results <- result{0, fmt.Errorf("accept: %w", err)}:
			default:
			}
			return
		}
		h.mu.Lock()
		mode := h.mode
		h.mu.Unlock()
		if mode == nil {
			_ = c.Close() // nobody measures
			continue
		}
		go func() {
			n, err := mode(c)
			results <- result{n, err}
		}()
	}
}

func (h *localSide) call(ctx context.Context, o order) (a answer, err error) {
	switch o.Do {
	case doServe:
		a.Addr, err = h.serve(ctx, o.Transport)
	case doSettle:
		if s, ok := h.server.(settler); ok {
			err = s.Settle(ctx)
		}
	case doEcho:
		h.setMode(within(o.Timeout, echo))
	case doDrain:
		h.setMode(within(o.Timeout, drain))
	case doHold:
		h.setMode(func(c net.Conn) (int64, error) {
			h.keep(c)
			_, err := c.Read(make([]byte, 1))
			return 1, err
		})
	case doHTTP:
		h.setMode(h.serveHTTP())
	case doAwait:
		a.Bytes, err = h.await(ctx, o.N)
	case doRelease:
		h.release()
	case doUsage:
		a.Usage = used()
	default:
		err = fmt.Errorf("unknown order %q", o.Do)
	}
	return a, err
}

func (h *localSide) setMode(mode func(net.Conn) (int64, error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mode = mode
}

// within makes a mode of f that closes the conn afterwards.
func within(timeout time.Duration, f func(net.Conn) (int64, error)) func(net.Conn) (int64, error) {
	return func(c net.Conn) (int64, error) {
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
			return 0, err
		}
		return f(c)
	}
}

func (h *localSide) keep(c io.Closer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = append(h.held, c)
}

func (h *localSide) release() {
	h.mu.Lock()
	held := h.held
	h.mode, h.held = nil, nil
	h.mu.Unlock()
	for _, c := range held {
		_ = c.Close() // the measurement is over
	}
}

// await takes the results of n conns.
func (h *localSide) await(ctx context.Context, n int) (bytes int64, err error) {
	for range n {
		select {
		case r := <-h.results:
			bytes += r.bytes
			err = errors.Join(err, r.err)
		case <-ctx.Done():
			return bytes, errors.Join(err, context.Cause(ctx))
		}
	}
	return bytes, err
}

// serve replaces the server by one of the transport with this name.
func (h *localSide) serve(ctx context.Context, name string) (addr string, err error) {
	if err := h.Close(); err != nil {
		return "", err
	}
	h.use(nil)
	if name == "" {
		return "", nil
	}
	found, err := choose(transports(), name)
	if err != nil {
		return "", err
	}
	t, ok := found[0].(apart)
	if !ok {
		return "", fmt.Errorf("both sides of %s must be in one process", name)
	}
	s, err := t.Serve(ctx)
	if err != nil {
		return "", err
	}
	h.use(s)
	return s.Addr(), nil
}

// Close ends the server.
func (h *localSide) Close() (err error) {
	h.release()
	if h.server != nil {
		err = h.server.Close()
	}
	<-h.ended
	return err
}

// used collects garbage and returns what the process uses.
func used() usage {
	before := cpuTime()
	runtime.GC()
	runtime.GC() // the first one only moves what pools hold aside
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{before, cpuTime(), m.Mallocs, float64(m.HeapAlloc + m.StackInuse), float64(runtime.NumGoroutine())}
}

// echo sends back what it reads until the conn ends; the other end notices if
// that is too early.
func echo(c net.Conn) (int64, error) {
	buf := make([]byte, pingSize)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return 0, nil //nolint:nilerr // the client has closed
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return 0, nil //nolint:nilerr // the client has closed
		}
	}
}

// drain reads to the end. (io.Copy to io.Discard would read 8 KiB at a time.)
func drain(c net.Conn) (received int64, err error) {
	buf := make([]byte, 2*writeSize)
	for {
		n, err := c.Read(buf)
		received += int64(n)
		if errors.Is(err, io.EOF) {
			return received, nil
		} else if err != nil {
			return received, err
		}
	}
}
