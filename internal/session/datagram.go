package session

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/handshake"
	"github.com/weftnet/weft/internal/wire"
)

const (
	// earlyDatagrams and earlyDatagramBytes bound the received datagrams that wait
	// for HandleDatagrams, which is called soon after the handshake.
	earlyDatagrams     = 256
	earlyDatagramBytes = 256 << 10
	// datagramBytes is how many bytes of datagrams wait to be sent.
	datagramBytes = 1 << 20
	// datagramOverhead is what a packet needs besides a datagram's data:
	// header, tag, frame header, and an ACK frame of some ranges.
	datagramOverhead = wire.ShortHeaderLen + handshake.Overhead + 5 + 64

	// layerPrefix begins the datagrams of the layer: where those of
	// applications have their destination port, they have 0.
	layerPrefix = 2
	// layerOutBytes is how many bytes of the layer's datagrams wait to be sent:
	// some packets of the largest size.
	layerOutBytes = 128 << 10
	// layerInQueue and layerInBytes bound the received datagrams that wait for
	// ReceiveLayerDatagram: as much as a layer may have in flight.
	layerInQueue = 16384
	layerInBytes = 16 << 20
)

// Datagrams wait to be sent in two queues, which take turns, so that neither
// the applications nor the layer can keep the other from sending.
const (
	forApps = iota
	forLayer
)

// A datagrams holds datagrams that wait.
type datagrams struct {
	items fifo[[]byte]
	bytes int
}

func (q *datagrams) push(b []byte) {
	q.items.push(b)
	q.bytes += len(b)
}

func (q *datagrams) pop() []byte {
	b := q.items.pop()
	q.bytes -= len(b)
	return b
}

// MaxDatagram is the largest datagram that SendDatagram takes on the present
// path, in bytes.
func (s *Session) MaxDatagram() int { return int(s.maxDatagram.Load()) - datagramOverhead }

// SendDatagram sends b, which may get lost, arrive late, but never twice. It
// does not block: if too much waits to be sent, b is dropped and counted. b is
// not kept. Its first two bytes are not both zero: such datagrams are the
// layer's. The error is a *TooLargeError or why the session has ended.
func (s *Session) SendDatagram(b []byte) error {
	if m := s.MaxDatagram(); len(b) > m {
		return &TooLargeError{Max: m}
	}
	if err := s.death(); err != nil {
		return err
	}
	s.mu.Lock()
	q := &s.dgramOut[forApps]
	if q.bytes+len(b) > datagramBytes {
		s.dgramDropped++
	} else {
		q.push(bytes.Clone(b))
	}
	s.mu.Unlock()
	s.Wake()
	return nil
}

// HandleDatagrams has h called with each datagram of the peer's that is not the
// layer's, also those that came before. It runs in the session's goroutine, must not
// block and does not keep the bytes.
func (s *Session) HandleDatagrams(h func(b []byte)) {
	s.do(func(time.Time) {
		s.onDatagram = h
		early := s.earlyIn
		s.earlyIn = datagrams{}
		for early.items.len() > 0 {
			h(early.pop())
		}
	})
}

// MaxLayerDatagram is the largest datagram that SendLayerDatagram takes on the
// present path, in bytes.
func (s *Session) MaxLayerDatagram() int { return s.MaxDatagram() - layerPrefix }

