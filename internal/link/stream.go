package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/weftnet/weft/internal/frame"
)

const (
	// readBufferLen is the size of a stream conn's read buffer. Frames that
	// take more than half of it are read straight into their own buffer.
	readBufferLen = 16 << 10
	// writeBufferLen bounds the small frames that one write copies together.
	writeBufferLen = 16 << 10
	// copyMax is the largest frame that is copied into the write buffer rather
	// than handed to the kernel where it is.
	copyMax = 2 << 10

	// lingerTime and lingerBytes bound how long a refused dialler is waited
	// for, so that it learns why.
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// A StreamConn carries frames on a byte stream, one behind the other, as
// [frame.Frame.Bytes] gives them.
type StreamConn struct {
	conn net.Conn

	// The read side: buf[r:w] is received and not yet parsed.
	buf  []byte
	r, w int

	// The write side: wbuf collects small frames, vec is what goes to the
	// kernel and vecs its consumable head.
	wbuf []byte
	vec  [][]byte
	vecs net.Buffers
	try  trial
}

var _ PrefaceConn = (*StreamConn)(nil)

// NewStreamConn returns a FrameConn on a byte stream such as a *net.TCPConn,
// whose Nagle delay it turns off. It owns conn from now on.
func NewStreamConn(conn net.Conn) *StreamConn { return NewPeekedConn(conn, nil) }

// NewPeekedConn is NewStreamConn for a conn of which the bytes in peeked, at
// most 16 KiB, were read already, to find out which protocol it speaks.
func NewPeekedConn(conn net.Conn, peeked []byte) *StreamConn {
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true) // the default already; an error shows at the first write
	}
	c := &StreamConn{conn: conn, buf: make([]byte, readBufferLen)}
	c.w = copy(c.buf, peeked)
	c.try.init(conn)
	return c
}

// MaxPacket returns [frame.MaxPacket]: streams cut packets as they like.
func (c *StreamConn) MaxPacket() int { return frame.MaxPacket }

// LocalAddr returns the conn's local address.
func (c *StreamConn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr returns the conn's remote address.
func (c *StreamConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// Close closes the conn.
func (c *StreamConn) Close() error { return c.conn.Close() }

// CloseWrite ends the write direction, so that the other end reads all that
// was written and then the end. Conns that cannot do that report
// [errors.ErrUnsupported].
func (c *StreamConn) CloseWrite() error {
	if h, ok := c.conn.(halfCloser); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

// linger ends the write direction and reads what still comes, because closing
// a TCP conn with unread data resets it, and a reset may overtake the answer.
func (c *StreamConn) linger(ctx context.Context) {
	if c.CloseWrite() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lingerTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.conn.Close() })()
	_, _ = io.CopyN(io.Discard, c.conn, lingerBytes)
}

// WritePreface writes b as it is.
func (c *StreamConn) WritePreface(b []byte) error {
	_, err := c.conn.Write(b)
	return err
}

// ReadPreface fills b.
func (c *StreamConn) ReadPreface(b []byte) error {
	if err := c.fill(len(b)); err != nil {
		return err
	}
	c.r += copy(b, c.buf[c.r:])
	return nil
}

// ReadFrame implements [FrameConn]. The error is io.EOF if the stream ended
// between two frames.
func (c *StreamConn) ReadFrame() (*frame.Frame, error) {
	if err := c.fill(frame.HeaderLen); err != nil {
		return nil, err
	}
	n, err := frame.ParseHeader(c.buf[c.r:c.w])
	if err != nil {
		return nil, err
	}
	size := frame.HeaderLen + n
	if size <= readBufferLen/2 {
		if err := c.fill(size); err != nil {
			return nil, unexpected(err)
		}
	}
	f := frame.New(n)
	got := copy(f.Bytes(), c.buf[c.r:c.w])
	c.r += got
	if got == size {
		if !c.more() {
			f.SetUrgent()
		}
		return f, nil
	}
	if err := c.readRest(f, got); err != nil {
		f.Release()
		return nil, unexpected(err)
	}
	return f, nil
}

// more reports whether another whole frame is buffered.
func (c *StreamConn) more() bool {
	n, err := frame.ParseHeader(c.buf[c.r:c.w])
	return err == nil && c.w-c.r >= frame.HeaderLen+n
}

// readRest reads what is missing of f, of which got bytes are there, straight
// into f. The read buffer is empty at this point. What f's buffer has to spare
// takes in the start of the next frame, so that a flow of large frames costs
// about one system call a frame.
func (c *StreamConn) readRest(f *frame.Frame, got int) error {
	size := len(f.Bytes())
	room := f.Bytes()
	room = room[:min(cap(room), size+readBufferLen)]
	for got < size {
		n, err := c.conn.Read(room[got:])
		got += n
		if err != nil && got < size {
			return err
		}
	}
	c.r, c.w = 0, copy(c.buf, room[size:got])
	return nil
}

// fill reads until n bytes, at most readBufferLen, are buffered.
func (c *StreamConn) fill(n int) error {
	if c.w-c.r >= n {
		return nil
	}
	if c.r == c.w || len(c.buf)-c.r < n {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	for c.w-c.r < n {
		m, err := c.conn.Read(c.buf[c.w:])
		c.w += m
		if err != nil && c.w-c.r < n {
			if c.w > c.r {
				return unexpected(err)
			}
			return err
		}
	}
	return nil
}

// unexpected turns the end of the stream inside a frame into an error that
// says so.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("link: the stream ended inside a frame: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// WriteFrames implements [FrameConn]: one system call as long as the kernel
// takes everything.
func (c *StreamConn) WriteFrames(fs []*frame.Frame) error {
	if err := c.writeRest(); err != nil {
		return err
	}
	if len(fs) == 1 {
		_, err := c.conn.Write(fs[0].Bytes())
		return err
	}
	if c.wbuf == nil { // an idle link need not have one
		c.wbuf = make([]byte, 0, writeBufferLen)
	}
	small, from := c.wbuf[:0], 0
	c.vec = c.vec[:0]
	for _, f := range fs {
		b := f.Bytes()
		if len(b) <= copyMax && len(small)+len(b) <= cap(small) {
			small = append(small, b...)
			continue
		}
		if len(small) > from {
			c.vec = append(c.vec, small[from:])
			from = len(small)
		}
		c.vec = append(c.vec, b)
	}
	if len(small) > from {
		c.vec = append(c.vec, small[from:])
	}
	switch len(c.vec) {
	case 0:
		return nil
	case 1:
		_, err := c.conn.Write(c.vec[0])
		return err
	}
	c.vecs = c.vec
	_, err := c.vecs.WriteTo(c.conn)
	clear(c.vec) // the frames are the caller's again
	return err
}
