package wslink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/coder/websocket"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/link"
)

const (
	// maxMessage is the longest message that is read, in bytes. Nothing is
	// allocated for it: messages are read as they come.
	maxMessage = 1 << 20
	// gatherLen bounds the frames that a message gathers, in bytes, and with
	// that the memory that a busy link keeps for it.
	gatherLen = 64 << 10
	// gatherMax is the largest frame that is copied to be gathered. A larger one
	// is a message of its own, written from where it is.
	gatherMax = 16 << 10
)

// A Conn is a WebSocket as a link.PrefaceConn.
type Conn struct {
	*link.StreamConn // preface and frames, of the bytes in messages
	bytes            *byteConn
	gathered         []byte // whole frames of the next message; the writer's
}

var _ link.PrefaceConn = (*Conn)(nil)

// newConn makes a conn of a WebSocket on raw, which it owns.
func newConn(ws *websocket.Conn, raw net.Conn, out *coalescer) *Conn {
	ws.SetReadLimit(maxMessage)
	b := &byteConn{Conn: raw, ws: ws, out: out}
	return &Conn{StreamConn: link.NewStreamConn(b), bytes: b}
}

// WriteFrames writes all frames as messages of one or several whole frames.
func (c *Conn) WriteFrames(fs []*frame.Frame) error {
	c.bytes.out.hold()
	err := c.writeMessages(fs)
	return errors.Join(err, c.bytes.out.release())
}

func (c *Conn) writeMessages(fs []*frame.Frame) error {
	for _, f := range fs {
		b := f.Bytes()
		if len(c.gathered)+len(b) > gatherLen || len(b) > gatherMax {
			if err := c.flush(); err != nil {
				return err
			}
		}
		if len(b) > gatherMax || len(fs) == 1 {
			if err := c.bytes.message(b); err != nil {
				return err
			}
			continue
		}
		c.gathered = append(c.gathered, b...)
	}
	return c.flush()
}

// flush writes the frames that are gathered.
func (c *Conn) flush() error {
	if len(c.gathered) == 0 {
		return nil
	}
	b := c.gathered
	c.gathered = b[:0]
	return c.bytes.message(b)
}

// A byteConn reads the contents of messages as a stream of bytes, and writes
// each Write as a message. Deadlines are not for its users: they would end the
// WebSocket.
type byteConn struct {
	net.Conn // below the WebSocket; below TLS, if there is any, on its side
	ws       *websocket.Conn
	out      *coalescer
	msg      io.Reader // the message being read, nil between two; the reader's

	mu     sync.Mutex
	closed bool
	half   chan struct{} // closed when CloseWrite's goroutine ends; nil before it began
}

// NetConn returns the conn below.
func (c *byteConn) NetConn() net.Conn { return c.Conn }

func (c *byteConn) Read(p []byte) (int, error) {
	for {
		if c.msg == nil {
			kind, r, err := c.ws.Reader(context.Background())
			if err != nil {
				return 0, ending(err)
			}
			if kind != websocket.MessageBinary {
				return 0, errors.New("link: the other end sent a text message; it does not speak the weft link protocol")
			}
			c.msg = r
		}
		n, err := c.msg.Read(p)
		if err == io.EOF { // the message's; a wrapped one would be the conn's
			c.msg, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, ending(err)
	}
}

// ending makes io.EOF of a close frame.
func ending(err error) error {
	if err == nil {
		return nil
	}
	if closed, ok := errors.AsType[websocket.CloseError](err); ok {
		if closed.Code == websocket.StatusNormalClosure || closed.Code == websocket.StatusGoingAway {
			return io.EOF
		}
		return fmt.Errorf("link: the other end closed the WebSocket: %w: %w", err, io.EOF)
	}
	return err
}

func (c *byteConn) Write(p []byte) (int, error) {
	if err := c.message(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// message writes p as a message.
func (c *byteConn) message(p []byte) error {
	return c.ws.Write(context.Background(), websocket.MessageBinary, p)
}

// CloseWrite sends a close frame. It does not wait until that is answered,
// which a Read sees as the end.
func (c *byteConn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.half != nil {
		return nil
	}
	half := make(chan struct{})
	c.half = half
	go func() { // ends with Close at the latest
		defer close(half)
		_ = c.ws.Close(websocket.StatusNormalClosure, "")
	}()
	return nil
}

// Close ends both directions at once.
func (c *byteConn) Close() error {
	c.mu.Lock()
	c.closed = true
	half := c.half
	c.mu.Unlock()
	err := c.Conn.Close() // first: what ws.Close waits for then fails
	_ = c.ws.CloseNow()
	if half != nil {
		<-half
	}
	return err
}
