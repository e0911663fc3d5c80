package native

import (
	"net"

	"github.com/weftnet/weft/stream"
)

// A conn is a session's stream with addresses. Deadlines and half-close are
// the stream's own.
type conn struct {
	stream.Stream
	mux           *mux
	local, remote stream.Addr
}

// newConn enters the conn in the mux's table, so that the mux's Close ends it.
func (m *mux) newConn(st stream.Stream, local, remote stream.Addr) (stream.Conn, error) {
	c := &conn{Stream: st, mux: m, local: local, remote: remote}
	m.mu.Lock()
	closed := m.closed
	if !closed {
		m.conns[c] = struct{}{}
	}
	m.mu.Unlock()
	if closed {
		st.Reset(stream.CodeShuttingDown)
		return nil, net.ErrClosed
	}
	return c, nil
}

// leave takes the conn off the table once its user is done with it.
func (c *conn) leave() {
	c.mux.mu.Lock()
	delete(c.mux.conns, c)
	c.mux.mu.Unlock()
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	return n, c.opError("read", err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Stream.Write(b)
	return n, c.opError("write", err)
}

func (c *conn) CloseRead() error  { return c.opError("close", c.Stream.CloseRead()) }
func (c *conn) CloseWrite() error { return c.opError("close", c.Stream.CloseWrite()) }

func (c *conn) Close() error {
	c.leave()
	return c.opError("close", c.Stream.Close())
}

func (c *conn) Reset(code stream.Code) error {
	c.leave()
	return c.opError("close", c.Stream.Reset(code))
}

// opError dresses an error. Without one it makes no values that need memory.
func (c *conn) opError(op string, err error) error {
	if err == nil {
		return nil
	}
	return stream.OpError(op, c.local, c.remote, err)
}
