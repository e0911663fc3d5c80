package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/hashicorp/yamux"
)

// yamuxTransport is hashicorp/yamux over TLS over TCP: what many programs use,
// and what weft's yamux layer is compared with.
type yamuxTransport struct{}

func (yamuxTransport) Name() string { return "yamux-tls" }

func (yamuxTransport) Serve(ctx context.Context) (Server, error) {
	below, err := listenTLS(ctx)
	if err != nil {
		return nil, err
	}
	return &yamuxServer{below: below}, nil
}

func (yamuxTransport) Client(_ context.Context, addr string) (Client, error) {
	below, err := newTLSClient(addr)
	if err != nil {
		return nil, err
	}
	return &yamuxClient{below: below}, nil
}

func yamuxConfig() *yamux.Config {
	cfg := yamux.DefaultConfig()
	cfg.LogOutput = io.Discard
	cfg.MaxStreamWindowSize = 4 << 20 // weft's layer's default
	return cfg
}

// A yamuxSession is the one session of a side. The first call makes it, of the conn
// that below returns. Calls but close come from one goroutine at a time.
type yamuxSession struct {
	mu      sync.Mutex // close looks at session, too
	session *yamux.Session
}

// below returns what a session runs on.
type below func() (io.ReadWriteCloser, error)

func (s *yamuxSession) accept(b below) (net.Conn, error) {
	if err := s.begin(b, yamux.Server); err != nil {
		return nil, err
	}
	c, err := s.session.AcceptStream()
	if err != nil {
		return nil, err
	}
	return yamuxConn{c}, nil
}

func (s *yamuxSession) open(b below) (net.Conn, error) {
	if err := s.begin(b, yamux.Client); err != nil {
		return nil, err
	}
	c, err := s.session.OpenStream()
	if err != nil {
		return nil, err
	}
	return yamuxConn{c}, nil
}

func (s *yamuxSession) begin(b below, side func(io.ReadWriteCloser, *yamux.Config) (*yamux.Session, error)) error {
	if s.session != nil {
		return nil
	}
	c, err := b()
	if err != nil {
		return err
	}
	session, err := side(c, yamuxConfig())
	if err != nil {
		return errors.Join(err, c.Close())
	}
	s.mu.Lock()
	s.session = session
	s.mu.Unlock()
	return nil
}

func (s *yamuxSession) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil {
		return nil
	}
	return s.session.Close()
}

type yamuxServer struct {
	below   Server
	streams yamuxSession
}

func (s *yamuxServer) Addr() string { return s.below.Addr() }

// Accept is called by one goroutine at a time.
func (s *yamuxServer) Accept() (net.Conn, error) {
	return s.streams.accept(func() (io.ReadWriteCloser, error) { return s.below.Accept() })
}

func (s *yamuxServer) Close() error { return errors.Join(s.below.Close(), s.streams.close()) }

type yamuxClient struct {
	below   Client
	streams yamuxSession
}

func (c *yamuxClient) Dial(ctx context.Context) (net.Conn, error) {
	return c.streams.open(func() (io.ReadWriteCloser, error) { return c.below.Dial(ctx) })
}

func (c *yamuxClient) Close() error { return errors.Join(c.streams.close(), c.below.Close()) }

// yamuxConn names the half-close that yamux calls Close.
type yamuxConn struct{ *yamux.Stream }

func (c yamuxConn) CloseWrite() error { return c.Stream.Close() }
