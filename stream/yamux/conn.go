package yamux

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	hyamux "github.com/hashicorp/yamux"

	"github.com/weftnet/weft/stream"
)

// A conn is one yamux stream and what control messages say of it. It has no
// goroutine. All calls into yamux return at once but for two: Read waits for
// data, and write for a window; both end when a deadline of the yamux stream
// is moved into the past, which is how this package interrupts them.
type conn struct {
	mux           *mux
	ys            *hyamux.Stream
	id            uint32
	local, remote stream.Addr

	mu      sync.Mutex
	changed chan struct{} // closed when anything below changes; nil if nobody waits

	readBy, writeBy time.Time // deadlines

	answered bool  // the acceptor said yes
	finished bool  // the peer ended its side cleanly, and all its data are here
	closed   bool  // Close or Reset was called
	readErr  error // what Read says at once: closed, or reset
	writeErr error // what Write says
	lost     error // what Read says when nothing is left: the session ended

	inWrite bool // a Write is under way
	waiting bool // it waits in yamux for the peer's window
	last    op   // what to tell the peer when the last Write is done: opFin, opReset or nothing
	lastArg uint32
	hungUp  bool // yamux was told that this side writes no more
}

// change changes the state under the lock and lets everybody look at it again.
func (c *conn) change(f func()) {
	c.mu.Lock()
	f()
	c.interrupt()
	c.wake()
	c.mu.Unlock()
	c.hangUp()
}

// wake lets everybody in wait look at the state again. c.mu is held.
func (c *conn) wake() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// interrupt sets the deadlines of the yamux stream. c.mu is held.
func (c *conn) interrupt() {
	readBy, writeBy := c.readBy, c.writeBy
	if c.readErr != nil || c.lost != nil {
		readBy = past
	}
	if c.writeErr != nil || !c.waiting {
		writeBy = past
	}
	c.ys.SetReadDeadline(readBy)
	c.ys.SetWriteDeadline(writeBy)
}

// wait gives up the lock until the state changes, more happens or t passes.
// c.mu is held.
func (c *conn) wait(t time.Time, more <-chan struct{}) {
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	changed := c.changed
	c.mu.Unlock()
	defer c.mu.Lock()
	var timeout <-chan time.Time
	if !t.IsZero() {
		timer := time.NewTimer(time.Until(t))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-changed:
	case <-more:
	case <-timeout:
	}
}

// accepted waits for the acceptor's answer.
func (c *conn) accepted(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.answered:
			return nil
		case c.readErr != nil:
			return c.readErr
		case c.lost != nil:
			return c.lost
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		c.wait(time.Time{}, ctx.Done())
	}
}

// hangUp tells the peer and yamux that this side writes no more, once that is
// so and no Write is under way.
func (c *conn) hangUp() {
	c.mu.Lock()
	now := c.writeErr != nil && !c.inWrite && !c.hungUp
	c.hungUp = c.hungUp || now
	last, arg := c.last, c.lastArg
	over := c.hungUp && (c.finished || c.readErr != nil)
	c.mu.Unlock()
	if now && last != 0 {
		c.mux.send(last, c.id, arg)
	}
	if now {
		c.ys.Close() // yamux tells the peer's yamux that nothing follows
	}
	if over {
		c.mux.remove(c.id)
	}
}

// endWrite makes writes fail with err. c.mu is held.
func (c *conn) endWrite(err error, last op, arg uint32) {
	if c.writeErr == nil {
		c.writeErr, c.last, c.lastArg = err, last, arg
	}
}

// stopped is the peer's opStop.
func (c *conn) stopped() {
	c.change(func() {
		c.endWrite(&stream.ResetError{Code: stream.CodeCanceled, Remote: true}, 0, 0)
	})
}

// aborted is the peer's opReset.
func (c *conn) aborted(code stream.Code) {
	c.change(func() {
		err := &stream.ResetError{Code: code, Remote: true}
		c.endWrite(err, 0, 0)
		if c.readErr == nil {
			c.readErr = err
		}
	})
}

// lose ends the conn together with its session. Data that are here stay
// readable.
func (c *conn) lose(err error) {
	c.change(func() {
		c.lost = err
		c.endWrite(err, 0, 0)
		c.hungUp = true // there is nobody to tell
	})
}

// CloseWrite implements [stream.Conn].
func (c *conn) CloseWrite() error {
	c.change(func() { c.endWrite(net.ErrClosed, opFin, 0) })
	return nil
}

// CloseRead implements [stream.Conn].
func (c *conn) CloseRead() error {
	c.stopReading(io.EOF)
	return nil
}

// stopReading makes Read fail with err and the peer stop writing.
func (c *conn) stopReading(err error) {
	tell := false
	c.change(func() {
		tell = c.readErr == nil && !c.finished && c.lost == nil
		c.readErr = err
	})
	if tell {
		c.mux.send(opStop, c.id, 0)
	}
}

// Close implements [stream.Conn].
func (c *conn) Close() error {
	c.change(func() {
		c.closed = true
		c.endWrite(net.ErrClosed, opFin, 0)
		c.writeErr = net.ErrClosed
	})
	c.stopReading(net.ErrClosed)
	return nil
}

// Reset implements [stream.Conn].
func (c *conn) Reset(code stream.Code) error {
	late := false
	c.change(func() {
		// After CloseWrite the peer must hear of the reset in an extra message.
		late = c.hungUp && c.readErr == nil && !c.finished && c.lost == nil
		c.closed = true
		c.readErr = net.ErrClosed
		if !c.hungUp {
			c.last, c.lastArg = opReset, uint32(code)
		}
		c.writeErr = net.ErrClosed
	})
	if late {
		c.mux.send(opReset, c.id, uint32(code))
	}
	return nil
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	return c.setDeadline(func() { c.readBy, c.writeBy = t, t })
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(func() { c.readBy = t })
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(func() { c.writeBy = t })
}

func (c *conn) setDeadline(set func()) error {
	var err error
	c.change(func() {
		if c.closed {
			err = net.ErrClosed
			return
		}
		set()
	})
	return c.opError("set", err)
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// opError dresses an error. Without one it makes no values that need memory.
func (c *conn) opError(op string, err error) error {
	if err == nil {
		return nil
	}
	return stream.OpError(op, c.local, c.remote, err)
}

// passed reports whether a deadline has passed.
func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }
