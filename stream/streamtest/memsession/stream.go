package memsession

import (
	"context"
	"io"
	"net"
	"os"
	"time"

	"github.com/weftnet/weft/stream"
)

// A pair is a stream with both its ends. The session's lock guards it.
type pair struct {
	opener   *Session
	id       uint64
	kind     stream.Kind
	frozen   bool          // nothing arrives: the path is out
	answered bool          // the acceptor said yes
	changed  chan struct{} // closed and replaced when something changes
	ways     [2]way        // ways[i] is what side i writes; side 0 is the opener
}

// A way is one direction of a stream.
type way struct {
	buf     []byte
	fin     bool  // the writer said that nothing follows
	closed  bool  // the writer closed: its calls say so
	stop    error // what Write says because the reader went
	reset   error // what Read says because the writer reset
	unread  bool  // the reader went, and its calls say io.EOF
	gone    bool  // the reader closed: its calls say so
	writing bool  // a Write is under way
	readBy  time.Time
	writeBy time.Time
}

func newPair(opener *Session, kind stream.Kind, id uint64) *pair {
	return &pair{opener: opener, id: id, kind: kind, changed: make(chan struct{})}
}

func (p *pair) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// wait gives up the lock until something changes, more happens or t passes.
func (p *pair) wait(t time.Time, more <-chan struct{}) {
	changed := p.changed
	p.opener.mu.Unlock()
	defer p.opener.mu.Lock()
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

// forget lets the session know that both directions are over.
func (p *pair) forget() {
	for i := range p.ways {
		w := &p.ways[i]
		if over := w.reset != nil || w.fin && (len(w.buf) == 0 || w.unread); !over {
			return
		}
	}
	delete(p.opener.open, p)
	delete(p.opener.other.open, p)
}

// A Stream is one end of a stream. It implements [stream.Stream].
type Stream struct {
	*pair
	side int
}

func (st *Stream) in() *way  { return &st.ways[1-st.side] }
func (st *Stream) out() *way { return &st.ways[st.side] }

// change runs f under the lock and wakes everybody.
func (st *Stream) change(f func()) error {
	st.opener.mu.Lock()
	defer st.opener.mu.Unlock()
	f()
	st.forget()
	st.wake()
	return nil
}

// ID returns the stream's number.
func (st *Stream) ID() uint64 { return st.id }

// Kind returns what the opener said the stream is for.
func (st *Stream) Kind() stream.Kind { return st.kind }

// Accept says yes to the opener.
func (st *Stream) Accept() error { return st.change(func() { st.answered = true }) }

// Refuse says no to the opener.
func (st *Stream) Refuse(code stream.Code) error { return st.Reset(code) }

// Accepted waits for the acceptor's answer.
func (st *Stream) Accepted(ctx context.Context) error {
	st.opener.mu.Lock()
	defer st.opener.mu.Unlock()
	for {
		switch {
		case st.answered:
			return nil
		case st.in().reset != nil:
			return st.in().reset
		case st.opener.err != nil:
			return st.opener.err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		st.wait(time.Time{}, ctx.Done())
	}
}

func (st *Stream) Read(b []byte) (int, error) {
	st.opener.mu.Lock()
	defer st.opener.mu.Unlock()
	for in := st.in(); ; st.wait(in.readBy, nil) {
		switch {
		case in.gone:
			return 0, net.ErrClosed
		case passed(in.readBy):
			return 0, os.ErrDeadlineExceeded
		case in.reset != nil:
			return 0, in.reset
		case in.unread:
			return 0, io.EOF
		case len(b) == 0:
			return 0, nil
		case st.frozen && st.opener.err == nil:
		case len(in.buf) > 0:
			n := copy(b, in.buf)
			in.buf = in.buf[n:]
			st.forget()
			st.wake()
			return n, nil
		case in.fin:
			return 0, io.EOF
		case st.opener.err != nil:
			return 0, st.opener.err
		}
	}
}

func (st *Stream) Write(b []byte) (n int, err error) {
	st.opener.mu.Lock()
	defer st.opener.mu.Unlock()
	out := st.out()
	for out.writing {
		st.wait(time.Time{}, nil)
	}
	out.writing = true
	defer func() { out.writing = false; st.wake() }()
	for ; ; st.wait(out.writeBy, nil) {
		switch {
		case out.closed:
			return n, net.ErrClosed
		case passed(out.writeBy):
			return n, os.ErrDeadlineExceeded
		case out.stop != nil:
			return n, out.stop
		case out.fin:
			return n, net.ErrClosed
		case st.opener.err != nil:
			return n, st.opener.err
		}
		if k := min(window-len(out.buf), len(b)-n); k > 0 {
			out.buf = append(out.buf, b[n:n+k]...)
			n += k
			st.wake()
		}
		if n == len(b) {
			return n, nil
		}
	}
}

// stopReading makes the peer's writes fail. What it sent is thrown away.
func (st *Stream) stopReading(code stream.Code) {
	in := st.in()
	in.unread, in.buf = true, nil
	if !in.fin && in.stop == nil {
		in.stop = &stream.ResetError{Code: code, Remote: true}
		in.fin = true
	}
}

// CloseRead throws away what arrives from now on.
func (st *Stream) CloseRead() error {
	return st.change(func() { st.stopReading(stream.CodeCanceled) })
}

// CloseWrite ends what this side writes.
func (st *Stream) CloseWrite() error { return st.change(func() { st.out().fin = true }) }

// Close closes both directions; what was written is delivered.
func (st *Stream) Close() error {
	return st.change(func() {
		st.in().gone, st.out().closed, st.out().fin = true, true, true
		st.stopReading(stream.CodeCanceled)
	})
}

// Reset aborts both directions.
func (st *Stream) Reset(code stream.Code) error {
	return st.change(func() {
		out := st.out()
		if !out.fin && out.reset == nil {
			out.reset = &stream.ResetError{Code: code, Remote: true}
			out.buf = nil
		}
		st.in().gone, out.closed = true, true
		st.stopReading(code)
	})
}

// SetDeadline sets both deadlines.
func (st *Stream) SetDeadline(t time.Time) error {
	return st.change(func() { st.in().readBy, st.out().writeBy = t, t })
}

// SetReadDeadline sets the deadline of Read.
func (st *Stream) SetReadDeadline(t time.Time) error {
	return st.change(func() { st.in().readBy = t })
}

// SetWriteDeadline sets the deadline of Write.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	return st.change(func() { st.out().writeBy = t })
}

func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }
