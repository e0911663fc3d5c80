package session

import (
	"context"
	"net"
	"sync"
	"time"
)

// sendQueue is how many bytes of a stream may wait to be sent for the first
// time before Write blocks. What is in flight counts against the windows.
const sendQueue = 1 << 20

// creditStep is how many bytes are read at most before the peer gets credit for
// them. With large windows half of one would be too much to wait for: where
// losses hold data up, the other half is less than what is on the way.
const creditStep = 2 << 20

// A Stream is one ordered reliable byte stream of a session: the whole
// net.Conn contract but for the addresses. Multiple goroutines may call its
// methods simultaneously.
type Stream struct {
	sess *Session
	id   uint64
	kind Kind

	readable signal        // the read side changed
	writable signal        // the write side changed
	writing  chan struct{} // holds the one goroutine that is in Write

	mu  sync.Mutex // guards everything below; never held while blocking
	in  receiveSide
	out sendSide

	queued   bool // in the session's list of streams with something to send
	answered bool // acceptor: Accept or Refuse was called; opener: an answer came
	detached bool // both sides are done and the session has forgotten the stream

	// Owned by the session's goroutine:
	enlisted bool // in the session's round
	starved  bool // waits for MAX_DATA, or for acknowledgements
}

// receiveSide is the part of a stream that the peer writes.
type receiveSide struct {
	buf      recvBuf
	deadline deadline
	window   uint64    // how far ahead of read the peer may send
	limit    uint64    // MAX_STREAM_DATA as last decided
	highest  uint64    // end of what was received
	final    uint64    // final size, once sized
	tuned    time.Time // when half of the window was last used up
	tunedAt  uint64    // what was read then
	sized    bool      // FIN or RESET_STREAM came: final counts
	ended    bool      // no frame of the peer counts any more: all data or a reset came
	stopped  bool      // CloseRead: data are thrown away
	closed   bool      // Close: Read says net.ErrClosed
	reset    *ResetError
	sendMax  bool // MAX_STREAM_DATA must be sent
	sendStop bool // STOP_SENDING must be sent
	stopCode uint64
}

// sendSide is the part of a stream that this side writes.
type sendSide struct {
	buf       sendBuf
	deadline  deadline
	limit     uint64 // MAX_STREAM_DATA of the peer
	fin       bool   // CloseWrite: FIN follows the data
	finSent   bool
	finAcked  bool
	closed    bool // Close or Reset: Write says net.ErrClosed
	reset     *ResetError
	resetCode uint64
	sendReset bool   // RESET_STREAM must be sent
	final     uint64 // size told in RESET_STREAM, once finalized
	finalized bool
	resetting bool // RESET_STREAM is sent or to be sent instead of data
	resetDone bool // RESET_STREAM was acknowledged
	sendOpen  bool // STREAM_OPEN must be sent
	sendYes   bool // STREAM_ACCEPT must be sent
	openDone  bool // acceptor's side, or STREAM_OPEN was acknowledged
}

func newStream(s *Session, id uint64, kind Kind, recvWindow, sendLimit uint64) *Stream {
	st := &Stream{
		sess: s, id: id, kind: kind,
		readable: newSignal(), writable: newSignal(), writing: make(chan struct{}, 1),
	}
	st.in.window, st.in.limit = recvWindow, recvWindow
	st.out.limit = sendLimit
	return st
}

// ID returns the stream's number, unique in its session.
func (st *Stream) ID() uint64 { return st.id }

// Kind returns what the opener said the stream is for.
func (st *Stream) Kind() Kind { return st.kind }

// Session returns the session that the stream belongs to.
func (st *Stream) Session() *Session { return st.sess }

// Accept tells the opener that its stream is welcome.
func (st *Stream) Accept() error {
	st.mu.Lock()
	if st.answered {
		st.mu.Unlock()
		return nil
	}
	st.answered, st.out.sendYes = true, true
	st.mu.Unlock()
	st.sess.queueQuick(st)
	return nil
}

// Refuse tells the opener that its stream is not welcome, and why.
func (st *Stream) Refuse(code uint64) error {
	st.mu.Lock()
	st.answered = true
	st.mu.Unlock()
	return st.Reset(code)
}

// Accepted waits until the acceptor has answered. The error is nil, a remote
// *ResetError with the code of a refusal, why the session ended, or the
// context's.
func (st *Stream) Accepted(ctx context.Context) error {
	stop := context.AfterFunc(ctx, st.readable.set)
	defer stop()
	for {
		st.mu.Lock()
		answered, reset := st.answered, st.in.reset
		dead, closed := st.sess.death(), st.in.closed
		st.mu.Unlock()
		switch {
		case answered:
			st.readable.set() // for a reader
			return nil
		case reset != nil:
			st.readable.set()
			return reset
		case closed:
			return net.ErrClosed
		case dead != nil:
			st.readable.set()
			return dead
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		<-st.readable
	}
}

// Close closes both directions. What was written is still delivered, in the
// background; what arrives is thrown away. Blocked calls return net.ErrClosed.
func (st *Stream) Close() error {
	st.mu.Lock()
	if st.in.closed && st.out.closed {
		st.mu.Unlock()
		return nil
	}
	st.answered = true
	st.in.closed, st.out.closed = true, true
	st.out.fin = true
	st.stopReading(resetStreamCanceled)
	st.in.deadline.stop()
	st.out.deadline.stop()
	st.mu.Unlock()
	st.wake()
	st.sess.queue(st)
	return nil
}

// CloseRead throws away what arrives from now on; the peer's writes fail.
func (st *Stream) CloseRead() error {
	st.mu.Lock()
	st.stopReading(resetStreamCanceled)
	st.mu.Unlock()
	st.wake()
	st.sess.queue(st)
	return nil
}

// CloseWrite sends what was written and then the end: the peer reads io.EOF.
func (st *Stream) CloseWrite() error {
	st.mu.Lock()
	st.answered = true
	st.out.fin = true
	st.mu.Unlock()
	st.wake()
	st.sess.queue(st)
	return nil
}

// Reset aborts both directions at once; the peer's calls fail with the code.
func (st *Stream) Reset(code uint64) error {
	st.mu.Lock()
	st.answered = true
	st.in.closed, st.out.closed = true, true
	st.stopReading(code)
	st.abortWriting(code)
	st.in.deadline.stop()
	st.out.deadline.stop()
	st.mu.Unlock()
	st.wake()
	st.sess.queue(st)
	return nil
}

// SetDeadline sets both deadlines.
func (st *Stream) SetDeadline(t time.Time) error {
	return firstError(st.SetReadDeadline(t), st.SetWriteDeadline(t))
}

// SetReadDeadline makes blocked and future Reads fail with
// os.ErrDeadlineExceeded from t on; zero is never. The stream stays usable.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.in.closed {
		return net.ErrClosed
	}
	st.in.deadline.set(t, st.readable.set)
	return nil
}

// SetWriteDeadline is SetReadDeadline for Write.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.out.closed {
		return net.ErrClosed
	}
	st.out.deadline.set(t, st.writable.set)
	return nil
}

// wake makes all blocked calls look at the state again.
func (st *Stream) wake() {
	st.readable.set()
	st.writable.set()
}

// end lets a stream know that its session has ended.
func (st *Stream) end() {
	st.mu.Lock()
	st.detached = true
	st.in.deadline.stop()
	st.out.deadline.stop()
	st.out.buf.free()
	st.mu.Unlock()
	st.wake()
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
