package simnet

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/link"
)

// inboxFrames bounds what waits at one end of a pipe to be read; what arrives
// beyond is dropped.
const inboxFrames = 4096

// errReset is how a conn ends whose other end was reset or killed.
var errReset = fmt.Errorf("simnet: %w", syscall.ECONNRESET)

// An Addr is the address of a simulated conn, "host:port".
type Addr string

// Network returns "sim".
func (a Addr) Network() string { return "sim" }

// String returns the address.
func (a Addr) String() string { return string(a) }

// A Conn is one end of a simulated link. Its preface travels with the delay of
// the wire, but is not lost unless the wire is down.
type Conn struct {
	local, remote Addr
	out           *Wire
	peer          *Conn

	inbox   chan *frame.Frame
	preface chan []byte // what the other end wrote before its first frame
	rest    []byte      // of a preface, for the next ReadPreface
	done    chan struct{}

	mu      sync.Mutex
	err     error // set before done is closed
	onClose func()
	dropped uint64 // frames that found the inbox full
}

var _ link.PrefaceConn = (*Conn)(nil)

// NewPipe returns two conns joined by two wires.
func NewPipe(a2b, b2a Impairment, seed uint64) (link.FrameConn, link.FrameConn) {
	return newPipe("a:0", "b:0", a2b, b2a, seed)
}

func newPipe(from, to Addr, a2b, b2a Impairment, seed uint64) (*Conn, *Conn) {
	a := &Conn{local: from, remote: to}
	b := &Conn{local: to, remote: from}
	a.peer, b.peer = b, a
	for _, c := range []*Conn{a, b} {
		c.inbox = make(chan *frame.Frame, inboxFrames)
		c.preface = make(chan []byte, 1)
		c.done = make(chan struct{})
	}
	a.out = NewWire(a2b, seed, b.arrive)
	b.out = NewWire(b2a, seed+1, a.arrive)
	return a, b
}

func (c *Conn) arrive(f *frame.Frame) {
	select {
	case <-c.done:
		f.Release()
	case c.inbox <- f:
	default:
		c.mu.Lock()
		c.dropped++
		c.mu.Unlock()
		f.Release()
	}
}

// Wire returns the direction away from this end.
func (c *Conn) Wire() *Wire { return c.out }

// Dropped returns how many frames were dropped because this end did not read.
func (c *Conn) Dropped() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}

// ReadFrame returns the next frame that arrived, before any error.
func (c *Conn) ReadFrame() (*frame.Frame, error) {
	select {
	case f := <-c.inbox:
		return f, nil
	case <-c.done:
	}
	select {
	case f := <-c.inbox:
		return f, nil
	default:
		return nil, c.cause()
	}
}

// WriteFrames puts copies of the frames on the wire.
func (c *Conn) WriteFrames(fs []*frame.Frame) error {
	for _, f := range fs {
		if err := c.awaitRoom(len(f.Bytes())); err != nil {
			return err
		}
		c.out.Send(f.Clone())
	}
	return nil
}

// awaitRoom blocks while the wire has back-pressure.
func (c *Conn) awaitRoom(n int) error {
	for {
		select {
		case <-c.done:
			return c.cause()
		default:
		}
		c.out.mu.Lock()
		var wait time.Duration
		if imp := c.out.shape.imp; imp.Backpressure && !imp.Down {
			wait = c.out.shape.room(time.Now(), n)
		}
		c.out.mu.Unlock()
		if wait <= 0 {
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-c.done:
			t.Stop()
		}
	}
}

// WritePreface sends b after the wire's delay.
func (c *Conn) WritePreface(b []byte) error {
	b = slices.Clone(b)
	c.out.call(func() {
		select {
		case c.peer.preface <- b:
		default: // one preface a direction
		}
	})
	return nil
}

// ReadPreface fills b.
func (c *Conn) ReadPreface(b []byte) error {
	if len(c.rest) == 0 {
		select {
		case c.rest = <-c.preface:
		case <-c.done:
			select {
			case c.rest = <-c.preface:
			default:
				return c.cause()
			}
		}
	}
	if len(c.rest) < len(b) {
		return fmt.Errorf("simnet: preface is cut short: %w", io.ErrUnexpectedEOF)
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return nil
}

// MaxPacket is the MaxPacket of the wire away from this end.
func (c *Conn) MaxPacket() int {
	if n := c.out.Impairment().MaxPacket; n > 0 {
		return n
	}
	return frame.MaxPacket
}

// LocalAddr returns this end's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Close ends the conn. The other end reads what is on the wire and then
// io.EOF, unless the wire is down.
func (c *Conn) Close() error {
	if c.end(net.ErrClosed) {
		c.out.call(func() { c.peer.end(io.EOF) })
	}
	return nil
}

// reset ends both directions at once.
func (c *Conn) reset() {
	c.end(errReset)
	c.out.Close()
}

// end makes reads and writes at this end fail with err; false if they did
// already.
func (c *Conn) end(err error) bool {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return false
	}
	c.err = err
	onClose := c.onClose
	c.mu.Unlock()
	close(c.done)
	if onClose != nil {
		onClose()
	}
	return true
}

func (c *Conn) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
