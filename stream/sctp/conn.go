package sctp

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"github.com/weftnet/weft/stream"
)

// A conn is one data channel with the rules of a conn. It has no goroutine: what
// arrives is put into it as it comes, and what is written goes to the
// association at once or waits for room.
type conn struct {
	mux           *mux
	ch            *channel
	local, remote stream.Addr

	mu       sync.Mutex
	readers  chan struct{} // closed when something below changes for Read; nil if nobody waits
	writers  chan struct{} // the same for Write and accepted
	readBy   time.Time     // deadlines
	writeBy  time.Time
	answered bool  // the acceptor said yes
	finished bool  // the peer ended its side cleanly
	closed   bool  // Close or Reset was called
	readErr  error // what Read says at once: closed, or reset
	writeErr error // what Write says
	lost     error // what Read says when nothing is left: the mux ended

	in        inbox
	got       uint64 // bytes that came
	used      uint64 // bytes that were read
	allowed   uint64 // bytes that the peer may send
	window    int    // allowed beyond used
	allowedAt time.Time

	sent      uint64 // bytes written to the association
	sendLimit uint64 // bytes that the peer allows

	inWrite bool // a Write is under way
	last    op   // what to tell the peer when it is done: opFin, opReset or nothing
	lastArg stream.Code
	hungUp  bool // it was told, or is being told
	told    bool // it was told
	aborts  bool // both directions are over, whatever the peer says
}

func newConn(m *mux, ch *channel, local, remote stream.Addr) *conn {
	return &conn{
		mux: m, ch: ch, local: local, remote: remote,
		window: startWindow, allowed: startWindow, sendLimit: startWindow,
		allowedAt: time.Now(),
	}
}

// say sends a message to the peer. If the channel or the association has ended
// meanwhile, there is nobody to tell.
func (c *conn) say(msg message) {
	_ = c.ch.write(msg.append(make([]byte, 0, 16)), true)
}

// change changes the state under the lock and lets everybody look at it again.
func (c *conn) change(f func()) {
	c.mu.Lock()
	f()
	c.wake(&c.readers)
	c.wake(&c.writers)
	c.mu.Unlock()
	c.hangUp()
}

// wake lets those who wait look at the state again. c.mu is held.
func (c *conn) wake(who *chan struct{}) {
	if *who != nil {
		close(*who)
		*who = nil
	}
}

// wait gives up the lock until the state changes, more happens or t passes.
// c.mu is held.
func (c *conn) wait(who *chan struct{}, t time.Time, more <-chan struct{}) {
	if *who == nil {
		*who = make(chan struct{})
	}
	changed := *who
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
		c.wait(&c.writers, time.Time{}, ctx.Done())
	}
}

// hangUp tells the peer that this side writes no more, once that is so and no
// Write is under way, and gives up the channel once both directions are over.
func (c *conn) hangUp() {
	c.mu.Lock()
	now := c.writeErr != nil && !c.inWrite && !c.hungUp
	c.hungUp = c.hungUp || now
	last, arg := c.last, c.lastArg
	c.mu.Unlock()
	if now && last != 0 {
		c.say(message{op: last, arg: uint64(arg)})
	}
	c.mu.Lock()
	c.told = c.told || now
	over := c.told && (c.finished || c.aborts) && c.lost == nil
	c.mu.Unlock()
	if over {
		c.mux.release(c.ch)
	}
}

// endWrite makes writes fail with err. c.mu is held.
func (c *conn) endWrite(err error, last op, arg stream.Code) {
	if c.writeErr == nil {
		c.writeErr, c.last, c.lastArg = err, last, arg
	}
}

// stopped is the peer's opStop. The peer still has to hear that nothing follows.
func (c *conn) stopped() {
	c.change(func() {
		c.endWrite(&stream.ResetError{Code: stream.CodeCanceled, Remote: true}, opFin, 0)
	})
}

// aborted is the peer's opReset.
func (c *conn) aborted(code stream.Code) {
	c.change(func() {
		c.aborts = true
		err := &stream.ResetError{Code: code, Remote: true}
		c.endWrite(err, 0, 0)
		if c.readErr == nil && !c.finished {
			c.readErr = err
			c.in.clear()
		}
	})
}

// lose ends the conn together with the mux. Data that are here stay readable.
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
		c.in.clear()
	})
	if tell {
		c.say(message{op: opStop})
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
		late = c.hungUp && !c.aborts && !c.finished && c.lost == nil
		c.closed = true
		c.readErr = net.ErrClosed
		c.in.clear()
		if !c.hungUp {
			c.last, c.lastArg = opReset, code
			c.aborts = true
		}
		c.writeErr = net.ErrClosed
	})
	if late {
		c.say(message{op: opReset, arg: uint64(code)})
		c.change(func() { c.aborts = true })
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	set()
	c.wake(&c.readers)
	c.wake(&c.writers)
	return nil
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
