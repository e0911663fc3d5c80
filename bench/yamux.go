package main

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/hashicorp/yamux"
)

// yamuxTransport is hashicorp/yamux over TLS over TCP: what many programs use,
// and what weft's yamux layer is compared with.
type yamuxTransport struct{}

func (yamuxTransport) Name() string { return "yamux-tls" }

func (yamuxTransport) Start(ctx context.Context) (Pairs, error) {
	below, err := tlsTransport{}.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer below.Close() // its listener; the conn stays
	c, s, err := below.Open(ctx)
	if err != nil {
		return nil, err
	}
	p := &yamuxPairs{}
	cfg := yamux.DefaultConfig()
	cfg.LogOutput = io.Discard
	cfg.MaxStreamWindowSize = 4 << 20 // the layer's default
	p.client, err = yamux.Client(c, cfg)
	if err == nil {
		p.server, err = yamux.Server(s, cfg)
	}
	if err != nil {
		_, _ = c.Close(), s.Close()
		return nil, err
	}
	return p, nil
}

type yamuxPairs struct{ client, server *yamux.Session }

func (p *yamuxPairs) Open(context.Context) (client, server net.Conn, err error) {
	c, err := p.client.OpenStream()
	if err != nil {
		return nil, nil, err
	}
	s, err := p.server.AcceptStream()
	if err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	return yamuxConn{c}, yamuxConn{s}, nil
}

func (p *yamuxPairs) Close() error { return errors.Join(p.client.Close(), p.server.Close()) }

// yamuxConn names the half-close that yamux calls Close.
type yamuxConn struct{ *yamux.Stream }

func (c yamuxConn) CloseWrite() error { return c.Stream.Close() }
