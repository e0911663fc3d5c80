package main

import (
	"context"
	"net"
)

// tcpTransport is bare TCP over loopback: what the kernel can do.
type tcpTransport struct{}

func (tcpTransport) Name() string { return "tcp" }

func (tcpTransport) Serve(ctx context.Context) (Server, error) { return listenTCP(ctx) }

func (tcpTransport) Client(_ context.Context, addr string) (Client, error) {
	return tcpClient(addr), nil
}

// tcpServer accepts TCP conns.
type tcpServer struct{ ln net.Listener }

func listenTCP(ctx context.Context) (tcpServer, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	return tcpServer{ln}, err
}

func (s tcpServer) Addr() string              { return s.ln.Addr().String() }
func (s tcpServer) Accept() (net.Conn, error) { return s.ln.Accept() }
func (s tcpServer) Close() error              { return s.ln.Close() }

// tcpClient dials an address.
type tcpClient string

func (c tcpClient) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", string(c))
}

func (tcpClient) Close() error { return nil }
