package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/quic-go/quic-go"
)

// quicTransport is quic-go on loopback: what a direct path of weft, which also
// is encrypted datagrams over UDP, is compared with. Its windows are as large as
// weft's.
type quicTransport struct{}

func (quicTransport) Name() string { return "quic-go" }

func (quicTransport) Start(ctx context.Context) (Pairs, error) {
	cert, err := selfSigned()
	if err != nil {
		return nil, err
	}
	const protocol = "bench"
	cfg := &quic.Config{
		MaxIncomingStreams:         1 << 20,
		MaxStreamReceiveWindow:     16 << 20,
		MaxConnectionReceiveWindow: 32 << 20,
	}
	p := &quicPairs{}
	p.ln, err = quic.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{protocol}, MinVersion: tls.VersionTLS13}, cfg)
	if err != nil {
		return nil, err
	}
	accepted := make(chan error, 1)
	go func() {
		var err error
		p.server, err = p.ln.Accept(ctx)
		accepted <- err
	}()
	p.client, err = quic.DialAddr(ctx, p.ln.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}, MinVersion: tls.VersionTLS13}, cfg) //nolint:gosec // both ends are this process
	if err == nil {
		err = <-accepted
	}
	if err != nil {
		return nil, errors.Join(err, p.ln.Close())
	}
	return p, nil
}

type quicPairs struct {
	ln             *quic.Listener
	client, server *quic.Conn
}

// Open writes a byte, because a QUIC stream exists for the peer only once
// something was sent on it.
func (p *quicPairs) Open(ctx context.Context) (client, server net.Conn, err error) {
	c, err := p.client.OpenStreamSync(ctx)
	if err != nil {
		return nil, nil, err
	}
	if _, err := c.Write([]byte{0}); err != nil {
		return nil, nil, err
	}
	s, err := p.server.AcceptStream(ctx)
	if err != nil {
		return nil, nil, err
	}
	if _, err := s.Read(make([]byte, 1)); err != nil {
		return nil, nil, err
	}
	return quicConn{c, p.client}, quicConn{s, p.server}, nil
}

func (p *quicPairs) Close() error {
	return errors.Join(p.client.CloseWithError(0, ""), p.server.CloseWithError(0, ""), p.ln.Close())
}

// quicConn makes a net.Conn of a stream; CloseWrite is what quic-go calls Close.
type quicConn struct {
	*quic.Stream
	conn *quic.Conn
}

func (c quicConn) CloseWrite() error { return c.Stream.Close() }

func (c quicConn) Close() error {
	c.CancelRead(0)
	return c.Stream.Close()
}

func (c quicConn) LocalAddr() net.Addr  { return c.conn.LocalAddr() }
func (c quicConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }
