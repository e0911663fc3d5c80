package yamux

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/internal/room"
)

const (
	// yamuxHeader is the size of a yamux frame's header: version (1), type
	// (1), flags (2), stream (4), length (4). Only frames of type 0 have as
	// many bytes of data behind them as the length says.
	yamuxHeader = 12

	// maxChunk is the most data in one yamux frame.
	maxChunk = 64 << 10

	// queueRoom is how much data may wait for the session's stream before
	// conns have to wait with theirs.
	queueRoom = 256 << 10

	// queueLimit is how much may wait in all. What exceeds queueRoom is
	// window updates, control messages and answers to pings; only a peer that
	// makes us send these and does not read them gets so far.
	queueLimit = 16 << 20

	// flushTime is how long closing waits for the session's stream to take
	// what conns have written.
	flushTime = time.Second
)

var (
	errFrameTooLong = fmt.Errorf("yamux: the peer sent a frame of more than %d bytes", maxChunk)
	errQueueFull    = errors.New("yamux: the peer does not read what it asks for")
	errProtocol     = errors.New("yamux: the peer broke the protocol; the log says how at debug level")
)

// A carrier is what yamux takes for its connection. Neither direction blocks
// yamux at the wrong time: Read returns no part of a frame before the whole
// has come, since yamux holds a stream's lock until it has one; and Write only
// queues, since yamux would otherwise hold up the calls of all conns.
type carrier struct {
	st   stream.Stream
	fail func(error) // told that the carrier is of no use any more; never blocks
	wg   sync.WaitGroup

	// Of the goroutine in which yamux reads.
	in   *bufio.Reader
	left int // bytes of the present frame that Read has not returned

	mu      sync.Mutex
	queue   []byte        // written by yamux, not yet taken by send
	sending int           // bytes that send is writing
	room    room.Queue    // what may be written to queue beyond what is there
	hold    bool          // the queue ends in a header whose data come next
	wake    chan struct{} // 1-slot: send has something to do
	closed  bool
}

func newCarrier(st stream.Stream, fail func(error)) *carrier {
	c := &carrier{
		st:   st,
		fail: fail,
		in:   bufio.NewReaderSize(st, yamuxHeader+maxChunk),
		wake: make(chan struct{}, 1),
	}
	c.wg.Go(c.send)
	return c
}

// Read implements io.Reader for yamux.
func (c *carrier) Read(b []byte) (int, error) {
	if c.left == 0 {
		size, err := c.nextFrame()
		if err != nil {
			c.fail(err)
			return 0, err
		}
		c.left = size
	}
	n, err := c.in.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// nextFrame waits for a whole frame and returns its size.
func (c *carrier) nextFrame() (int, error) {
	header, err := c.in.Peek(yamuxHeader)
	if err != nil {
		if len(header) > 0 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	n := dataLen(header)
	if n > maxChunk {
		return 0, errFrameTooLong
	}
	if _, err = c.in.Peek(yamuxHeader + n); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return yamuxHeader + n, err
}

// dataLen is how many bytes of data follow a header. What is too long for a
// frame counts as maxChunk+1.
func dataLen(header []byte) int {
	if header[1] != 0 {
		return 0
	}
	return int(min(binary.BigEndian.Uint32(header[8:]), maxChunk+1))
}

// Write implements io.Writer for yamux. yamux writes a header and its data in
// two calls; they are sent together.
func (c *carrier) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, io.ErrClosedPipe
	}
	if len(c.queue)+len(b) > queueLimit {
		return 0, errQueueFull // yamux closes the carrier
	}
	c.queue = append(c.queue, b...)
	c.hold = !c.hold && len(b) == yamuxHeader && dataLen(b) > 0
	if !c.hold {
		c.kick()
	}
	return len(b), nil
}

// kick makes send look at the queue.
func (c *carrier) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// send moves the queue to the session's stream until the carrier is closed and
// the queue is empty, or the stream fails.
func (c *carrier) send() {
	var spare []byte
	for range c.wake {
		for {
			c.mu.Lock()
			if len(c.queue) == 0 {
				closed := c.closed
				c.mu.Unlock()
				if closed {
					return
				}
				break
			}
			batch := c.queue
			c.queue, c.sending = spare[:0], len(batch)
			c.mu.Unlock()

			_, err := c.st.Write(batch)
			spare = recycle(batch)
			c.mu.Lock()
			c.sending = 0
			c.grant()
			c.mu.Unlock()
			if err != nil {
				c.fail(err)
				return
			}
		}
	}
}

// recycle keeps a buffer for the next batch unless a burst has made it large.
func recycle(b []byte) []byte {
	if cap(b) > 2*queueRoom {
		return nil
	}
	return b[:0]
}

// tryReserve takes room for n bytes of data if there is some and nobody waits.
func (c *carrier) tryReserve(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.room.Try(n, c.free())
}

// reserve queues up for room for n bytes of data. The caller waits for it to be
// granted, and calls cancel if it does not wait so long.
func (c *carrier) reserve(n int) *room.Waiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.grant()
	return c.room.Wait(n)
}

// cancel gives up waiting.
func (c *carrier) cancel(w *room.Waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.room.Cancel(w)
	c.grant()
}

// release gives room for n bytes back: the data are in the queue now, or did
// not fit the peer's window.
func (c *carrier) release(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.room.Return(n)
	c.grant()
}

// grant serves waiters while there is room. c.mu is held.
func (c *carrier) grant() { c.room.Grant(c.free()) }

// free is how much more may wait or be written. c.mu is held.
func (c *carrier) free() int { return queueRoom - len(c.queue) - c.sending }

// Close implements io.Closer for yamux, which also calls it when the peer has
// broken its protocol. What is queued has flushTime to get to
// the session, which delivers it; the peer then reads io.EOF.
func (c *carrier) Close() error {
	c.mu.Lock()
	c.closed = true
	c.kick()
	c.mu.Unlock()
	c.fail(errProtocol) // conns must not wait for what follows
	c.st.SetWriteDeadline(time.Now().Add(flushTime))
	c.wg.Wait()
	return c.st.Close()
}
