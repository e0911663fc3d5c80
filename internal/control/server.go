package control

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// The rate at which a relay reads one node's requests, unless SetLimit says
// another. A node that asks faster waits; it costs itself, not others.
const (
	RequestsPerSecond = 50
	RequestBurst      = 100
)

// A Handler answers what one node asks. Its methods are called one at a time.
// An error that is a *[Failed] is sent as it is, any other as an internal
// failure with its text.
type Handler interface {
	Register(ctx context.Context, m *Register) (*Registered, error)
	// Lookup returns no records, without an error, when there is no such node.
	Lookup(ctx context.Context, m *Lookup) ([]Record, error)
	// Observe returns the node's address as the relay sees it.
	Observe(ctx context.Context) (string, error)
	// Revoke takes what is revoked.
	Revoke(ctx context.Context, revocations [][]byte) error
}

// A Server is a relay's side of one control stream.
type Server struct {
	stream  Stream
	handler Handler
	out     *outbox
	failed  atomic.Pointer[error] // of the writer
	dropped atomic.Uint64
	limit   *rate.Limiter
}

// NewServer makes the relay's side of a stream, which it owns from now on.
// Serve runs it.
func NewServer(s Stream, h Handler) *Server {
	return &Server{stream: s, handler: h, out: newOutbox(s), limit: rate.NewLimiter(RequestsPerSecond, RequestBurst)}
}

// SetLimit sets how fast requests are read. Servers may have the same, one after
// the other or at once. It is called before Serve.
func (s *Server) SetLimit(l *rate.Limiter) { s.limit = l }

// Serve answers requests until the stream ends or ctx does, and closes the
// stream. It returns nil when the node closed it.
func (s *Server) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.stream.Close() })
	defer stop()
	s.out.start(func(err error) {
		s.failed.Store(&err)
		closeFor(s.stream, err)
	})
	err := s.serve(ctx)
	if failed := s.failed.Load(); failed != nil {
		err = *failed
	}
	if err == io.EOF {
		err = nil
	}
	s.out.stop()
	closeFor(s.stream, err)
	s.out.wg.Wait()
	return err
}

func (s *Server) serve(ctx context.Context) error {
	for {
		e, err := read(s.stream)
		if err != nil {
			return err
		}
		answer := s.answer(ctx, e)
		if answer == nil {
			continue
		}
		b, err := encode(e.request, answer)
		if err != nil {
			b, err = encode(e.request, &Failed{Code: FailureInternal, Reason: reasonOf(err)})
		}
		if err != nil {
			return err
		}
		if sent, err := s.out.put(ctx, b); err != nil || !sent {
			return err
		}
		if err := s.limit.Wait(ctx); err != nil {
			return err
		}
	}
}

// answer returns what to send back, nil for nothing.
func (s *Server) answer(ctx context.Context, e envelope) Message {
	if e.request == 0 {
		return nil
	}
	var answer Message
	var err error
	switch m := e.message.(type) {
	case *Register:
		answer, err = s.handler.Register(ctx, m)
	case *Lookup:
		answer, err = s.lookup(ctx, m)
	case *Observe:
		var addr string
		addr, err = s.handler.Observe(ctx)
		answer = &Observed{Addr: addr}
	case *Revoke:
		err = s.handler.Revoke(ctx, m.Revocations)
		answer = &Revoked{}
	default:
		err = &Failed{Code: FailureUnsupported, Reason: "this relay does not know the request"}
	}
	if err == nil {
		return answer
	}
	if failed, ok := errors.AsType[*Failed](err); ok {
		return failed
	}
	return &Failed{Code: FailureInternal, Reason: reasonOf(err)}
}

func (s *Server) lookup(ctx context.Context, m *Lookup) (Message, error) {
	records, err := s.handler.Lookup(ctx, m)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return &NotFound{}, nil
	}
	return &Found{Records: records[:min(len(records), MaxRecords)]}, nil
}

// Push sends a message that the node did not ask for: [Throttled],
// [GoingAway] or [Relays]. It never blocks; it drops the message, and counts that, when
// the node is too slow to take it. Any number of goroutines may call it.
func (s *Server) Push(m Message) {
	b, err := encode(0, m)
	if err != nil || !s.out.tryPut(b) {
		s.dropped.Add(1)
	}
}

// Tell is Push, but waits for a node that is slow, until ctx or the stream ends.
// It returns false when the message cannot be sent any more.
func (s *Server) Tell(ctx context.Context, m Message) bool {
	b, err := encode(0, m)
	if err != nil {
		s.dropped.Add(1)
		return false
	}
	sent, err := s.out.put(ctx, b)
	return sent && err == nil
}

// Dropped returns how many messages Push has dropped.
func (s *Server) Dropped() uint64 { return s.dropped.Load() }
