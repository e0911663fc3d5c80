package bulk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// DefaultMaxConns is how many conns a server has at one time: each costs a goroutine
	// or two and, while a body is sent, maxChunk bytes.
	DefaultMaxConns = 256
	// headerTime is how long a caller may take to send a header that it has begun.
	headerTime = 30 * time.Second
	// maxDrain is how much of a body that its handler did not want is thrown away for
	// the sake of the next call; callers stop when they have the answer, so that it is
	// what was on the way.
	maxDrain = 64 << 20
)

// A Handler answers calls. The body is what the caller sends, never nil; it is not to
// be read after the answer's body has ended. What the handler returns is the answer's
// header, and its body, nil for none, which is closed if it is an io.Closer. The body
// may depend on what is yet to be read of the request's. ctx ends at the caller's
// deadline, with the server, and with the conn; that is noticed at once only when the
// request's body was read to its end.
type Handler func(ctx context.Context, req json.RawMessage, body io.Reader) (any, io.Reader, error)

// Func makes a Handler of a typed function.
func Func[Req, Resp any](f func(ctx context.Context, req Req, body io.Reader) (Resp, io.Reader, error)) Handler {
	return func(ctx context.Context, value json.RawMessage, body io.Reader) (any, io.Reader, error) {
		var req Req
		if len(value) == 0 {
			value = json.RawMessage("null") // the zero value
		}
		if err := json.Unmarshal(value, &req); err != nil {
			return nil, nil, &Error{Code: Invalid, Text: err.Error()}
		}
		return f(ctx, req, body)
	}
}

// A Server answers calls. Its fields must not be modified once it serves.
type Server struct {
	Handlers map[string]Handler
	// MaxConns is how many conns Serve has at one time; more wait in the listener's
	// backlog. Zero: DefaultMaxConns.
	MaxConns int
	// Log is told of panics in handlers and of conns that break. Nil: nobody is.
	Log func(error)
}

func (s *Server) log(err error) {
	if s.Log != nil {
		s.Log(err)
	}
}

// Serve answers the calls of all conns of a listener until ctx ends, which ends the
// calls, too, or the listener fails.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	limit := s.MaxConns
	if limit <= 0 {
		limit = DefaultMaxConns
	}
	slots := make(chan struct{}, limit)
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		conns.Go(func() {
			defer func() { <-slots }()
			if err := s.ServeConn(ctx, conn); err != nil && ctx.Err() == nil {
				s.log(fmt.Errorf("the conn with %v: %w", conn.RemoteAddr(), err))
			}
		})
	}
}

// Dial is a [Dialer] to this server within the process.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	go func() { _ = s.ServeConn(context.WithoutCancel(ctx), far) }() // ends with near
	return near, nil
}

// ServeConn answers the calls on one conn until the caller ends it, and closes it. It
// returns nil if the caller hung up between two calls.
func (s *Server) ServeConn(ctx context.Context, rw io.ReadWriteCloser) error {
	c := &serverConn{Server: s, w: newWire(rw)}
	stop := context.AfterFunc(ctx, c.w.abort)
	err := c.serve(ctx)
	stop()
	if err != nil {
		c.w.abort()
	}
	_ = rw.Close()
	if c.peeked != nil {
		_ = c.peek()
	}
	return err
}

// A serverConn is the server's side of a conn.
type serverConn struct {
	*Server
	w      *wire
	peeked chan error // what came after the last call; nil: nobody looks
}

func (c *serverConn) serve(ctx context.Context) error {
	c.w.patience(headerTime)
	var hello [len(preface)]byte
	if n, _ := io.ReadFull(c.w.in, hello[:]); n == 0 {
		return nil // it thought better of it
	} else if string(hello[:]) != preface {
		return fmt.Errorf("the caller began with %q and not with %q", hello[:n], preface)
	}
	for {
		c.w.patience(0)
		if err := c.peek(); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		c.w.patience(headerTime)
		var q request
		if err := c.w.header(&q); err != nil {
			return err
		}
		c.w.patience(0)
		if err := c.answer(ctx, q); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w", q.Name, err)
		}
	}
}

