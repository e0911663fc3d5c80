package grid

import (
	"net"
	"runtime"
	"sync"
)

// maxQueued is how many bytes may wait to be written before callers wait, too: twice what a
// conn takes in one go, so that the writer always finds something.
const maxQueued = 512 << 10

// An outbox queues frames and writes what has gathered with one Write: the busier a session,
// the fewer writes a frame costs.
type outbox struct {
	conn net.Conn
	done <-chan struct{} // the session has ended
	fail func(error)
	kick chan struct{} // cap 1: the writer has something to do

	mu      sync.Mutex
	buf     []byte
	spare   []byte
	writing bool          // somebody writes what is in buf, or is about to
	room    chan struct{} // closed when there is room again; nil if nobody waits
}

// put queues a frame. While too much waits, so does put, until one of the channels closes;
// without a channel it waits for nothing, but ends a session whose peer does not read.
//
// If nobody writes at the moment and the caller is alone, it writes itself: no goroutine has
// to be woken. Who is not alone leaves that to the writer, which lets others gather first.
func (o *outbox) put(f *frame, alone bool, until <-chan struct{}) bool {
	o.mu.Lock()
	for len(o.buf) >= maxQueued {
		if until == nil {
			break
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-o.done:
			return false
		case <-until:
			return false
		}
		o.mu.Lock()
	}
	o.buf = appendFrame(o.buf, f)
	unread, mine := len(o.buf) > 2*maxQueued, !o.writing
	o.writing = true
	o.mu.Unlock()
	if unread {
		o.fail(errUnread)
	}
	if mine && (!alone || !o.flush()) {
		o.kick <- struct{}{} // has room: only who has set writing gets here
	}
	return true
}

// flush writes what is queued and reports whether that was all.
func (o *outbox) flush() bool {
	o.mu.Lock()
	b := o.buf
	o.buf, o.spare = o.spare[:0], nil
	o.mu.Unlock()
	_, err := o.conn.Write(b)
	if err != nil {
		o.fail(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.spare = b; cap(b) > 2*maxQueued {
		o.spare = nil
	}
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
	o.writing = len(o.buf) > 0 && err == nil
	return !o.writing
}

// run is the writer.
func (o *outbox) run() {
	for {
		select {
		case <-o.kick:
		case <-o.done:
			return
		}
		for done := false; !done; done = o.flush() {
			runtime.Gosched() // all who are about to send something do so now
		}
	}
}
