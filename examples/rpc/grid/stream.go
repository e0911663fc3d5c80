package grid

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// window is how many messages may be on their way to a reader who has not asked for them: with
// MaxMessage it bounds the memory of a stream, to 2 MiB in each direction.
const window = 32

// A Stream carries messages both ways, in order. Send waits until the other side reads. One
// goroutine may send while another one receives.
type Stream struct {
	s       *session
	id      uint64
	in      chan []byte   // room for a window
	credit  chan struct{} // messages that may be sent
	sending latch         // why nothing can be sent any more
	reading latch         // why nothing will come any more
	taken   uint32        // messages since the last credit
	cancel  func()        // caller: gives up the context that Open has made
}

// A latch is an event that happens once, with a reason.
type latch struct {
	once sync.Once
	c    chan struct{}
	err  error
}

func (l *latch) set(err error) { l.once.Do(func() { l.err = err; close(l.c) }) }

func newStream() *Stream {
	st := &Stream{in: make(chan []byte, window), credit: make(chan struct{}, window)}
	st.sending.c, st.reading.c = make(chan struct{}), make(chan struct{})
	for range window {
		st.credit <- struct{}{}
	}
	return st
}

// Open begins a stream with a handler of the peer. The stream ends when the handler returns or ctx
// ends; to give it up before, cancel ctx. Errors are those of Call, here or by Recv.
func (p *Peer) Open(ctx context.Context, req *Request) (*Stream, error) {
	st := newStream()
	ctx, st.cancel = context.WithCancel(ctx)
	s, f, alone, err := p.begin(ctx, kindOpen, req, &call{stream: st})
	if err != nil {
		st.cancel()
		return nil, err
	}
	abort := func() {
		if s.take(f.id) != nil {
			s.cancel(f.id, context.Cause(ctx))
			st.finish(nil, context.Cause(ctx))
		}
	}
	if err := s.send(ctx, &f, alone); err != nil {
		abort()
		return nil, err
	}
	context.AfterFunc(ctx, abort)
	return st, nil
}

// finish ends both directions. What has come can still be read.
func (st *Stream) finish(_ []byte, err error) {
	if err == nil {
		err = io.EOF
	}
	st.reading.set(err)
	st.sending.set(err)
	if st.cancel != nil {
		st.cancel()
	}
}

// Send sends a message, of at most MaxMessage bytes. The error is io.EOF if the handler has returned.
func (st *Stream) Send(b []byte) error {
	if len(b) > MaxMessage {
		return fmt.Errorf("%w: a message of %d bytes, where %d is the limit", ErrTooLarge, len(b), MaxMessage)
	}
	select {
	case <-st.sending.c:
		return st.sending.err
	default:
	}
	select {
	case <-st.credit:
	case <-st.sending.c:
		return st.sending.err
	}
	if !st.s.out.put(&frame{kind: kindMessage, id: st.id, payload: b}, false, st.sending.c) {
		<-st.sending.c // the session ends, if the stream has not
		return st.sending.err
	}
	return nil
}

// CloseSend tells the handler that no more messages come: its Recv gives io.EOF.
func (st *Stream) CloseSend() {
	st.s.out.put(&frame{kind: kindEnd, id: st.id}, false, st.sending.c)
	st.sending.set(io.ErrClosedPipe)
}

// Recv returns the next message. The error is io.EOF if the other side ended the stream well.
func (st *Stream) Recv() ([]byte, error) {
	select {
	case b := <-st.in:
		return st.took(b)
	default:
	}
	select {
	case b := <-st.in:
		return st.took(b)
	case <-st.reading.c:
	}
	select {
	case b := <-st.in: // that came before the end
		return st.took(b)
	default:
		return nil, st.reading.err
	}
}

func (st *Stream) took(b []byte) ([]byte, error) {
	if st.taken++; st.taken == window/2 {
		st.s.out.put(&frame{kind: kindCredit, id: st.id, n: st.taken}, false, st.reading.c)
		st.taken = 0
	}
	return b, nil
}

// receive handles a frame of the stream. It does not wait: credit has made sure that there is room.
func (st *Stream) receive(f *frame) error {
	switch f.kind {
	case kindMessage:
		select {
		case st.in <- f.keep():
		default:
			return fmt.Errorf("%w: more messages than allowed", errMalformed)
		}
	case kindEnd:
		st.reading.set(io.EOF)
	case kindCredit:
		for range min(f.n, window) {
			select {
			case st.credit <- struct{}{}:
			default:
				return fmt.Errorf("%w: more credit than used", errMalformed)
			}
		}
	}
	return nil
}
