// Package natudp puts udp.Sockets onto the simulated internet of natnet: its
// conns take the place of the kernel's sockets.
//
//	conn, err := natudp.Listen(host, 0)
//	s, err := udp.Open(ctx, udp.Config{Conn: conn, …})
package natudp

import (
	"errors"
	"net/netip"
	"syscall"

	"github.com/weftnet/weft/internal/simnet/natnet"
	"github.com/weftnet/weft/internal/udp"
)

// A Conn is a simulated socket for a udp.Socket, which owns it. It moves one
// datagram at a time and knows no segments.
type Conn struct{ c *natnet.Conn }

var _ udp.PacketConn = Conn{}

// Listen opens a socket on a port of h, for both families; port 0 is one that
// is free.
func Listen(h *natnet.Host, port uint16) (Conn, error) {
	c, err := h.ListenPacket(port)
	return Conn{c}, err
}

// ReadBatch waits for a datagram and fills the first of ms.
func (c Conn) ReadBatch(ms []udp.Incoming) (int, error) {
	n, from, err := c.c.ReadFromUDPAddrPort(ms[0].Buf)
	if err != nil {
		return 0, err
	}
	ms[0].N, ms[0].Size, ms[0].From = n, 0, from
	return 1, nil
}

// WriteBatch sends ms. It waits only while the host sleeps.
func (c Conn) WriteBatch(ms []udp.Outgoing) (int, error) {
	for i, m := range ms {
		if len(m.Bufs) != 1 {
			return i, udp.ErrSegments
		}
		_, err := c.c.WriteToUDPAddrPort(m.Bufs[0], m.To)
		switch {
		case errors.Is(err, syscall.EMSGSIZE):
			return i, udp.ErrTooBig
		case err != nil:
			return i, err
		}
	}
	return len(ms), nil
}

// MaxSegments is 1.
func (c Conn) MaxSegments() int { return 1 }

// LocalAddr returns [::] and the port.
func (c Conn) LocalAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.IPv6Unspecified(), c.c.Port())
}

// Close closes the socket.
func (c Conn) Close() error { return c.c.Close() }