// peek waits until there is more to read.
func (c *serverConn) peek() error {
	if c.peeked != nil {
		err := <-c.peeked
		c.peeked = nil
		return err
	}
	_, err := c.w.in.Peek(1)
	return err
}

// watch ends a call whose caller hangs up. The caller has nothing more to say before it
// has the answer.
func (c *serverConn) watch(cancel context.CancelCauseFunc) {
	peeked := make(chan error, 1)
	c.peeked = peeked
	go func() {
		_, err := c.w.in.Peek(1)
		if err != nil {
			cancel(fmt.Errorf("the caller is gone: %w", err))
		}
		peeked <- err
	}()
}

// answer answers one call. Errors are those of the conn, io.EOF if there is none to tell
// of.
func (c *serverConn) answer(ctx context.Context, q request) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if q.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Duration(min(q.Timeout, int64(100*365*24*time.Hour/time.Millisecond)))*time.Millisecond)
		defer stop()
	}
	body := &bodyReader{w: c.w}
	body.ended = func(err error) {
		if body.inSync() {
			c.watch(cancel)
		} else {
			cancel(err)
		}
	}
	if !q.Body {
		body.end(io.EOF)
	}
	value, out, err := c.handle(ctx, q, body)
	if closer, ok := out.(io.Closer); ok {
		defer closer.Close()
	}
	if err := c.respond(value, out, err); err != nil {
		return err
	}
	if !body.inSync() {
		c.w.patience(headerTime)
		if _, err := io.CopyN(io.Discard, body, maxDrain); err == nil {
			return fmt.Errorf("the caller sent %d bytes and more that nobody reads", maxDrain)
		}
		if !body.inSync() {
			return io.EOF // it has the answer and hung up
		}
	}
	return nil
}

// handle runs the handler.
func (c *serverConn) handle(ctx context.Context, q request, body io.Reader) (value any, out io.Reader, err error) {
	h := c.Handlers[q.Name]
	if h == nil {
		names := strings.Join(slices.Sorted(maps.Keys(c.Handlers)), ", ")
		return nil, nil, &Error{Code: Unknown, Text: fmt.Sprintf("there is no handler %q here, only %s", q.Name, names)}
	}
	defer c.caught(&err)
	return h(ctx, q.Value, body)
}

// caught makes an error of a panic.
func (c *serverConn) caught(err *error) {
	if v := recover(); v != nil {
		c.log(fmt.Errorf("a handler panicked: %v\n%s", v, debug.Stack()))
		*err = &Error{Code: Panicked, Text: "the handler panicked; the server's log says how"}
	}
}

// respond sends an answer.
func (c *serverConn) respond(value any, out io.Reader, err error) error {
	p := response{Body: out != nil}
	if err == nil {
		p.Value, err = json.Marshal(value)
	}
	var frame []byte
	if err == nil {
		frame, err = encode("", kindHeader, p)
	}
	if err != nil {
		code := Failed
		if errors.Is(err, context.DeadlineExceeded) {
			code = TimedOut
		}
		out = nil
		if frame, err = encode("", kindHeader, response{Error: tell(err, code)}); err != nil {
			return err
		}
	}
	if _, err := c.w.rw.Write(frame); err != nil || out == nil {
		return err
	}
	failed, err := c.w.send(careful{c, out}, func() bool { return false })
	if failed != nil && err == nil {
		c.log(fmt.Errorf("the body of an answer: %w", failed))
	}
	return err
}

// careful is an answer's body whose panics are errors.
type careful struct {
	c    *serverConn
	body io.Reader
}

func (r careful) Read(p []byte) (n int, err error) {
	defer r.c.caught(&err)
	return r.body.Read(p)
}
