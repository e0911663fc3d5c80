package yamux

import (
	"errors"
	"io"
	"os"

	hyamux "github.com/hashicorp/yamux"

	"github.com/weftnet/weft/stream"
)

// probe is how much data is written without room in the carrier, to wait for
// the peer's window. It bounds what all conns together can exceed the room by.
const probe = 1 << 10

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.read(b)
	return n, c.opError("read", err)
}

func (c *conn) read(b []byte) (int, error) {
	for {
		if err := c.readState(); err != nil || len(b) == 0 {
			return 0, err
		}
		n, err := c.ys.Read(b)
		switch {
		case n > 0 || err == nil:
			return n, nil
		case errors.Is(err, hyamux.ErrTimeout):
			err = c.timedOut()
		case errors.Is(err, hyamux.ErrConnectionReset):
			c.aborted(stream.CodeNone)
			err = c.readState()
		default:
			err = c.verdict()
		}
		if err != nil {
			return 0, err
		}
	}
}

// readState is why Read fails although data may be there.
func (c *conn) readState() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readStateLocked()
}

// readStateLocked is readState for who holds c.mu.
func (c *conn) readStateLocked() error {
	switch {
	case c.readErr != nil:
		return c.readErr
	case passed(c.readBy):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// timedOut tells why yamux's Read was interrupted: nil if for a deadline that
// was moved meanwhile.
func (c *conn) timedOut() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.readStateLocked(); err != nil {
		return err
	}
	if c.finished && c.lost != nil {
		return io.EOF
	}
	return c.lost
}

// verdict waits for what the end of the stream in yamux means. yamux says
// io.EOF for a clean end, for a reset and for the end of the session alike;
// the peer's opFin or opReset is on its way, or the mux ends.
func (c *conn) verdict() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.readStateLocked(); err != nil {
			return err
		}
		if c.finished {
			return io.EOF
		}
		if c.lost != nil {
			return c.lost
		}
		c.wait(c.readBy, nil)
	}
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (n int, err error) {
	if err = c.beginWrite(); err == nil {
		n, err = c.write(b)
		c.endTurn()
	}
	return n, c.opError("write", err)
}

// beginWrite waits for its turn, so that concurrent writes do not interleave.
func (c *conn) beginWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.writeStateLocked(); err != nil {
			return err
		}
		if !c.inWrite {
			c.inWrite = true
			return nil
		}
		c.wait(c.writeBy, nil)
	}
}

// endTurn lets the next Write go on, or says the end that came meanwhile.
func (c *conn) endTurn() {
	c.mu.Lock()
	c.inWrite = false
	c.wake()
	over := c.writeErr != nil
	c.mu.Unlock()
	if over {
		c.hangUp()
	}
}

// writeStateLocked is why Write fails. c.mu is held.
func (c *conn) writeStateLocked() error {
	switch {
	case c.writeErr != nil:
		return c.writeErr
	case passed(c.writeBy):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// write writes b piece by piece: it waits for room in the carrier, and then
// gives yamux what the peer's window takes, without waiting. When that is
// nothing, it waits for the window without holding room that others can use.
func (c *conn) write(b []byte) (n int, err error) {
	for n < len(b) {
		chunk := b[n:min(n+maxChunk, len(b))]
		if err := c.awaitRoom(len(chunk)); err != nil {
			return n, err
		}
		k, err := c.ys.Write(chunk)
		c.mux.carrier.release(len(chunk))
		n += k
		if errors.Is(err, hyamux.ErrTimeout) {
			k, err = c.awaitWindow(b[n:min(n+probe, len(b))])
			n += k
		}
		if err != nil {
			return n, c.writeVerdict(err)
		}
	}
	return n, nil
}

// awaitRoom waits until the carrier has room for n bytes.
func (c *conn) awaitRoom(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.writeStateLocked(); err != nil || c.mux.carrier.tryReserve(n) {
		return err
	}
	w := c.mux.carrier.reserve(n)
	for {
		select {
		case <-w.Granted:
			return nil
		default:
		}
		if err := c.writeStateLocked(); err != nil {
			c.mux.carrier.cancel(w)
			return err
		}
		c.wait(c.writeBy, w.Granted)
	}
}

// awaitWindow writes a little as soon as the peer's window is open. It returns
// nil, too, when it was interrupted: the next look at the state tells.
func (c *conn) awaitWindow(b []byte) (int, error) {
	c.change(func() { c.waiting = true })
	n, err := c.ys.Write(b)
	c.change(func() { c.waiting = false })
	if errors.Is(err, hyamux.ErrTimeout) {
		err = nil
	}
	return n, err
}

// writeVerdict tells what an error of yamux's Write means: the stream or the
// session has ended, and the conn knows why or will at once.
func (c *conn) writeVerdict(err error) error {
	if errors.Is(err, hyamux.ErrConnectionReset) {
		c.aborted(stream.CodeNone)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.writeStateLocked(); err != nil {
			return err
		}
		c.wait(c.writeBy, nil)
	}
}
