package grid

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxBig is how many large frames travel at a time, each way; others wait.
const maxBig = 8

// Large frames go in chunks, each of which the other side acknowledges by a byte. Few are on their way at a time, all large
// frames of a session together: what small ones have to wait for on the path below is not much more.
const (
	chunk     = 64 << 10
	minChunks = 2
	maxChunks = 256                    // 16 MiB: 3 Gbit/s over 40 ms
	patient   = 100 * time.Microsecond // what a chunk may take longer than the fastest did, and a quarter of that
	forget    = 10 * time.Second       // then the fastest is looked for again: the path may have changed
)

// A bulk is the conns for frames of more than MaxMessage, so that small ones need not wait behind them. Each
// carries one frame after the other, in one direction; both sides dial their own.
type bulk struct {
	turn chan struct{} // cap maxBig: one for each large frame that is being sent
	in   atomic.Int32  // conns that the peer has dialled

	mu      sync.Mutex
	conns   map[net.Conn]struct{} // all that are open; nil once closed
	idle    []*bigConn            // dialled, the one used last at the end: its window is the largest
	flying  int                   // chunks on their way
	allowed int                   // as many may be
	fastest time.Duration         // time that a chunk took at best, since
	since   time.Time
	landed  chan struct{} // closed when one was acknowledged and somebody waits
}

// A bigConn is a conn for large frames that this side has dialled.
type bigConn struct {
	net.Conn
	given atomic.Bool // up: closed on purpose
	sent  []time.Time // when each chunk was that is on its way; guarded by bulk.mu
	over  bool        // guarded by bulk.mu
}

// takeOff waits until another chunk may be on its way.
func (b *bulk) takeOff(ctx context.Context, c *bigConn) error {
	for {
		b.mu.Lock()
		switch {
		case c.over:
			b.mu.Unlock()
			return net.ErrClosed
		case b.flying < b.allowed:
			b.flying++
			c.sent = append(c.sent, time.Now())
			b.mu.Unlock()
			return nil
		case b.landed == nil:
			b.landed = make(chan struct{})
		}
		landed := b.landed
		b.mu.Unlock()
		select {
		case <-landed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// land takes note of acknowledgements. As long as they come fast, more chunks may be on their way.
func (b *bulk) land(c *bigConn, n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > len(c.sent) {
		return fmt.Errorf("%w: more acknowledged than was sent", errMalformed)
	}
	now := time.Now()
	if now.Sub(b.since) > forget {
		b.since, b.fastest, b.allowed = now, 0, minChunks
	}
	for _, sent := range c.sent[:n] {
		took := now.Sub(sent)
		if b.fastest == 0 || took < b.fastest {
			b.fastest = took
		}
		if took < b.fastest+b.fastest/4+patient {
			b.allowed = min(b.allowed+1, maxChunks)
		} else {
			b.allowed = max(b.allowed-1, minChunks)
		}
	}
	c.sent = slices.Delete(c.sent, 0, n)
	b.wake(n)
	return nil
}

// wake lets chunks take off, n of which have landed.
func (b *bulk) wake(n int) {
	b.flying -= n
	if b.landed != nil {
		close(b.landed)
		b.landed = nil
	}
}

// end gives up a conn.
func (b *bulk) end(c *bigConn) {
	b.mu.Lock()
	c.over = true
	b.wake(len(c.sent))
	c.sent = nil
	b.mu.Unlock()
	b.remove(c)
}

func (b *bulk) init() {
	b.turn, b.conns, b.allowed = make(chan struct{}, maxBig), make(map[net.Conn]struct{}), minChunks
}

// take returns an idle conn, nil if there is none.
func (b *bulk) take() (c *bigConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.idle); n > 0 {
		c, b.idle = b.idle[n-1], b.idle[:n-1]
	}
	return c
}

func (b *bulk) put(c *bigConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c != nil {
		b.idle = append(b.idle, c)
	}
}

func (b *bulk) add(conn net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conns == nil {
		return false
	}
	b.conns[conn] = struct{}{}
	return true
}

func (b *bulk) remove(conn net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, conn)
	_ = conn.Close()
}

func (b *bulk) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for conn := range b.conns {
		_ = conn.Close()
	}
	b.conns = nil
}

