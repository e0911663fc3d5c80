package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pion/logging"
	"github.com/pion/sctp"
)

// pionTransport is pion/sctp by itself: two associations on a pipe in memory,
// without encryption, with the packet size of weft's sctp layer, which is
// compared with it.
type pionTransport struct{}

const (
	pionPacket = 8192    // what pion/sctp receives at most
	pionBuffer = 8 << 20 // of an association that receives
	pionQueue  = 256     // packets on the way in the pipe
	// pionMessage is what is written at one time: larger messages are slower,
	// and pion's default forbids those above 64 KiB.
	pionMessage = 32 << 10
)

func (pionTransport) Name() string { return "pion-sctp" }

func (pionTransport) Start(context.Context) (Server, Client, error) {
	a, b := newPacketPipe()
	type result struct {
		assoc *sctp.Association
		err   error
	}
	accepted := make(chan result, 1)
	go func() {
		assoc, err := sctp.ServerWithOptions(pionOptions[sctp.ServerOption](b)...)
		accepted <- result{assoc, err}
	}()
	client, err := sctp.ClientWithOptions(pionOptions[sctp.ClientOption](a)...)
	r := <-accepted
	if err = errors.Join(err, r.err); err != nil {
		return nil, nil, errors.Join(err, a.Close())
	}
	return pionServer{r.assoc}, &pionClient{Association: client}, nil
}

// pionOptions are those of one end, O being a client's or a server's option.
func pionOptions[O any](c net.Conn) (options []O) {
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	for _, o := range []sctp.AssociationOption{
		sctp.WithNetConn(c), sctp.WithLoggerFactory(quiet), sctp.WithMTU(pionPacket),
		sctp.WithMaxReceiveBufferSize(pionBuffer), sctp.WithBlockWrite(true), sctp.WithEnableZeroChecksum(true),
	} {
		options = append(options, any(o).(O))
	}
	return options
}

type pionServer struct{ *sctp.Association }

func (pionServer) Addr() string { return "" }

func (p pionServer) Accept() (net.Conn, error) {
	s, err := p.AcceptStream()
	if err != nil {
		return nil, err
	}
	s.SetDefaultPayloadType(sctp.PayloadTypeWebRTCBinary)
	return &pionConn{Stream: s}, nil
}

type pionClient struct {
	*sctp.Association
	next uint16
}

// Dial opens a stream, of which the other end learns by its first message.
func (p *pionClient) Dial(context.Context) (net.Conn, error) {
	c, err := p.OpenStream(p.next, sctp.PayloadTypeWebRTCBinary)
	if err != nil {
		return nil, err
	}
	p.next++
	return &pionConn{Stream: c}, nil
}

// pionConn cuts writes into messages, keeps the rest of a message that was read
// into too small a buffer, and names the half-close that pion calls Close.
type pionConn struct {
	*sctp.Stream
	buf, rest []byte // the message that was read last, and what is left of it
}

func (c *pionConn) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		var m int
		m, err = c.Stream.Write(b[:min(len(b), pionMessage)])
		b, n = b[m:], n+m
	}
	return n, err
}

func (c *pionConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		if len(b) >= pionMessage {
			return c.Stream.Read(b)
		}
		if c.buf == nil {
			c.buf = make([]byte, pionMessage)
		}
		n, err := c.Stream.Read(c.buf)
		if err != nil {
			return 0, err
		}
		c.rest = c.buf[:n]
	}
	n := copy(b, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.buf, c.rest = nil, nil // an idle conn keeps nothing
	}
	return n, nil
}

func (c *pionConn) CloseWrite() error    { return c.Stream.Close() }
func (c *pionConn) LocalAddr() net.Addr  { return noAddr{} }
func (c *pionConn) RemoteAddr() net.Addr { return noAddr{} }

// A packetPipe is one end of a pipe that keeps packets whole.
type packetPipe struct {
	in, out chan []byte
	closed  chan struct{} // shared by both ends
	close   func()
	free    *sync.Pool
}

func newPacketPipe() (a, b *packetPipe) {
	there, back, closed := make(chan []byte, pionQueue), make(chan []byte, pionQueue), make(chan struct{})
	once := sync.OnceFunc(func() { close(closed) })
	free := &sync.Pool{New: func() any { return new([pionPacket]byte) }}
	a = &packetPipe{in: back, out: there, closed: closed, close: once, free: free}
	b = &packetPipe{in: there, out: back, closed: closed, close: once, free: free}
	return a, b
}

func (p *packetPipe) Read(b []byte) (int, error) {
	select {
	case packet := <-p.in:
		n := copy(b, packet)
		p.free.Put((*[pionPacket]byte)(packet[:pionPacket]))
		return n, nil
	case <-p.closed:
		return 0, net.ErrClosed
	}
}

func (p *packetPipe) Write(b []byte) (int, error) {
	packet := p.free.Get().(*[pionPacket]byte)[:len(b)]
	copy(packet, b)
	select {
	case p.out <- packet:
		return len(b), nil
	case <-p.closed:
		return 0, net.ErrClosed
	}
}

func (p *packetPipe) Close() error                     { p.close(); return nil }
func (p *packetPipe) LocalAddr() net.Addr              { return nil }
func (p *packetPipe) RemoteAddr() net.Addr             { return nil }
func (p *packetPipe) SetDeadline(time.Time) error      { return nil }
func (p *packetPipe) SetReadDeadline(time.Time) error  { return nil }
func (p *packetPipe) SetWriteDeadline(time.Time) error { return nil }
