package udp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// What a [PacketConn] says of a message that it did not write.
var (
	// ErrTooBig means that a datagram exceeds the MTU of the way that it would
	// take, or what UDP carries.
	ErrTooBig = errors.New("udp: the datagram exceeds the MTU; send smaller ones")
	// ErrSegments means that several datagrams cannot be written as one
	// message, but perhaps one by one.
	ErrSegments = errors.New("udp: the system does not cut messages into datagrams; send one by one")
)

// Limits of one call of [PacketConn] by a socket.
const (
	// maxMessages is how many messages are written at once, and maxDatagrams
	// how many datagrams they hold in all: enough that system calls do not
	// matter beside copying.
	maxMessages  = 64
	maxDatagrams = 256
	// readMessages is how many messages are read at once, each of up to
	// readBuffer bytes: that costs a socket a mebibyte of address space.
	readMessages = 16
	readBuffer   = 64 << 10
)

// A PacketConn moves datagrams for a [Socket]: the kernel's socket, or what
// takes its place in tests. ReadBatch is called by one goroutine and WriteBatch
// by one other; Close by any, and it makes both return net.ErrClosed.
type PacketConn interface {
	// ReadBatch waits until there is something to read, and fills ms from the
	// start. It returns how many it has filled, at least one, or an error;
	// all but net.ErrClosed are taken to pass.
	ReadBatch(ms []Incoming) (int, error)
	// WriteBatch writes ms in order and returns how many it has written. With
	// an error it says why the next one was not: ErrTooBig, ErrSegments,
	// net.ErrClosed or another. It may wait, and must not keep the buffers.
	WriteBatch(ms []Outgoing) (int, error)
	// MaxSegments is how many datagrams a message to be written may hold.
	MaxSegments() int
	// LocalAddr returns the local address.
	LocalAddr() netip.AddrPort
	// Close closes the conn.
	Close() error
}

// An Incoming message is one or several datagrams from one address.
type Incoming struct {
	Buf  []byte         // where to read to; set by the reader
	N    int            // length of what was read
	Size int            // of each datagram in it but the last, which may be shorter; 0: it is one
	From netip.AddrPort // never an IPv4 address inside of an IPv6 one
}

// An Outgoing message is one or several datagrams for one address.
type Outgoing struct {
	// Bufs are the datagrams. All but the last have the same length, and the
	// last is not longer. None is empty.
	Bufs [][]byte
	To   netip.AddrPort
}

// A SingleConn moves one datagram at a time, like a *net.UDPConn that is not
// connected.
type SingleConn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	LocalAddr() net.Addr // a *net.UDPAddr
	Close() error
}

// OneByOne returns a PacketConn on c, which it owns: for systems without
// batches, and for simulated networks.
func OneByOne(c SingleConn) PacketConn { return plainConn{c} }

type plainConn struct{ SingleConn }

func (c plainConn) ReadBatch(ms []Incoming) (int, error) {
	m := &ms[0]
	n, from, err := c.ReadFromUDPAddrPort(m.Buf)
	if err != nil {
		return 0, err
	}
	m.N, m.Size, m.From = n, 0, canonical(from)
	return 1, nil
}

func (c plainConn) WriteBatch(ms []Outgoing) (int, error) {
	for i, m := range ms {
		if len(m.Bufs) != 1 {
			return i, ErrSegments
		}
		if _, err := c.WriteToUDPAddrPort(m.Bufs[0], m.To); err != nil {
			return i, writeError(err, 1)
		}
	}
	return len(ms), nil
}

func (c plainConn) MaxSegments() int          { return 1 }
func (c plainConn) LocalAddr() netip.AddrPort { return localAddr(c.SingleConn) }

// localAddr returns the local address of a conn in the canonical form.
func localAddr(c interface{ LocalAddr() net.Addr }) netip.AddrPort {
	a, _ := c.LocalAddr().(*net.UDPAddr)
	if a == nil {
		return netip.AddrPort{}
	}
	return canonical(a.AddrPort())
}

// writeError tells why a message of some datagrams was not written. A system
// that has another word for a datagram that is too big is not understood; then
// path-MTU discovery sees it as lost.
func writeError(err error, datagrams int) error {
	switch {
	case errors.Is(err, syscall.EMSGSIZE):
		return ErrTooBig
	case datagrams > 1 && (errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EINVAL)):
		return ErrSegments
	}
	return err
}
