package session

import (
	"net"
	"os"

	"github.com/weftnet/weft/internal/wire"
)

// quickWrite is the most bytes that a goroutine which writes them may send by itself.
const quickWrite = 2 << 10

// Write queues p and blocks while too much waits to be sent already. Errors
// are net.ErrClosed, os.ErrDeadlineExceeded, *ResetError with the code of a
// peer that stopped reading, and *ClosedError. Bytes counted as written are
// delivered even if Close follows at once.
func (st *Stream) Write(p []byte) (n int, err error) {
	st.writing <- struct{}{} // writes do not interleave
	defer func() { <-st.writing }()
	for {
		k, err := st.tryWrite(p[n:])
		n += k
		switch {
		case k == 0:
		case k <= quickWrite:
			st.sess.queueQuick(st)
		default:
			st.sess.queue(st)
		}
		if err != nil || n == len(p) {
			return n, err
		}
		<-st.writable
	}
}

func (st *Stream) tryWrite(p []byte) (n int, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.writeError(); err != nil {
		st.writable.set()
		return 0, err
	}
	if room := sendQueue - st.out.buf.unsent(); room > 0 {
		n = min(room, len(p))
		st.out.buf.write(p[:n])
	}
	return n, nil
}

// writeError is why Write fails.
func (st *Stream) writeError() error {
	switch {
	case st.out.closed, st.out.fin:
		return net.ErrClosed
	case st.out.deadline.passed():
		return os.ErrDeadlineExceeded
	case st.out.reset != nil:
		return st.out.reset
	}
	return st.sess.death()
}

// abortWriting sends RESET_STREAM instead of what is not delivered yet. The
// buffer is freed by the session's goroutine, which may be reading it.
// st.mu is held.
func (st *Stream) abortWriting(code uint64) {
	out := &st.out
	if out.resetting || out.delivered() {
		return
	}
	out.resetting, out.sendReset, out.resetCode = true, true, code
	out.sendYes = false
}

// receiveStop handles STOP_SENDING (RFC 9000 section 19.5).
func (st *Stream) receiveStop(code uint64) {
	st.mu.Lock()
	if !st.out.resetting && !st.out.delivered() {
		st.out.reset = &ResetError{Code: code, Remote: true}
		st.abortWriting(code)
	}
	st.mu.Unlock()
	st.writable.set()
	st.sess.queue(st)
}

// receiveMax handles MAX_STREAM_DATA.
func (st *Stream) receiveMax(limit uint64) {
	st.mu.Lock()
	grew := limit > st.out.limit
	st.out.limit = max(st.out.limit, limit)
	st.mu.Unlock()
	if grew {
		st.sess.queue(st)
	}
}

// receiveAccept handles STREAM_ACCEPT.
func (st *Stream) receiveAccept() {
	st.mu.Lock()
	st.answered = true
	st.mu.Unlock()
	st.readable.set()
}

// acked handles the acknowledgement of one of the stream's frames and reports
// whether the stream is done with.
func (st *Stream) acked(fr *wire.SentFrame) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := &st.out
	switch fr.Type {
	case wire.TypeStream:
		held := out.buf.held()
		out.buf.ack(fr.Off, int(fr.Len))
		st.sess.unacked -= held - out.buf.held()
		if fr.Fin {
			out.finAcked = true
		}
	case wire.TypeResetStream:
		out.resetDone = true
	case wire.TypeStreamOpen:
		out.openDone = true
	}
	return st.done()
}

// lost queues again what a lost packet carried of the stream.
func (st *Stream) lost(fr *wire.SentFrame) {
	st.mu.Lock()
	in, out := &st.in, &st.out
	switch fr.Type {
	case wire.TypeStream:
		if !out.resetting {
			out.buf.lose(fr.Off, int(fr.Len))
			if fr.Fin && !out.finAcked {
				out.finSent = false
			}
		}
	case wire.TypeResetStream:
		out.sendReset = !out.resetDone
	case wire.TypeStreamOpen:
		out.sendOpen = !out.openDone
	case wire.TypeStreamAccept:
		out.sendYes = !out.resetting
	case wire.TypeMaxStreamData:
		in.sendMax = !in.sized
	case wire.TypeStopSending:
		in.sendStop = !in.ended
	}
	st.mu.Unlock()
	st.sess.queue(st)
}

// delivered reports whether the peer has all that was written and the end of it.
// After a reset it never has: what was not delivered then is thrown away, and
// only the acknowledgement of the reset counts.
func (out *sendSide) delivered() bool {
	return !out.resetting && out.finAcked && out.buf.una == out.buf.end
}

// done reports whether nothing of the stream matters any more. st.mu is held.
func (st *Stream) done() bool {
	in, out := &st.in, &st.out
	sent := out.resetDone || out.delivered()
	received := in.ended && (in.stopped || in.reset != nil || in.buf.read == in.final)
	return sent && received && !out.sendYes
}

// flushed reports whether all that was written has been delivered, or never
// will be.
func (st *Stream) flushed() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := &st.out
	if out.resetting {
		return out.resetDone
	}
	return out.buf.una == out.buf.end && (!out.fin || out.finAcked)
}
