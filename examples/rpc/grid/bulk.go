package grid

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// maxBig is how many large frames travel at a time, each way; others wait.
const maxBig = 8

// A bulk is the conns for frames of more than MaxMessage, so that small ones need not wait behind them. Each
// carries one frame after the other, in one direction; both sides dial their own.
type bulk struct {
	free chan *bigConn // maxBig of them, nil for those that were not dialled yet
	in   atomic.Int32  // conns that the peer has dialled

	mu    sync.Mutex
	conns map[net.Conn]struct{} // all that are open; nil once closed
}

type bigConn struct {
	net.Conn
	given atomic.Bool // up: closed on purpose
}

func (b *bulk) init() {
	b.free, b.conns = make(chan *bigConn, maxBig), make(map[net.Conn]struct{})
	for range maxBig {
		b.free <- nil
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
	var c *bigConn
	select {
	case c = <-s.big.free:
	case <-s.done:
		return s.why()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c, err := s.writeBig(ctx, c, f)
	s.big.free <- c
	if err == nil {
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
			s.big.remove(c)
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { c.given.Store(true); _ = c.Close() })
	_, err := c.Write(appendHead(nil, f))
	if err == nil {
		_, err = c.Write(f.payload)
	}
	if !stop() || err != nil {
		c.given.Store(true)
		s.big.remove(c)
		c = nil
	}
	return c, err
}

// watchBig ends the session if the peer ends a conn of it.
func (s *session) watchBig(c *bigConn) {
	defer s.g.wg.Done()
	_, err := c.Read(make([]byte, 1))
	if !c.given.Load() {
		s.fail(fmt.Errorf("a conn for large payloads ended: %w", err))
	}
	s.big.remove(c)
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
		err := f.readFrame(in, s.g.cfg.MaxPayload)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), s.why() != nil:
			return nil // given up by the caller
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
