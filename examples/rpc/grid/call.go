package grid

import (
	"context"
	"fmt"
	"math"
	"time"
)

// A call is one of this side that waits for its answer.
type call struct {
	done    chan struct{} // cap 1
	payload []byte
	err     error
	stream  *Stream // nil for plain calls
}

func newCall() any { return &call{done: make(chan struct{}, 1)} }

// end hands over the answer. Only who has taken the call out of the table may do so.
func (c *call) end(payload []byte, err error) {
	if c.stream != nil {
		c.stream.finish(payload, err)
		return
	}
	c.payload, c.err = payload, err
	c.done <- struct{}{}
}

// Call calls a handler of the peer and returns its answer. The deadline of ctx travels, and
// when ctx ends early the peer's handler is told.
//
// It fails at once if there is no session (ErrDisconnected; see WaitForConnect), and as soon as
// the session ends. A *RemoteError is what the peer says, such as ErrUnknownHandler,
// ErrNotAllowed, ErrOverloaded, ErrPanic, or the handler's own error.
func (p *Peer) Call(ctx context.Context, req *Request) ([]byte, error) {
	c := p.g.waiting.Get().(*call)
	s, f, alone, err := p.begin(ctx, kindCall, req, c)
	if err != nil {
		p.g.waiting.Put(c)
		return nil, err
	}
	if err = s.send(ctx, &f, alone); err == nil {
		select {
		case <-c.done:
			return p.result(c)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if s.take(f.id) == nil { // the answer was faster
		<-c.done
		return p.result(c)
	}
	s.cancel(f.id, err)
	p.g.waiting.Put(c)
	return nil, err
}

func (p *Peer) result(c *call) ([]byte, error) {
	payload, err := c.payload, c.err
	c.payload, c.err = nil, nil
	p.g.waiting.Put(c)
	return payload, err
}

// begin makes the frame of a call, and the call known to the session.
func (p *Peer) begin(ctx context.Context, k kind, req *Request, c *call) (s *session, f frame, alone bool, err error) {
	f = frame{kind: k, n: uint32(req.Handler), token: req.Token, payload: req.Payload}
	if f.ms, err = left(ctx); err != nil {
		return nil, f, false, err
	}
	if s, err = p.live(); err != nil {
		return nil, f, false, err
	}
	limit := s.max
	if k == kindOpen {
		limit = MaxMessage
	}
	switch {
	case len(req.Payload) > limit:
		return nil, f, false, fmt.Errorf("%w: a payload of %d bytes, where %d is the limit", ErrTooLarge, len(req.Payload), limit)
	case len(req.Token) > maxToken:
		return nil, f, false, fmt.Errorf("%w: a token of %d bytes, where %d is the limit", ErrTooLarge, len(req.Token), maxToken)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, f, false, s.err
	}
	alone = len(s.calls) == 0 // then the conn has room, and writing to it does not block
	s.last += 2
	f.id = s.last
	if c.stream != nil {
		c.stream.s, c.stream.id = s, f.id
	}
	s.calls[f.id] = c
	return s, f, alone, nil
}

// left is the time until a deadline in milliseconds, rounded up; 0 if there is none.
func left(ctx context.Context) (uint32, error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	at, ok := ctx.Deadline()
	if !ok {
		return 0, nil
	}
	ms := (time.Until(at) + time.Millisecond - 1) / time.Millisecond
	return uint32(min(max(ms, 1), math.MaxUint32)), nil
}
