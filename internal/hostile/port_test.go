package hostile

import (
	"fmt"
	"net"
	"sync"

	"github.com/weftnet/weft/internal/simnet"
)

// A port is where a relay takes conns of bytes, as TCP has them. They have no
// latency and no bandwidth; honest nodes use links that have.
type port struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPort() *port {
	return &port{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *port) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (*port) Addr() net.Addr { return simnet.Addr("port:0") }

// A bytesConn is one end of a conn of bytes.
type bytesConn struct {
	net.Conn
	remote simnet.Addr
}

func (c bytesConn) RemoteAddr() net.Addr { return c.remote }

// stream connects an attacker's host to a relay. Writes wait until the relay reads.
func (w *world) stream(from string, to *host) net.Conn {
	here, there := net.Pipe()
	w.mu.Lock()
	w.streams++
	n := w.streams
	w.mu.Unlock()
	select {
	case to.port.conns <- bytesConn{there, simnet.Addr(fmt.Sprintf("%s:%d", from, n))}:
	case <-to.port.closed:
		_ = there.Close()
	}
	return here
}
