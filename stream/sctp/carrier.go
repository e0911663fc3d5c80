package sctp

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/stream"
)

// A carrier is what pion takes for its connection: the session's datagrams.
//
// pion reads in one goroutine, and asks for the next packet when it has done
// with the last. In between, in the same goroutine, the carrier has the mux take
// what that packet brought; so conns need no goroutines of their own.
type carrier struct {
	mux     *mux
	ctx     context.Context // ends when pion or the mux closes the carrier
	cancel  context.CancelFunc
	dropped atomic.Uint64 // malformed packets

	// Of the goroutine in which pion reads.
	joiner joiner
	in     [fragmentHeader + maxPacket + 1]byte // a byte too long for any datagram

	// Of the goroutine in which pion writes.
	out      []byte
	fragment uint32
}

var _ net.Conn = (*carrier)(nil)

func newCarrier(m *mux) *carrier {
	c := &carrier{mux: m}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Read returns the next packet.
func (c *carrier) Read(b []byte) (int, error) {
	select {
	case <-c.mux.ready:
	case <-c.ctx.Done():
		return 0, io.EOF
	}
	c.mux.arrived()
	for {
		n, err := c.mux.sess.ReceiveDatagram(c.ctx, c.in[:])
		if err != nil {
			return 0, io.EOF
		}
		p, err := c.joiner.datagram(c.in[:n])
		if p == nil || err != nil || !c.take(p) {
			if err != nil {
				c.dropped.Add(1)
			}
			continue
		}
		return copy(b, p), nil
	}
}

// take reports whether pion should see a packet that came in.
func (c *carrier) take(packet []byte) bool {
	answer, ok := c.mux.arriving(packet)
	if answer != nil {
		// Without waiting: what pion sends must not hold up what it receives.
		// If there is no room, the peer asks again.
		now, cancel := context.WithCancel(c.ctx)
		cancel()
		_ = c.mux.sess.SendDatagram(now, append([]byte{kindWhole}, answer...))
	}
	if !ok && answer == nil {
		c.dropped.Add(1)
	}
	return ok
}

// Write sends a packet, and waits while the session has no room for it.
func (c *carrier) Write(packet []byte) (int, error) {
	c.mux.leaving(packet)
	for {
		err := c.send(packet)
		switch {
		case err == nil:
			return len(packet), nil
		case c.ctx.Err() != nil, c.mux.sess.Err() != nil:
			return 0, io.ErrClosedPipe
		case len(packet)+wholeHeader > c.mux.sess.MaxDatagram() && len(packet) <= maxPacket:
			continue // the path became narrower just now
		}
		c.dropped.Add(1)
		return len(packet), nil // it is lost, and pion sends it again
	}
}

// send sends a packet as one datagram, or as fragments if the path takes no
// such long ones.
func (c *carrier) send(packet []byte) error {
	largest := c.mux.sess.MaxDatagram()
	if wholeHeader+len(packet) <= largest {
		c.out = append(append(c.out[:0], kindWhole), packet...)
		return c.mux.sess.SendDatagram(c.ctx, c.out)
	}
	size := largest - fragmentHeader
	if size <= 0 || len(packet) > maxPacket || len(packet) > maxFragments*size {
		return errDatagram
	}
	count := (len(packet) + size - 1) / size
	c.fragment++
	for i := range count {
		f := fragment{packet: c.fragment, index: i, count: count, data: packet[i*size : min((i+1)*size, len(packet))]}
		c.out = f.append(c.out[:0])
		if err := c.mux.sess.SendDatagram(c.ctx, c.out); err != nil {
			return err
		}
	}
	return nil
}

// Close releases Read and Write.
func (c *carrier) Close() error {
	c.cancel()
	return nil
}

func (c *carrier) LocalAddr() net.Addr  { return stream.Addr{Node: c.mux.sess.LocalID()} }
func (c *carrier) RemoteAddr() net.Addr { return stream.Addr{Node: c.mux.sess.PeerID()} }

// pion sets deadlines only when it closes, and then calls Close.

func (c *carrier) SetDeadline(time.Time) error      { return nil }
func (c *carrier) SetReadDeadline(time.Time) error  { return nil }
func (c *carrier) SetWriteDeadline(time.Time) error { return nil }