// sendBig sends a large frame. When ctx ends in the middle of it, its conn is given up.
func (s *session) sendBig(ctx context.Context, f *frame) error {
	select {
	case s.big.turn <- struct{}{}:
		defer func() { <-s.big.turn }()
	case <-s.done:
		return s.why()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c, err := s.writeBig(ctx, s.big.take(), f)
	if s.big.put(c); err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	s.fail(err)
	return s.why()
}

func (s *session) writeBig(ctx context.Context, c *bigConn, f *frame) (*bigConn, error) {
	if c == nil {
		conn, err := s.g.cfg.Dial(ctx, s.from.ID)
		if err != nil {
			return nil, err
		}
		c = &bigConn{Conn: conn}
		s.mu.Lock()
		up := s.err == nil && s.big.add(c)
		if up {
			s.g.wg.Add(1) // the session's reader is counted, and takes s.mu before it ends
			go s.watchBig(c)
		}
		s.mu.Unlock()
		if !up {
			_ = conn.Close()
			return nil, s.why()
		}
		if _, err := c.Write(appendFrame(nil, s.g.helloFrame(roleBig, s.number, 0))); err != nil {
			c.given.Store(true)
			s.big.end(c)
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { c.given.Store(true); _ = c.Close() })
	head, rest, err := appendHead(nil, f), f.payload, error(nil)
	for err == nil && len(head)+len(rest) > 0 {
		if err = s.big.takeOff(ctx, c); err != nil {
			break
		}
		n := min(len(rest), chunk-len(head))
		if len(head) > 0 {
			_, err = c.Write(head)
		}
		if err == nil {
			_, err = c.Write(rest[:n])
		}
		head, rest = nil, rest[n:]
	}
	if !stop() || err != nil {
		c.given.Store(true)
		s.big.end(c)
		c = nil
	}
	return c, err
}

// watchBig takes the acknowledgements of a conn, and ends the session if the peer ends it.
func (s *session) watchBig(c *bigConn) {
	defer s.g.wg.Done()
	var err error
	for b := make([]byte, maxChunks); err == nil; {
		var n int
		if n, err = c.Read(b); n > 0 {
			if e := s.big.land(c, n); e != nil {
				err = e
			}
		}
	}
	if !c.given.Load() {
		s.fail(fmt.Errorf("a conn for large payloads ended: %w", err))
	}
	s.big.end(c)
}

// readBig takes the frames of a conn that the peer has dialled for large ones.
func (s *session) readBig(conn net.Conn, in *bufio.Reader) error {
	defer s.big.in.Add(-1)
	if s.big.in.Add(1) > 2*maxBig || !s.big.add(conn) { // some of those given up may not have ended yet
		return errors.New("too many conns for large payloads")
	}
	defer s.big.remove(conn)
	for {
		var f frame
		err := s.readBigFrame(&f, conn, in)
		switch {
		case err != nil && !errors.Is(err, errMalformed):
			return nil // the caller has given it up; else it ends the session
		case err == nil && f.kind != kindCall && f.kind != kindAnswer:
			err = fmt.Errorf("%w: kind %d", errMalformed, f.kind)
		case err == nil:
			s.heard.Store(true)
			err = s.dispatch(&f)
		}
		if err != nil {
			s.fail(err)
			return err
		}
	}
}

// bigPool has buffers for large requests. Those of answers belong to the callers.
var bigPool = sync.Pool{New: func() any { return new([]byte) }}

// readBigFrame reads one frame, and acknowledges its chunks.
func (s *session) readBigFrame(f *frame, conn net.Conn, in *bufio.Reader) error {
	n, err := peekLength(in, s.g.cfg.MaxPayload)
	if err != nil {
		return err
	}
	f.own, f.buf = true, bigPool.Get().(*[]byte)
	if cap(*f.buf) < 4+n {
		*f.buf = make([]byte, 4+n)
	}
	b := (*f.buf)[:4+n]
	for rest := b; len(rest) > 0; {
		part := rest[:min(len(rest), chunk)]
		if _, err := io.ReadFull(in, part); err != nil {
			return err
		}
		if _, err := conn.Write([]byte{1}); err != nil {
			return err
		}
		rest = rest[len(part):]
	}
	return f.parse(b[4:])
}
