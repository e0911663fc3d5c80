package sctp

import (
	"errors"
	"io"
	"os"
	"time"
)

var errWindow = errors.New("sctp: the peer sent more than it was allowed")

// minGrow is the least time that counts as a round trip when windows grow: on a
// fast path, it is other things that take the time.
const minGrow = time.Millisecond

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, limit, err := c.read(b)
	if limit > 0 {
		c.say(message{op: opWindow, arg: limit})
	}
	return n, c.opError("read", err)
}

// read returns what the peer is to be told as its new limit, too, if not 0.
func (c *conn) read(b []byte) (n int, limit uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.readErr != nil:
			return 0, 0, c.readErr
		case passed(c.readBy):
			return 0, 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, 0, nil
		case !c.in.empty():
			n = c.in.read(b)
			c.used += uint64(n)
			return n, c.allow(), nil
		case c.finished:
			return 0, 0, io.EOF
		case c.lost != nil:
			return 0, 0, c.lost
		}
		c.wait(&c.readers, c.readBy, nil)
	}
}

// allow returns what the peer may send in all from now on, 0 if it need not hear
// of it: until it has used up half a window. The window grows if that takes
// little more than a round trip, for then it is what the peer waits for. c.mu is
// held.
func (c *conn) allow() uint64 {
	if c.finished || c.allowed-c.used > uint64(c.window/2) {
		return 0
	}
	now := time.Now()
	trip := max(time.Duration(c.mux.assoc.SRTT()*float64(time.Millisecond)), minGrow)
	if now.Sub(c.allowedAt) < 2*trip {
		c.window = min(2*c.window, c.mux.window)
	}
	c.allowedAt = now
	c.allowed = c.used + uint64(c.window)
	return c.allowed
}

// receive takes the message buf[:n] and returns the buffer for the next one. It
// runs where packets arrive.
func (c *conn) receive(buf *[maxMessage]byte, n int) (*[maxMessage]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got += uint64(n)
	switch {
	case c.got > c.allowed:
		return buf, errWindow
	case c.finished:
		return buf, errMessage
	case c.readErr != nil:
		return buf, nil // nobody will read it
	}
	buf = c.in.put(buf, n)
	c.wake(&c.readers)
	return buf, nil
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
		if err := c.writeState(); err != nil {
			return err
		}
		if !c.inWrite {
			c.inWrite = true
			return nil
		}
		c.wait(&c.writers, c.writeBy, nil)
	}
}

// endTurn lets the next Write go on, or says the end that came meanwhile.
func (c *conn) endTurn() {
	c.mu.Lock()
	c.inWrite = false
	c.wake(&c.writers)
	over := c.writeErr != nil
	c.mu.Unlock()
	if over {
		c.hangUp()
	}
}

// writeState is why Write fails. c.mu is held.
func (c *conn) writeState() error {
	switch {
	case c.writeErr != nil:
		return c.writeErr
	case passed(c.writeBy):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// write writes b message by message: it waits for the peer's window, then for
// room in the association.
func (c *conn) write(b []byte) (n int, err error) {
	for n < len(b) {
		k, err := c.awaitTurn(min(len(b)-n, maxMessage))
		if err != nil {
			return n, err
		}
		err = c.ch.write(b[n:n+k], false)
		c.mux.room.written(k)
		if err != nil {
			return n, c.writeVerdict()
		}
		n += k
	}
	return n, nil
}

// awaitTurn returns how many bytes of up to n may be written now, for which it
// has reserved room.
func (c *conn) awaitTurn(n int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.writeState(); err != nil {
			return 0, err
		}
		if c.sendLimit > c.sent {
			break
		}
		c.wait(&c.writers, c.writeBy, nil)
	}
	n = int(min(uint64(n), c.sendLimit-c.sent))
	if !c.mux.room.tryReserve(n) {
		if err := c.awaitRoom(n); err != nil {
			return 0, err
		}
	}
	c.sent += uint64(n)
	return n, nil
}

// awaitRoom waits until there is room for n bytes. c.mu is held.
func (c *conn) awaitRoom(n int) error {
	w := c.mux.room.reserve(n)
	for {
		select {
		case <-w.Granted:
			return nil
		default:
		}
		if err := c.writeState(); err != nil {
			c.mux.room.cancel(w)
			return err
		}
		c.wait(&c.writers, c.writeBy, w.Granted)
	}
}

// writeVerdict tells why the association took nothing: it has ended, and the
// conn will know at once.
func (c *conn) writeVerdict() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.writeState(); err != nil {
			return err
		}
		c.wait(&c.writers, c.writeBy, nil)
	}
}
