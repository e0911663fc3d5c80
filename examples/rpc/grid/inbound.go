package grid

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// An inbound is a call of the peer, and its handler's context. It makes a channel and a timer
// only for handlers that ask for Done, which most do not.
type inbound struct {
	s        *session
	h        *handler
	id       uint64
	req      Request
	buf      *[]byte // what req points into
	pool     *sync.Pool
	deadline time.Time
	stream   *Stream // nil for plain calls

	mu    sync.Mutex
	err   error
	done  chan struct{}
	timer *time.Timer
}

var _ context.Context = (*inbound)(nil)

var bufPool = sync.Pool{New: func() any { return new([]byte) }}

func newInbound(s *session, f *frame, h *handler) *inbound {
	in := &inbound{s: s, h: h, id: f.id, buf: f.buf, pool: &bigPool}
	token, payload := f.token, f.payload
	if !f.own {
		in.buf, in.pool = bufPool.Get().(*[]byte), &bufPool
		*in.buf = append(append((*in.buf)[:0], token...), payload...)
		token, payload = (*in.buf)[:len(token):len(token)], (*in.buf)[len(token):]
	}
	in.req = Request{Handler: HandlerID(f.n), Token: token, Payload: payload, From: &s.from}
	if f.ms > 0 {
		in.deadline = time.Now().Add(time.Duration(f.ms) * time.Millisecond)
	}
	if f.kind == kindOpen {
		in.stream = newStream()
		in.stream.s, in.stream.id = s, f.id
	}
	return in
}

// maxIdle is how many goroutines of handlers wait for another call rather than end: their stacks have grown to
// what handlers need, and growing costs as much as the rest of a small call.
const maxIdle = 64

// work serves a call in another goroutine.
func (g *Grid) work(in *inbound) {
	select {
	case g.jobs <- in:
	default:
		g.wg.Add(1) // of a session's reader, so that nobody waits for zero meanwhile
		go g.worker(in)
	}
}

// worker serves calls.
func (g *Grid) worker(in *inbound) {
	defer g.wg.Done()
	for {
		in.serve()
		if g.idle.Add(1) > maxIdle {
			g.idle.Add(-1)
			return
		}
		select {
		case in = <-g.jobs:
			g.idle.Add(-1)
		case <-g.ctx.Done():
			return
		}
	}
}

// serve runs the handler and sends its answer.
func (in *inbound) serve() {
	if in.stream != nil {
		in.Done() // the deadline ends Send and Recv, too
	}
	payload, err := in.run()
	if err == nil || in.Err() == nil {
		in.s.answer(in, payload, err)
	} else {
		in.s.answer(in, nil, in.Err()) // the deadline or a cancel, whatever the handler made of it
	}
	in.end(context.Canceled) // whoever still has the context
	if in.buf != nil {
		in.pool.Put(in.buf)
	}
}

// run calls the handler, if its rule allows.
func (in *inbound) run() (payload []byte, err error) {
	h := in.h
	defer func() {
		if p := recover(); p != nil {
			in.s.g.logf("grid: handler %d (%s) panicked, called by %v: %v\n%s", in.req.Handler, h.name, in.req.From.ID, p, debug.Stack())
			payload, err = nil, fmt.Errorf("%w: %s", ErrPanic, h.name)
		}
	}()
	if h.rule != nil {
		if err := h.rule(&in.req); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrNotAllowed, h.name, err)
		}
	}
	if h.stream != nil {
		return nil, h.stream(in, &in.req, in.stream)
	}
	return h.call(in, &in.req)
}

// end ends the context.
func (in *inbound) end(err error) {
	in.mu.Lock()
	if in.err == nil {
		in.err = err
		if in.done != nil {
			close(in.done)
		}
		if in.timer != nil {
			in.timer.Stop()
		}
	}
	in.mu.Unlock()
	if in.stream != nil {
		in.stream.finish(nil, err)
	}
}

// Deadline, Done, Err and Value are those of context.Context.
func (in *inbound) Deadline() (time.Time, bool) { return in.deadline, !in.deadline.IsZero() }

func (in *inbound) Done() <-chan struct{} {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.done == nil {
		in.done = make(chan struct{})
		if in.err != nil {
			close(in.done)
		} else if !in.deadline.IsZero() {
			in.timer = time.AfterFunc(time.Until(in.deadline), func() { in.end(context.DeadlineExceeded) })
		}
	}
	return in.done
}

func (in *inbound) Err() error {
	in.mu.Lock()
	err := in.err
	in.mu.Unlock()
	if err == nil && !in.deadline.IsZero() && !time.Now().Before(in.deadline) {
		in.end(context.DeadlineExceeded)
		return context.DeadlineExceeded
	}
	return err
}

func (in *inbound) Value(any) any { return nil }
