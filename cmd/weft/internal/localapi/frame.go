package localapi

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/stream"
)

// A conn of an overlay goes through the socket in frames, because a Unix socket
// knows no reset:
//
//	0     kind
//	1..3  length of what follows, big endian
//
// In a conn for packets, each frame of data is one packet.
const frameHeader = 4

const (
	kindData  = iota
	kindEnd   // of this direction, in good order
	kindClose // of both directions, in good order
	kindReset // followed by a code of four bytes, and the reason for people
)

const (
	// farewell is how long Close waits to say so to a process that does not listen.
	// Without the word, the process resets the conn in the overlay.
	farewell = 5 * time.Second
	// lastWord is the same for Reset, where the word is only the reason.
	lastWord = 100 * time.Millisecond
)

const (
	maxFrame  = 128 << 10 // of data, in bytes; longer ones are an error
	maxPacket = 64 << 10  // a UDP packet at most, and what goes with it
	maxReason = 256
)

// A Conn is a conn of the overlay that another process has, which carries it through
// a socket. Reset and half-close work as with the conns of package overlay; after a
// write that a deadline has interrupted, further ones fail. Multiple goroutines may
// invoke its methods simultaneously.
type Conn struct {
	net.Conn // the socket

	info connInfo

	rmu  sync.Mutex
	r    *bufio.Reader
	left int // bytes of the present frame
	rerr error

	wmu   sync.Mutex
	ended bool
	werr  error
}

var _ net.Conn = (*Conn)(nil)

func newConn(c net.Conn, info connInfo) *Conn {
	return &Conn{Conn: c, info: info, r: bufio.NewReaderSize(c, maxPacket+2*frameHeader+packetAddr)}
}

// header returns the kind and the length of the next frame, which it leaves unread,
// so that a deadline loses nothing.
func (c *Conn) header() (kind byte, size int, err error) {
	b, err := c.r.Peek(frameHeader)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errVanished
		}
		return 0, 0, err
	}
	size = int(binary.BigEndian.Uint32(b) & 0xffffff)
	if size > maxFrame {
		return 0, 0, fmt.Errorf("a frame of %d bytes on the socket, %d at most; are both of one version of weft?", size, maxFrame)
	}
	return b[0], size, nil
}

var errVanished = errors.New("the process at the other end of the socket is gone")

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	for c.left == 0 {
		if err := c.next(); err != nil {
			return 0, c.opError("read", err)
		}
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	if errors.Is(err, io.EOF) {
		err = errVanished
	}
	return n, c.opError("read", err)
}

// next begins the next frame of data.
func (c *Conn) next() error {
	if c.rerr != nil {
		return c.rerr
	}
	kind, size, err := c.header()
	if err != nil {
		return err
	}
	switch kind {
	case kindData:
		c.left = size
	case kindEnd:
		c.rerr = io.EOF
	case kindClose:
		c.rerr = join.ErrGone
	case kindReset:
		b, err := c.r.Peek(frameHeader + min(size, 4+maxReason))
		if err != nil {
			return err
		}
		if size < 4 {
			return errors.New("a reset without a code on the socket")
		}
		code := stream.Code(binary.BigEndian.Uint32(b[frameHeader:]))
		c.rerr = &resetError{stream.ResetError{Code: code, Remote: true}, string(b[frameHeader+4:])}
	default:
		return fmt.Errorf("a frame of the unknown kind %d on the socket; are both of one version of weft?", kind)
	}
	_, _ = c.r.Discard(frameHeader)
	return nil
}

// A resetError is a reset with the words that the other process had for it.
type resetError struct {
	stream.ResetError
	words string
}

func (e *resetError) Error() string { return e.words }
func (e *resetError) Unwrap() error { return &e.ResetError }

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	for n < len(p) {
		chunk := p[n:min(len(p), n+maxFrame)]
		if err := c.frameLocked(kindData, chunk); err != nil {
			return n, c.opError("write", err)
		}
		n += len(chunk)
	}
	return n, nil
}

// frameLocked writes one frame. One that is not whole is the last.
func (c *Conn) frameLocked(kind byte, b []byte) error {
	switch {
	case c.werr != nil:
		return c.werr
	case c.ended:
		return net.ErrClosed
	}
	var head [frameHeader]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(b))) //nolint:gosec // of at most maxFrame
	head[0] = kind
	both := net.Buffers{head[:], b}
	_, c.werr = both.WriteTo(c.Conn)
	return c.werr
}

// CloseWrite ends the direction in which this side writes.
func (c *Conn) CloseWrite() error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	err := c.frameLocked(kindEnd, nil)
	c.ended = true
	return c.opError("close", err)
}

// Close closes the conn: what was written is delivered in the background, by the other
// process. It waits for that one's ear, but not for long, and not for a Write.
func (c *Conn) Close() error { return c.finish(kindClose, nil, farewell) }

// Reset aborts the conn in both directions.
func (c *Conn) Reset(code stream.Code) error { return c.reset(code, code.String()) }

func (c *Conn) reset(code stream.Code, words string) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(code))
	return c.finish(kindReset, append(b, words[:min(len(words), maxReason)]...), lastWord)
}

// finish writes the last frame, if that is possible within a time, and closes the
// socket.
func (c *Conn) finish(kind byte, b []byte, patience time.Duration) error {
	if c.wmu.TryLock() {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(patience))
		c.ended = false
		_ = c.frameLocked(kind, b)
		c.ended = true
		c.wmu.Unlock()
	}
	return c.Conn.Close()
}

// LocalAddr returns the address of the node's end, of type overlay.Addr.
func (c *Conn) LocalAddr() net.Addr { return c.info.local() }

// RemoteAddr returns the address of the peer, of type overlay.Addr.
func (c *Conn) RemoteAddr() net.Addr { return c.info.remote() }

// Peer returns who is at the other end, for overlay.PeerOf.
func (c *Conn) Peer() overlay.Peer { return c.info.peer() }

// opError leaves io.EOF and nil as they are.
func (c *Conn) opError(op string, err error) error {
	return stream.OpError(op, c.info.local(), c.info.remote(), err)
}
