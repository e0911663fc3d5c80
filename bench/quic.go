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

const quicProtocol = "bench"

func (quicTransport) Name() string { return "quic-go" }

func (quicTransport) Serve(ctx context.Context) (Server, error) {
	udp, err := new(net.ListenConfig).ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s, err := newQUICServer(udp)
	if err != nil {
		return nil, errors.Join(err, udp.Close())
	}
	return s, nil
}

func (quicTransport) Client(ctx context.Context, addr string) (Client, error) {
	udp, err := new(net.ListenConfig).ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, errors.Join(err, udp.Close())
	}
	return newQUICClient(udp, to), nil
}

func quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:       patience, // ironwood loses what is sent before it knows the way
		MaxIncomingStreams:         1 << 20,
		MaxStreamReceiveWindow:     16 << 20,
		MaxConnectionReceiveWindow: 32 << 20,
	}
}

// quicServer accepts the streams of the one conn that somebody makes with it.
type quicServer struct {
	packets net.PacketConn
	on      *quic.Transport
	ln      *quic.Listener
	conn    *quic.Conn
}

// newQUICServer makes a server of packets, which it owns from then on.
func newQUICServer(packets net.PacketConn) (*quicServer, error) {
	cert, err := selfSigned()
	if err != nil {
		return nil, err
	}
	on := &quic.Transport{Conn: packets}
	ln, err := on.Listen(&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{quicProtocol}, MinVersion: tls.VersionTLS13}, quicConfig())
	return &quicServer{packets: packets, on: on, ln: ln}, err
}

func (s *quicServer) Addr() string { return s.packets.LocalAddr().String() }

// Accept is called by one goroutine at a time.
func (s *quicServer) Accept() (_ net.Conn, err error) {
	ctx := context.Background() // Close ends it
	if s.conn == nil {
		if s.conn, err = s.ln.Accept(ctx); err != nil {
			return nil, err
		}
	}
	c, err := s.conn.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	return quicConn{c, s.conn}, nil
}

// Close ends conns, too.
func (s *quicServer) Close() error {
	return errors.Join(s.on.Close(), s.packets.Close())
}

type quicClient struct {
	packets net.PacketConn
	on      *quic.Transport
	to      net.Addr
	conn    *quic.Conn // nil before the first Dial
}

// newQUICClient makes a client of packets, which it owns from then on.
func newQUICClient(packets net.PacketConn, to net.Addr) *quicClient {
	return &quicClient{packets: packets, on: &quic.Transport{Conn: packets}, to: to}
}

// Dial opens a stream, which exists for the peer once something is sent on it.
func (c *quicClient) Dial(ctx context.Context) (_ net.Conn, err error) {
	if c.conn == nil {
		c.conn, err = c.on.Dial(ctx, c.to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{quicProtocol}, MinVersion: tls.VersionTLS13}, quicConfig()) //nolint:gosec // both ends are this program
		if err != nil {
			return nil, err
		}
	}
	s, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return quicConn{s, c.conn}, nil
}

func (c *quicClient) Close() error {
	return errors.Join(c.on.Close(), c.packets.Close())
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
