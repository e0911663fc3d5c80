// Package lantest is a simulated LAN that carries multicast DNS and nothing
// else, for tests in testing/synctest bubbles. Packets arrive at once.
package lantest

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/weftnet/weft/internal/lan"
)

// inboxLen is how many packets wait to be read by a conn; further ones are lost,
// as in the kernel.
const inboxLen = 4096

// A Segment is a LAN. The zero value is ready to use. All methods of it and of
// its conns are safe for concurrent use.
type Segment struct {
	// Tap is called with each packet that is sent, if not nil. Set it before
	// the first conn.
	Tap func(from netip.Addr, b []byte)

	mu    sync.Mutex
	conns []*Conn
}

// A Conn is a host's place on a segment, a lan.PacketConn with one link.
type Conn struct {
	seg   *Segment
	inbox chan packet
	done  chan struct{}

	// Guarded by seg.mu.
	addrs  []netip.Prefix
	closed bool
	cut    bool
}

type packet struct {
	b []byte
	p lan.Packet
}

// linkIndex is the number of each conn's link.
const linkIndex = 1

// Join returns a conn with addresses of one family. Packets come from the first.
func (s *Segment) Join(addrs ...netip.Prefix) *Conn {
	c := &Conn{seg: s, inbox: make(chan packet, inboxLen), done: make(chan struct{}), addrs: addrs}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c)
	return c
}

// Inject delivers a packet to all conns, as if somebody at an address had sent
// it.
func (s *Segment) Inject(b []byte, from netip.AddrPort, hops int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliverLocked(b, from, hops)
}

func (s *Segment) deliverLocked(b []byte, from netip.AddrPort, hops int) {
	if s.Tap != nil {
		s.Tap(from.Addr(), bytes.Clone(b))
	}
	for _, c := range s.conns {
		if c.closed || c.cut {
			continue
		}
		select {
		case c.inbox <- packet{bytes.Clone(b), lan.Packet{N: len(b), From: from, Link: linkIndex, Hops: hops}}:
		default:
		}
	}
}

// Cut takes the conn off the segment, or puts it there again, without telling
// anybody.
func (c *Conn) Cut(cut bool) {
	c.seg.mu.Lock()
	defer c.seg.mu.Unlock()
	c.cut = cut
}

// SetAddrs changes the addresses; none: the interface is down.
func (c *Conn) SetAddrs(addrs ...netip.Prefix) {
	c.seg.mu.Lock()
	defer c.seg.mu.Unlock()
	c.addrs = addrs
}

// ReadPacket implements lan.PacketConn.
func (c *Conn) ReadPacket(b []byte) (lan.Packet, error) {
	select {
	case p := <-c.inbox:
		p.p.N = copy(b, p.b)
		return p.p, nil
	case <-c.done:
		return lan.Packet{}, net.ErrClosed
	}
}

// WritePacket implements lan.PacketConn. The sender hears the packet too.
func (c *Conn) WritePacket(b []byte, link int) error {
	c.seg.mu.Lock()
	defer c.seg.mu.Unlock()
	switch {
	case c.closed:
		return net.ErrClosed
	case link != linkIndex || len(c.addrs) == 0:
		return syscall.ENETUNREACH
	case c.cut:
		return nil
	}
	c.seg.deliverLocked(b, netip.AddrPortFrom(c.addrs[0].Addr(), lan.Port), 255)
	return nil
}

// Links implements lan.PacketConn.
func (c *Conn) Links() ([]lan.Link, error) {
	c.seg.mu.Lock()
	defer c.seg.mu.Unlock()
	switch {
	case c.closed:
		return nil, net.ErrClosed
	case len(c.addrs) == 0:
		return nil, nil
	}
	return []lan.Link{{Index: linkIndex, Addrs: slices.Clone(c.addrs)}}, nil
}

// Close implements lan.PacketConn.
func (c *Conn) Close() error {
	c.seg.mu.Lock()
	defer c.seg.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	close(c.done)
	c.seg.conns = slices.DeleteFunc(c.seg.conns, func(o *Conn) bool { return o == c })
	return nil
}
