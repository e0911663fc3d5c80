package grid

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/overlay"
)

// A session is one conn with a peer, and the calls of both sides on it. Its reader never waits
// for anybody, so that no handler or slow stream holds up other calls.
type session struct {
	g        *Grid
	peer     *Peer
	from     overlay.Peer
	number   uint64
	instance string
	max      int // bytes of a payload that both sides take
	dialled  bool
	conn     net.Conn
	in       *bufio.Reader
	out      outbox
	done     chan struct{}
	heard    atomic.Bool // since the last look
	big      bulk

	mu     sync.Mutex
	err    error
	last   uint64 // number of a call of this side
	calls  map[uint64]*call
	served map[uint64]*inbound
	opened int // streams among those
}

func newSession(p *Peer, h hello, conn net.Conn, in *bufio.Reader, dialled bool) *session {
	s := &session{
		g: p.g, peer: p, from: h.from, number: h.number, instance: h.instance, max: h.max, dialled: dialled, conn: conn, in: in,
		done: make(chan struct{}), calls: make(map[uint64]*call), served: make(map[uint64]*inbound),
	}
	if dialled {
		s.last = 1 // odd numbers
	}
	s.out = outbox{conn: conn, done: s.done, fail: s.fail, kick: make(chan struct{}, 1)}
	s.big.init()
	return s
}

// run serves the session until it ends.
func (s *session) run() {
	var wg sync.WaitGroup
	wg.Go(s.out.run)
	wg.Go(s.watch)
	var f frame
	var err error
	for err == nil {
		if err = f.readFrame(s.in, MaxMessage); err == nil {
			s.heard.Store(true)
			err = s.dispatch(&f)
		}
	}
	if errors.Is(err, io.EOF) {
		err = errEnded
	}
	s.fail(err)
	s.finish()
	wg.Wait()
}

// fail ends the session. What is in flight fails as soon as the reader notices.
func (s *session) fail(cause error) {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = &DisconnectedError{Peer: s.from.ID, Cause: cause}
		close(s.done)
	}
	s.mu.Unlock()
	if first {
		s.big.close()
		_ = s.conn.Close()
	}
}

// finish fails what is in flight.
func (s *session) finish() {
	s.mu.Lock()
	calls, served := s.calls, s.served
	s.calls, s.served = nil, nil
	s.mu.Unlock()
	for _, c := range calls {
		c.end(nil, s.err)
	}
	for _, in := range served {
		in.end(s.err)
	}
	s.peer.ended(s)
}

// watch ends a session with a peer that has gone without a word.
func (s *session) watch() {
	tick := time.NewTicker(s.g.cfg.PingInterval)
	defer tick.Stop()
	for silent := 0; ; {
		select {
		case <-tick.C:
		case <-s.done:
			return
		}
		if s.heard.Swap(false) {
			silent = 0
			continue
		}
		if silent++; silent > deadAfter {
			s.fail(errSilent)
			return
		}
		s.out.put(&frame{kind: kindPing}, false, nil)
	}
}

// dispatch handles a frame.
func (s *session) dispatch(f *frame) error {
	switch f.kind {
	case kindCall, kindOpen:
		return s.request(f)
	case kindAnswer, kindFailure:
		c := s.take(f.id)
		if c == nil {
			return nil // nobody waits any more
		}
		if f.kind == kindFailure {
			c.end(nil, &RemoteError{code: code(f.n), Text: string(f.payload)})
			return nil
		}
		c.end(f.keep(), nil)
	case kindCancel:
		if in := s.serving(f.id); in != nil {
			in.end(known[min(max(code(f.n), codeDeadline), codeCanceled)])
		}
	case kindMessage, kindEnd, kindCredit:
		if st := s.stream(f.id); st != nil {
			return st.receive(f)
		}
	case kindPing:
		s.out.put(&frame{kind: kindPong}, false, nil)
	case kindPong:
	default:
		return fmt.Errorf("%w: kind %d", errMalformed, f.kind)
	}
	return nil
}

// keep returns the payload for as long as anybody likes.
func (f *frame) keep() []byte {
	if f.own {
		return f.payload
	}
	return append([]byte{}, f.payload...)
}

// send sends a frame, on a conn of its own if it is large.
func (s *session) send(ctx context.Context, f *frame, alone bool) error {
	if len(f.payload) > MaxMessage {
		return s.sendBig(ctx, f)
	}
	if !s.out.put(f, alone, ctx.Done()) {
		if err := s.why(); err != nil {
			return err
		}
		return context.Cause(ctx)
	}
	return nil
}

// why returns why the session has ended, nil if it has not.
func (s *session) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// take takes a call of this side out of the table.
func (s *session) take(id uint64) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[id]
	delete(s.calls, id)
	return c
}

func (s *session) serving(id uint64) *inbound {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served[id]
}

// stream returns the stream of a number, nil if it has ended.
func (s *session) stream(id uint64) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.served[id]; in != nil {
		return in.stream
	}
	if c := s.calls[id]; c != nil {
		return c.stream
	}
	return nil
}

// request begins to serve a call.
func (s *session) request(f *frame) error {
	if f.id&1 == 1 == s.dialled {
		return fmt.Errorf("%w: a call with a number of this side", errMalformed)
	}
	h := s.g.handlers[HandlerID(f.n)]
	if f.n > 0xffff || h == nil || (h.call == nil) == (f.kind == kindCall) {
		s.refuse(f.id, codeUnknown, fmt.Sprintf("%v: %d is none for that", ErrUnknownHandler, f.n))
		return nil
	}
	in := newInbound(s, f, h)
	s.mu.Lock()
	_, twice := s.served[f.id]
	busy := len(s.served) >= s.g.cfg.MaxHandlers || in.stream != nil && s.opened >= s.g.cfg.MaxStreams
	if !twice && !busy && s.err == nil {
		s.served[f.id] = in
		if in.stream != nil {
			s.opened++
		}
	}
	s.mu.Unlock()
	switch {
	case twice:
		return fmt.Errorf("%w: two calls with one number", errMalformed)
	case busy:
		s.refuse(f.id, codeOverloaded, "too many handlers or streams run for this peer")
	default:
		s.g.work(in)
	}
	return nil
}

func (s *session) refuse(id uint64, c code, text string) {
	s.out.put(&frame{kind: kindFailure, id: id, n: uint32(c), payload: []byte(text)}, false, nil)
}

// cancel tells the peer that nobody waits for an answer any more, and whether time ran out.
func (s *session) cancel(id uint64, why error) {
	c := codeCanceled
	if errors.Is(why, context.DeadlineExceeded) {
		c = codeDeadline
	}
	s.out.put(&frame{kind: kindCancel, id: id, n: uint32(c)}, false, nil)
}

// answer says how a call has ended, unless nobody wants to know.
func (s *session) answer(in *inbound, payload []byte, err error) {
	s.mu.Lock()
	delete(s.served, in.id)
	if in.stream != nil {
		s.opened--
	}
	alone := len(s.served) == 0
	s.mu.Unlock()
	if errors.Is(in.Err(), context.Canceled) {
		return
	}
	f := frame{kind: kindAnswer, id: in.id, payload: payload}
	if err == nil && len(payload) > s.max {
		err = fmt.Errorf("%w: an answer of %d bytes, where %d is the limit", ErrTooLarge, len(payload), s.max)
	}
	if err != nil {
		text := err.Error()
		f = frame{kind: kindFailure, id: in.id, n: uint32(codeOf(err)), payload: []byte(text[:min(len(text), maxText)])}
	}
	_ = s.send(s.g.ctx, &f, alone) // the caller learns of a session that ends by itself
}
