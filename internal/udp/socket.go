package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"github.com/weftnet/weft/internal/frame"
)

// Why frames are dropped.
var (
	// ErrQueueFull means that the flow's or the socket's queue is full.
	ErrQueueFull = errors.New("udp: send queue is full; wait until the flow is ready")
	// ErrClosed means that the socket is closed or drains. It is net.ErrClosed.
	ErrClosed = fmt.Errorf("udp: %w", net.ErrClosed)
	// ErrUnvalidated means that nothing proves yet that the peer is there.
	ErrUnvalidated = errors.New("udp: an address that is not validated gets three times what it sent at most; wait for more from there")
	// ErrNoFamily means that the system cannot send to such an address.
	ErrNoFamily = errors.New("udp: no socket for this kind of address; use one of the other IP version")
	// ErrEmpty means that a datagram has no bytes.
	ErrEmpty = errors.New("udp: a datagram needs at least one byte")
)

// A Waker is told when a flow that was not ready may be. Wake must not block.
type Waker = interface{ Wake() }

// A Socket is a node's UDP socket. All methods are safe for concurrent use.
type Socket struct {
	cfg    Config
	count  counters
	flows  table
	lanes  []*lane
	v4, v6 *lane // the same if one carries both; nil: none does
	down   chan struct{}
	wg     sync.WaitGroup

	close sync.Once
}

// Open opens a socket and begins to read and write. ctx bounds the opening.
func Open(ctx context.Context, cfg Config) (*Socket, error) {
	cfg = cfg.withDefaults()
	if cfg.OnFrame == nil {
		return nil, errors.New("udp: Config.OnFrame is missing")
	}
	conns := []bound{{conn: cfg.Conn, v4: true, v6: true}}
	if cfg.Conn == nil {
		var err error
		if conns, err = listen(ctx, cfg); err != nil {
			return nil, err
		}
	}
	s := &Socket{cfg: cfg, down: make(chan struct{})}
	s.flows.init(cfg.MaxKept, cfg.MaxHeard)
	for _, b := range conns {
		l := newLane(s, b.conn)
		s.lanes = append(s.lanes, l)
		if b.v4 {
			s.v4 = l
		}
		if b.v6 {
			s.v6 = l
		}
	}
	for _, l := range s.lanes {
		s.wg.Go(l.readLoop)
		s.wg.Go(l.writeLoop)
	}
	return s, nil
}

// LocalAddr returns the local address, with an unspecified IP address if the
// socket is for all.
func (s *Socket) LocalAddr() netip.AddrPort { return s.lanes[0].conn.LocalAddr() }

// Flow returns the flow to addr and keeps it: until [Flow.Forget] was called as
// often, frames from addr come on this very flow. What an unvalidated address
// may be sent is the caller's business from now on. Beyond [Config].MaxKept
// kept flows it returns one for sending only, and counts that.
func (s *Socket) Flow(addr netip.AddrPort) *Flow {
	addr = canonical(addr)
	fl, kept := s.flows.keep(addr, func() *Flow { return s.newFlow(addr) })
	if !kept {
		s.count.notKept.Add(1)
	}
	fl.Validated()
	return fl
}

// WriteTo queues a datagram that is not a frame, whose first byte must tell it
// from one (SPEC.md section 3.6); it copies b. It does not wait, and an error
// says why the datagram was dropped. What may be sent to addr is the caller's
// business.
func (s *Socket) WriteTo(b []byte, addr netip.AddrPort) error {
	switch {
	case len(b) == 0:
		return ErrEmpty
	case len(b) > MaxDatagram:
		s.count.tooBig.Add(1)
		return ErrTooBig
	}
	addr = canonical(addr)
	fl := s.flows.find(addr)
	if fl == nil {
		fl = s.newFlow(addr)
	}
	f := frame.New(len(b))
	copy(f.Packet(), b)
	return fl.push(item{f: f, other: true})
}

// Drain takes no more frames, writes what is queued and closes the socket. It
// returns ctx's error if that came first.
func (s *Socket) Drain(ctx context.Context) error {
	defer s.Close()
	for _, l := range s.lanes {
		select {
		case <-l.drain():
		case <-s.down:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Close closes the socket and waits until it calls back no more. What is queued
// is thrown away. It must not be called from a callback.
func (s *Socket) Close() error {
	s.close.Do(func() {
		for _, l := range s.lanes {
			l.shut() // before the writers throw away what is queued for the last time
		}
		close(s.down)
		for _, l := range s.lanes {
			_ = l.conn.Close()
		}
	})
	s.wg.Wait()
	return nil
}

// laneFor returns the lane that carries datagrams to an address, nil if none
// does.
func (s *Socket) laneFor(a netip.Addr) *lane {
	switch {
	case a.Is4():
		return s.v4
	case a.Is6():
		return s.v6
	}
	return nil
}

// canonical brings an address into the form in which addresses are compared:
// IPv4 as such, and zones as numbers.
func canonical(a netip.AddrPort) netip.AddrPort {
	ip := a.Addr().Unmap()
	if z := ip.Zone(); z != "" {
		if _, err := strconv.ParseUint(z, 10, 32); err != nil {
			if ifi, err := net.InterfaceByName(z); err == nil {
				ip = ip.WithZone(strconv.Itoa(ifi.Index))
			}
		}
	}
	return netip.AddrPortFrom(ip, a.Port())
}
