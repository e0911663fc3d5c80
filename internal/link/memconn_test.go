package link

import (
	"io"
	"net"
	"sync"
	"time"
)

// memAddr is the address of in-memory conns.
type memAddr struct{}

func (memAddr) Network() string { return "mem" }
func (memAddr) String() string  { return "mem" }

// memHalf is one direction of an in-memory conn: a bounded buffer.
type memHalf struct {
	mu     sync.Mutex
	cond   *sync.Cond
	buf    []byte
	limit  int
	lost   bool // what is written disappears
	eof    bool // the writer is done
	closed bool // the reader is gone
	writes int
}

func newMemHalf(limit int) *memHalf {
	h := &memHalf{limit: limit}
	h.cond = sync.NewCond(&h.mu)
	return h
}

func (h *memHalf) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	h.cond.Broadcast()
}

func (h *memHalf) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writes++
	n := 0
	for n < len(b) {
		for len(h.buf) >= h.limit && !h.lost && !h.eof && !h.closed {
			h.cond.Wait()
		}
		switch {
		case h.eof:
			return n, net.ErrClosed
		case h.lost: // not even that the other end has closed is heard of
			return len(b), nil
		case h.closed:
			return n, io.ErrClosedPipe
		}
		m := min(len(b)-n, h.limit-len(h.buf))
		h.buf = append(h.buf, b[n:n+m]...)
		n += m
		h.cond.Broadcast()
	}
	return n, nil
}

func (h *memHalf) Read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.buf) == 0 && !h.eof && !h.closed {
		h.cond.Wait()
	}
	switch {
	case h.closed:
		return 0, net.ErrClosed
	case len(h.buf) == 0:
		return 0, io.EOF
	}
	n := copy(b, h.buf)
	h.buf = h.buf[n:]
	h.cond.Broadcast()
	return n, nil
}

// memConn is one end of an in-memory conn that works in synctest bubbles.
type memConn struct{ in, out *memHalf }

// memPipe returns two ends; each direction buffers limit bytes.
func memPipe(limit int) (*memConn, *memConn) {
	ab, ba := newMemHalf(limit), newMemHalf(limit)
	return &memConn{in: ba, out: ab}, &memConn{in: ab, out: ba}
}

func (c *memConn) Read(b []byte) (int, error)  { return c.in.Read(b) }
func (c *memConn) Write(b []byte) (int, error) { return c.out.Write(b) }

func (c *memConn) CloseWrite() error {
	c.out.set(func() { c.out.eof = !c.out.lost })
	return nil
}

func (c *memConn) Close() error {
	_ = c.CloseWrite()
	c.in.set(func() { c.in.closed = true })
	return nil
}

// cut makes both directions lose everything without an error.
func (c *memConn) cut() {
	for _, h := range []*memHalf{c.in, c.out} {
		h.set(func() { h.lost, h.buf = true, nil })
	}
}

func (c *memConn) LocalAddr() net.Addr              { return memAddr{} }
func (c *memConn) RemoteAddr() net.Addr             { return memAddr{} }
func (c *memConn) SetDeadline(time.Time) error      { return nil }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

var _ net.Conn = (*memConn)(nil)