// SendLayerDatagram sends b to the layer at the other end, unreliably as
// SendDatagram does. If too much waits to be sent, it waits until there is room
// or ctx ends. The error is a *TooLargeError, why the session has ended, or
// ctx's.
func (s *Session) SendLayerDatagram(ctx context.Context, b []byte) error {
	for {
		if m := s.MaxLayerDatagram(); len(b) > m {
			return &TooLargeError{Max: m}
		}
		if err := s.death(); err != nil {
			return err
		}
		if s.pushLayer(b) {
			s.Wake()
			return nil
		}
		select {
		case <-s.layerRoom:
		case <-s.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// pushLayer queues a datagram of the layer if there is room.
func (s *Session) pushLayer(b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.dgramOut[forLayer]
	if q.bytes >= layerOutBytes {
		return false
	}
	own := newDatagram(layerPrefix + len(b))
	own[0], own[1] = 0, 0
	copy(own[layerPrefix:], b)
	q.push(own)
	if q.bytes < layerOutBytes {
		s.layerRoom.set() // for the next who waits
	}
	return true
}

// ReceiveLayerDatagram reads the next datagram that the layer at the other end
// has sent into b, as far as it fits. Without Config.Greeting there are none.
func (s *Session) ReceiveLayerDatagram(ctx context.Context, b []byte) (int, error) {
	d, err := s.layerIn.get(ctx)
	if err != nil {
		return 0, err
	}
	s.layerInUse.Add(-int64(len(d)))
	n := copy(b, d[layerPrefix:])
	freeDatagram(d)
	return n, nil
}

func (s *Session) datagramsDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dgramOut[forApps].items.len()+s.dgramOut[forLayer].items.len() > 0
}

// planDatagrams adds datagrams as far as they fit. One that no longer fits any
// packet of the path is dropped.
func (s *Session) planDatagrams(now time.Time) {
	for b := s.nextDatagram(); b != nil; b = s.nextDatagram() {
		s.inUse(now)
		s.plan.ctrl = wire.AppendDatagram(s.plan.ctrl, b)
		s.plan.eliciting = true
		freeDatagram(b)
	}
}

// nextDatagram returns the next datagram for the packet that is being planned,
// nil if there is none that fits.
func (s *Session) nextDatagram() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.dgramTurn ^= 1
		if s.dgramOut[s.dgramTurn].items.len() == 0 {
			s.dgramTurn ^= 1
		}
		q := &s.dgramOut[s.dgramTurn]
		if q.items.len() == 0 {
			return nil
		}
		b := q.items.peek()
		tooLarge := len(b) > s.mtu-datagramOverhead
		if !tooLarge && len(b)+5 > s.room() && len(s.plan.ctrl) > 0 {
			s.dgramTurn ^= 1 // it is this one's turn in the next packet
			return nil
		}
		q.pop()
		if s.dgramTurn == forLayer && q.bytes < layerOutBytes {
			s.layerRoom.set()
		}
		if !tooLarge {
			return b
		}
		s.dgramDropped++
	}
}

// receiveDatagram handles a DATAGRAM frame.
func (s *Session) receiveDatagram(data []byte) {
	s.inUse(s.lastRecv)
	if !s.takeDatagram(data) {
		s.count.DatagramsDropped++
	}
}

// takeDatagram queues a datagram for whom it is for and reports whether there
// was room.
func (s *Session) takeDatagram(data []byte) bool {
	if len(data) < layerPrefix || data[0] != 0 || data[1] != 0 {
		return s.handleDatagram(data)
	}
	n := int64(len(data))
	if s.ep.cfg.Greeting == nil || s.layerInUse.Load()+n > layerInBytes {
		return false
	}
	own := newDatagram(len(data))
	copy(own, data)
	s.layerInUse.Add(n)
	if s.layerIn.put(own) {
		return true
	}
	s.layerInUse.Add(-n)
	freeDatagram(own)
	return false
}

// handleDatagram hands a datagram to whoever handles them, and keeps it if nobody does
// yet and there is room.
func (s *Session) handleDatagram(data []byte) bool {
	q := &s.earlyIn
	switch {
	case s.onDatagram != nil:
		s.onDatagram(data)
	case q.items.len() >= earlyDatagrams || q.bytes+len(data) > earlyDatagramBytes:
		return false
	default:
		q.push(bytes.Clone(data))
	}
	return true
}

// Buffers of datagrams are used again if their size is near that of the pool's:
// those of smaller ones would pin more than the limits count.
const (
	pooledDatagram = 8<<10 + 128
	minPooled      = 4 << 10
)

var datagramPool = sync.Pool{New: func() any { return new([pooledDatagram]byte) }}

// newDatagram returns a buffer of n bytes with any content.
func newDatagram(n int) []byte {
	if n < minPooled || n > pooledDatagram {
		return make([]byte, n)
	}
	return datagramPool.Get().(*[pooledDatagram]byte)[:n]
}

// freeDatagram takes a buffer back that nobody uses any more.
func freeDatagram(b []byte) {
	if cap(b) == pooledDatagram {
		datagramPool.Put((*[pooledDatagram]byte)(b[:pooledDatagram]))
	}
}

// inUse puts off the end of a session that has no streams.
func (s *Session) inUse(now time.Time) {
	if s.idle() {
		s.idleSince = now
	}
}

// Hold makes the session count as one with a stream, so that it is kept and
// asks for signs of life, until release is called: for a layer whose conns are
// not streams of the session.
func (s *Session) Hold() (release func()) {
	s.hold(1)
	return func() { s.hold(-1) }
}

func (s *Session) hold(n int) {
	s.mu.Lock()
	s.held += n
	s.mu.Unlock()
	s.Wake()
}
