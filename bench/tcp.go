package main

import (
	"context"
	"net"
)

// tcpTransport is bare TCP over loopback: what the kernel can do.
type tcpTransport struct{}

func (tcpTransport) Name() string { return "tcp" }

func (tcpTransport) Start(ctx context.Context) (Pairs, error) { return listenTCP(ctx) }

// tcpPairs opens TCP conns to its own listener.
type tcpPairs struct {
	ln net.Listener
}

func listenTCP(ctx context.Context) (*tcpPairs, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &tcpPairs{ln: ln}, nil
}

// Open needs no goroutine: the kernel completes a dial before the accept.
func (p *tcpPairs) Open(ctx context.Context) (client, server net.Conn, err error) {
	var d net.Dialer
	client, err = d.DialContext(ctx, "tcp", p.ln.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	server, err = p.ln.Accept()
	if err != nil {
		_ = client.Close()
		return nil, nil, err
	}
	return client, server, nil
}

func (p *tcpPairs) Close() error { return p.ln.Close() }
