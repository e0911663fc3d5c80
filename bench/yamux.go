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

// yamuxServer accepts the streams of the one session that is made on what is
// below.
type yamuxServer struct {
	below   Server
	mu      sync.Mutex
	session *yamux.Session
}

func (s *yamuxServer) Addr() string { return s.below.Addr() }

// Accept is called by one goroutine at a time.
func (s *yamuxServer) Accept() (net.Conn, error) {
	if s.session == nil {
		c, err := s.below.Accept()
		if err != nil {
			return nil, err
		}
		session, err := yamux.Server(c, yamuxConfig())
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		s.mu.Lock() // Close looks, too
		s.session = session
		s.mu.Unlock()
	}
	c, err := s.session.AcceptStream()
	if err != nil {
		return nil, err
	}
	return yamuxConn{c}, nil
}

func (s *yamuxServer) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.below.Close()
	if s.session != nil {
		err = errors.Join(err, s.session.Close())
	}
	return err
}

type yamuxClient struct {
	below   Client
	session *yamux.Session // nil before the first Dial
}

func (c *yamuxClient) Dial(ctx context.Context) (net.Conn, error) {
	if c.session == nil {
		below, err := c.below.Dial(ctx)
		if err != nil {
			return nil, err
		}
		if c.session, err = yamux.Client(below, yamuxConfig()); err != nil {
			return nil, errors.Join(err, below.Close())
		}
	}
	s, err := c.session.OpenStream()
	if err != nil {
		return nil, err
	}
	return yamuxConn{s}, nil
}

func (c *yamuxClient) Close() error {
	var err error
	if c.session != nil {
		err = c.session.Close()
	}
	return errors.Join(err, c.below.Close())
}

// yamuxConn names the half-close that yamux calls Close.
type yamuxConn struct{ *yamux.Stream }

func (c yamuxConn) CloseWrite() error { return c.Stream.Close() }
