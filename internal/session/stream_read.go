package session

import (
	"io"
	"net"
	"os"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/wire"
)

// Read copies what has arrived. It returns buffered data before io.EOF and
// before the error of an ended session. Errors are io.EOF after the peer's
// CloseWrite, net.ErrClosed, os.ErrDeadlineExceeded, *ResetError and
// *ClosedError.
func (st *Stream) Read(p []byte) (int, error) {
	for {
		n, wait, err := st.tryRead(p)
		if !wait {
			return n, err
		}
		<-st.readable
	}
}

func (st *Stream) tryRead(p []byte) (n int, wait bool, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	in := &st.in
	if err := st.readError(); err != nil {
		st.readable.set() // for other readers
		return 0, false, err
	}
	if len(p) == 0 {
		return 0, false, nil
	}
	pinned := in.buf.pinned
	if n = in.buf.consume(p); n > 0 {
		st.repin(pinned)
		st.consumed(uint64(n))
		if in.buf.readable() > 0 || in.sized {
			st.readable.set()
		}
		if in.sized && in.buf.read == in.final {
			st.sess.queue(st) // perhaps the last thing that the session waited for
		}
		return n, false, nil
	}
	if in.stopped || in.sized && in.buf.read == in.final {
		st.readable.set()
		return 0, false, io.EOF
	}
	if err := st.sess.death(); err != nil {
		st.readable.set()
		return 0, false, err
	}
	return 0, true, nil
}

// readError is why Read fails although data may be there.
func (st *Stream) readError() error {
	switch {
	case st.in.closed:
		return net.ErrClosed
	case st.in.deadline.passed():
		return os.ErrDeadlineExceeded
	case st.in.reset != nil:
		return st.in.reset
	}
	return nil
}

// consumed gives the peer credit for n bytes that left the buffer, and grows
// the window when a whole one was used up within two round trips (the rule of
// dynamic right-sizing, Fisk and Feng 2001).
func (st *Stream) consumed(n uint64) {
	in := &st.in
	if left := in.limit - in.buf.read; !in.sized && in.window-left >= min(in.window/2, creditStep) {
		if in.buf.read-in.tunedAt >= in.window/2 {
			st.tuneWindow(time.Now())
		}
		in.limit = in.buf.read + in.window
		in.sendMax = true
		st.sess.queue(st)
	}
	st.sess.creditData(n)
}

// tuneWindow is called after half of the window was used up.
func (st *Stream) tuneWindow(now time.Time) {
	in := &st.in
	if rtt := st.sess.rtt(); rtt > 0 && now.Sub(in.tuned) < 2*rtt {
		in.window = min(2*in.window, st.sess.ep.cfg.MaxStreamWindow)
		st.sess.growWindow(in.window)
	}
	in.tuned, in.tunedAt = now, in.buf.read
}

// stopReading throws away the read side. st.mu is held.
func (st *Stream) stopReading(code uint64) {
	in := &st.in
	if in.stopped {
		return
	}
	in.stopped = true
	st.sess.creditData(in.highest - in.buf.read)
	st.unpin()
	if !in.ended {
		in.sendStop, in.stopCode = true, code
	}
}

// repin accounts for memory that the stream's received data hold more or less
// than before. st.mu is held.
func (st *Stream) repin(before int) {
	if n := st.in.buf.pinned - before; n != 0 {
		st.sess.pinned.Add(int64(n))
	}
}

// unpin throws the received data away. st.mu is held.
func (st *Stream) unpin() {
	pinned := st.in.buf.pinned
	st.in.buf.free()
	st.repin(pinned)
}

// maxPinned is how much memory the received data of all streams may hold: of
// data that are in order no more than twice their window.
func (s *Session) maxPinned() int64 {
	return int64(2*s.window.Load() + recvSlack + recvPerStream*s.ep.cfg.MaxStreams)
}

// receive handles a STREAM frame. It runs in the session's goroutine.
func (st *Stream) receive(fr *wire.Frame, f *frame.Frame) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	in := &st.in
	if in.ended {
		return nil
	}
	end := fr.Off + uint64(len(fr.Data))
	if end > in.limit {
		return violation(CodeFlowControl, "stream %d: data beyond the window", st.id)
	}
	if in.sized && (end > in.final || fr.Fin && end != in.final) || fr.Fin && end < in.highest {
		return violation(CodeFinalSize, "stream %d: contradicting final sizes", st.id)
	}
	if end > in.highest {
		if err := st.sess.receivedData(end - in.highest); err != nil {
			return err
		}
		if in.stopped {
			st.sess.creditData(end - in.highest)
		}
		in.highest = end
	}
	if fr.Fin {
		in.sized, in.final = true, end
	}
	before := in.buf.contig
	if !in.stopped && len(fr.Data) > 0 {
		pinned := in.buf.pinned
		err := in.buf.insert(fr.Off, fr.Data, f, int(2*in.window+recvSlack))
		if st.repin(pinned); err == nil && st.sess.pinned.Load() > st.sess.maxPinned() {
			err = errFragmented
		}
		if err != nil {
			return violation(CodeProtocol, "stream %d: %v", st.id, err)
		}
	}
	st.answered = true
	if in.sized && (in.buf.contig == in.final || in.stopped) {
		in.ended = true
	}
	if in.buf.contig > before || in.ended {
		st.readable.set()
	}
	return nil
}

// receiveReset handles RESET_STREAM (RFC 9000 section 19.4).
func (st *Stream) receiveReset(code, final uint64) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	in := &st.in
	if final < in.highest || in.sized && final != in.final || final > in.limit {
		return violation(CodeFinalSize, "stream %d: contradicting final sizes", st.id)
	}
	if in.reset != nil || in.ended {
		return nil
	}
	if err := st.sess.receivedData(final - in.highest); err != nil {
		return err
	}
	st.sess.creditData(final - in.highest)
	if !in.stopped {
		st.sess.creditData(in.highest - in.buf.read)
		st.unpin()
	}
	in.highest, in.final, in.sized, in.ended = final, final, true, true
	in.sendStop, in.sendMax = false, false
	if !in.stopped { // whoever stopped reading reads the end, as ever
		in.reset = &ResetError{Code: code, Remote: true}
	}
	st.readable.set()
	return nil
}
