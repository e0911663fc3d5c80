// Package socks is a proxy for programs that choose their targets themselves: SOCKS 5
// (RFC 1928, RFC 1929) and HTTP (RFC 9110, sections 7.3 and 9.3.6) on one port, told
// apart by the first byte. Where the targets are reached, and which of them are allowed,
// is a function that the user gives.
package socks

import (
	"bufio"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/internal/httpconn"
)

const (
	// headTimeout is how long a client has for everything before the target is known,
	// and for the head of each HTTP request.
	headTimeout = 30 * time.Second
	// idleTimeout is how long an HTTP client may keep a conn that it does not use.
	idleTimeout = 2 * time.Minute
	// maxHead is how long the head of a request may be, in bytes.
	maxHead = 64 << 10
	// maxIdle is how many conns to targets wait for the next HTTP request.
	maxIdle = 64
	// idleTarget is for how long.
	idleTarget = time.Minute
	// maxLogged is how much of what a client says is logged.
	maxLogged = 256
)

// ErrNotAllowed is what Config.Dial returns, or wraps, for a target that is not allowed.
var ErrNotAllowed = errors.New("the target is not allowed")

// A Config is how to be a proxy. It must not be modified after New has it.
type Config struct {
	// Dial reaches a target, for as long as its context allows. It must be set. The
	// host is a name or an address, never empty.
	Dial func(ctx context.Context, host string, port uint16) (net.Conn, error)
	// DialTimeout bounds a dial. Zero: 30 s.
	DialTimeout time.Duration
	// User and Password are what clients have to say. Both empty: nothing.
	User, Password string
	// Suffix is the domain that browsers are told to use the proxy for, such as
	// ".weft", by the page /proxy.pac. Empty: there is no such page.
	Suffix string
	// Logger must be set.
	Logger logrus.FieldLogger
	// Count counts bytes: A is the client's side. Nil: they are not counted.
	Count *join.Counters
	// Failed is called when a target could not be reached or was not allowed. Nil:
	// nobody is told.
	Failed func()
}

// A Server is a proxy. Multiple goroutines may call its methods.
type Server struct {
	cfg   Config
	http  *http.Server
	conns *handed
	done  chan struct{}
	trans *http.Transport
}

// New returns a proxy that has to be closed.
func New(cfg Config) *Server {
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 30 * time.Second
	}
	if cfg.Count == nil {
		cfg.Count = new(join.Counters)
	}
	if cfg.Failed == nil {
		cfg.Failed = func() {}
	}
	s := &Server{cfg: cfg, conns: newHanded(), done: make(chan struct{})}
	s.trans = &http.Transport{
		DialContext:           s.dialHTTP,
		MaxIdleConns:          maxIdle,
		IdleConnTimeout:       idleTarget,
		DisableCompression:    true, // the answer is passed on as it is
		ResponseHeaderTimeout: 0,    // the client decides how long it waits
	}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHead,
		ErrorLog:          s.errorLog(),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if h, ok := c.(*handedConn); ok {
				return context.WithValue(h.ctx, connKey{}, h)
			}
			return ctx
		},
	}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(s.conns)
	}()
	return s
}

type connKey struct{}

// Close ends what HTTP clients are doing, and waits for nothing else: conns given to
// ServeConn end with their contexts.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	s.trans.CloseIdleConnections()
	return err
}

// ServeConn serves one client until it has gone, and closes the conn, also when
// ctx ends.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetReadDeadline(time.Now().Add(headTimeout))
	br := bufio.NewReaderSize(conn, 512) // SOCKS 5 never has more before the target is reached
	first, err := br.Peek(1)
	if err != nil {
		_ = conn.Close()
		return
	}
	if first[0] != version5 {
		rest, _ := br.Peek(br.Buffered())
		s.conns.serve(ctx, httpconn.Unread(conn, rest))
		return
	}
	target, err := s.socks(ctx, conn, br)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			s.cfg.Logger.WithError(err).WithField("client", conn.RemoteAddr()).Info("a SOCKS client gets nothing")
		}
		_ = conn.Close()
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	rest, _ := br.Peek(br.Buffered())
	s.join(ctx, httpconn.Unread(conn, rest), target)
}

// join carries bytes between a client and its target until both have ended.
func (s *Server) join(ctx context.Context, client, target net.Conn) {
	if err := join.Conns(ctx, client, target, s.cfg.Count); err != nil {
		s.cfg.Logger.WithField("why", join.Why(err)).Debug("a conn through the proxy has ended in disorder")
	}
}

// dial reaches a target, and says so in the log if it does not.
func (s *Server) dial(ctx context.Context, host string, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.DialTimeout)
	defer cancel()
	conn, err := s.cfg.Dial(ctx, host, port)
	if err != nil {
		s.cfg.Failed()
		s.cfg.Logger.WithError(err).WithField("target", fmt.Sprintf("%.*q:%d", maxLogged, host, port)).Info("the target of a client is not reached")
	}
	return conn, err
}

// authentic reports whether a client may use the proxy.
func (s *Server) authentic(user, password string) bool {
	u := subtle.ConstantTimeCompare([]byte(user), []byte(s.cfg.User))
	p := subtle.ConstantTimeCompare([]byte(password), []byte(s.cfg.Password))
	return u&p == 1
}

// secret reports whether clients have to say a password.
func (s *Server) secret() bool { return s.cfg.User != "" || s.cfg.Password != "" }

// A handed is the listener of an HTTP server that gets its conns from elsewhere.
type handed struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHanded() *handed { return &handed{conns: make(chan net.Conn), closed: make(chan struct{})} }

// serve has a conn served, and returns when it is closed.
func (h *handed) serve(ctx context.Context, c net.Conn) {
	conn := &handedConn{Conn: c, ctx: ctx, gone: make(chan struct{})}
	select {
	case h.conns <- conn:
		<-conn.gone
	case <-h.closed:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handed) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *handed) Addr() net.Addr { return handedAddr{} }

type handedAddr struct{}

func (handedAddr) Network() string { return "handed" }
func (handedAddr) String() string  { return "proxy" }

// A handedConn tells when it is closed.
type handedConn struct {
	net.Conn
	ctx  context.Context
	gone chan struct{}
	once sync.Once
}

// Close implements net.Conn.
func (c *handedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.gone) })
	return err
}

// NetConn returns the conn below.
func (c *handedConn) NetConn() net.Conn { return c.Conn }
