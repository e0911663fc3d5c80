package overlay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/stream"
)

// The bounds of what waits to be read from one packet conn.
const (
	inboxPackets = 1024
	inboxBytes   = 1 << 20
)

// A packetConn is a port that sends and receives packets.
type packetConn struct {
	node *Node
	addr Addr
	in   packetInbox

	mu           sync.Mutex
	sendDeadline time.Time
}

var _ net.PacketConn = (*packetConn)(nil)

// ReadFrom reads one packet and returns the [Addr] of its sender. A packet that
// is longer than b is an io.ErrShortBuffer, and lost.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	p, err := c.in.get()
	if err != nil {
		return 0, nil, c.opError("read", nil, err)
	}
	n := copy(b, p.data)
	if n < len(p.data) {
		return n, p.from, c.opError("read", p.from, io.ErrShortBuffer)
	}
	return n, p.from, nil
}

// WriteTo sends b to an [Addr].
func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	addr, ok := to.(Addr)
	if !ok {
		return 0, c.opError("write", to, fmt.Errorf("the address is a %T, want an overlay.Addr", to))
	}
	return c.send(b, addr, identity.Target{ID: addr.Node})
}

func (c *packetConn) send(b []byte, to Addr, target identity.Target) (int, error) {
	c.mu.Lock()
	late := !c.sendDeadline.IsZero() && !time.Now().Before(c.sendDeadline)
	c.mu.Unlock()
	var err error
	switch {
	case c.in.isClosed():
		err = net.ErrClosed
	case late:
		err = os.ErrDeadlineExceeded
	case to.Port == 0:
		err = errors.New("port 0 is no port")
	default:
		err = c.node.packets.send(target, c.addr.Port, to.Port, b)
	}
	if err != nil {
		return 0, c.opError("write", to, err)
	}
	return len(b), nil
}

// Close frees the port and releases Read.
func (c *packetConn) Close() error {
	if !c.in.close() {
		return c.opError("close", nil, net.ErrClosed)
	}
	c.node.packets.remove(c)
	return nil
}

// LocalAddr returns the node and the port, an [Addr].
func (c *packetConn) LocalAddr() net.Addr { return c.addr }

// SetDeadline sets both deadlines.
func (c *packetConn) SetDeadline(t time.Time) error {
	return firstError(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline makes blocked and future reads fail from t on.
func (c *packetConn) SetReadDeadline(t time.Time) error {
	return c.opError("set", nil, c.in.setDeadline(t))
}

// SetWriteDeadline makes future writes fail from t on; they never block.
func (c *packetConn) SetWriteDeadline(t time.Time) error {
	if c.in.isClosed() {
		return c.opError("set", nil, net.ErrClosed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendDeadline = t
	return nil
}

func (c *packetConn) opError(op string, remote net.Addr, err error) error {
	return stream.OpError(op, c.addr, remote, err)
}

// A dialedPacketConn exchanges packets with one port of one peer.
type dialedPacketConn struct {
	*packetConn
	remote Addr
	who    Peer
}

var _ net.Conn = (*dialedPacketConn)(nil)

// Read reads one packet. One that is longer than b is an io.ErrShortBuffer, and
// lost.
func (c *dialedPacketConn) Read(b []byte) (int, error) {
	n, _, err := c.ReadFrom(b)
	return n, err
}

// Write sends b as one packet.
func (c *dialedPacketConn) Write(b []byte) (int, error) {
	return c.send(b, c.remote, identity.Target{Key: c.who.Key})
}

// RemoteAddr returns the peer and its port, an [Addr].
func (c *dialedPacketConn) RemoteAddr() net.Addr { return c.remote }

// Peer returns who is at the other end; see [PeerOf].
func (c *dialedPacketConn) Peer() Peer { return c.who }

// A packet was received.
type packet struct {
	data []byte
	from Addr
}

// A packetInbox holds received packets until somebody reads them.
type packetInbox struct {
	wake chan struct{} // capacity 1; handed on from reader to reader

	mu       sync.Mutex
	packets  []packet
	bytes    int
	closed   bool
	deadline time.Time
	timer    *time.Timer
}

// put adds a packet, unless there is no room.
func (q *packetInbox) put(p packet) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.packets) >= inboxPackets || q.bytes+len(p.data) > inboxBytes {
		return false
	}
	q.packets = append(q.packets, p)
	q.bytes += len(p.data)
	q.signal()
	return true
}

// get waits for a packet.
func (q *packetInbox) get() (packet, error) {
	for {
		p, ok, err := q.tryGet()
		if ok || err != nil {
			return p, err
		}
		<-q.wake
	}
}

// tryGet returns a packet, or an error, or neither.
func (q *packetInbox) tryGet() (p packet, ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		err = net.ErrClosed
	case !q.deadline.IsZero() && !time.Now().Before(q.deadline):
		err = os.ErrDeadlineExceeded
	case len(q.packets) == 0:
		return packet{}, false, nil
	default:
		p, q.packets[0] = q.packets[0], packet{}
		q.packets = q.packets[1:]
		q.bytes -= len(p.data)
		if len(q.packets) == 0 {
			return p, true, nil
		}
	}
	q.signal() // the next reader has reason to look, too
	return p, err == nil, err
}

func (q *packetInbox) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *packetInbox) setDeadline(t time.Time) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return net.ErrClosed
	}
	if q.timer != nil {
		q.timer.Stop()
		q.timer = nil
	}
	q.deadline = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		q.timer = time.AfterFunc(wait, q.signal)
	}
	q.signal()
	return nil
}

// close reports whether the inbox was open.
func (q *packetInbox) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.closed = true
	q.packets = nil
	if q.timer != nil {
		q.timer.Stop()
	}
	q.signal()
	return true
}

func (q *packetInbox) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}
