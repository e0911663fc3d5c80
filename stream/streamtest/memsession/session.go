// Package memsession is a session between two nodes in one process, without a
// network: what tests of reliability layers run over.
package memsession

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/stream"
)

// Node IDs of the two ends of every pair.
const (
	InitiatorID identity.NodeID = 0xa
	AcceptorID  identity.NodeID = 0xb
)

const (
	window      = 256 << 10 // bytes that a stream buffers in each direction
	maxDatagram = 1200      // unless SetMaxDatagram says otherwise
	datagrams   = 64        // that wait to be received before SendDatagram waits
)

// A Session is one end. It implements [stream.Session].
type Session struct {
	local, peer identity.NodeID
	initiator   bool
	other       *Session
	inbox       chan []byte
	done        chan struct{}
	largest     atomic.Int64 // datagram
	held        atomic.Int64
	greeting    []byte

	mu      *sync.Mutex   // guards both ends and all their streams
	changed chan struct{} // closed and replaced when something below changes
	nextID  uint64
	waiting []*Stream // opened by the peer and not accepted
	open    map[*pair]bool
	err     error
}

// New returns the two ends of a session; a is the initiator.
func New() (a, b *Session) {
	a = &Session{local: InitiatorID, peer: AcceptorID, initiator: true}
	b = &Session{local: AcceptorID, peer: InitiatorID, nextID: 1}
	a.other, b.other = b, a
	a.mu = new(sync.Mutex)
	b.mu = a.mu
	for _, s := range []*Session{a, b} {
		s.inbox = make(chan []byte, datagrams)
		s.done = make(chan struct{})
		s.changed = make(chan struct{})
		s.open = map[*pair]bool{}
		s.largest.Store(maxDatagram)
	}
	return a, b
}

// NewFor is New for the sessions of a layer that greets.
func NewFor(layer stream.Greeter) (a, b *Session, err error) {
	a, b = New()
	for _, s := range []*Session{a, b} {
		if s.greeting, err = layer.Greeting(); err != nil {
			return nil, nil, err
		}
	}
	return a, b, nil
}

// Greetings returns what the layer said for either end.
func (s *Session) Greetings() (own, peers []byte) { return s.greeting, s.other.greeting }

// Greet replaces what the layer said for this end, before it is started.
func (s *Session) Greet(b []byte) { s.greeting = b }

// Hold counts who holds the session, for Held.
func (s *Session) Hold() (release func()) {
	s.held.Add(1)
	return func() { s.held.Add(-1) }
}

// Held returns how often the session is held.
func (s *Session) Held() int { return int(s.held.Load()) }

// LocalID and PeerID name the ends.
func (s *Session) LocalID() identity.NodeID { return s.local }

// PeerID names the other end.
func (s *Session) PeerID() identity.NodeID { return s.peer }

// Initiator reports whether s is the first end that New returned.
func (s *Session) Initiator() bool { return s.initiator }

// Done is closed by Kill.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns what Kill was given.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Kill ends both ends of the session with an error, as a lost peer does.
func (s *Session) Kill(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, end := range []*Session{s, s.other} {
		if end.err != nil {
			return
		}
		end.err = err
		close(end.done)
		end.wake()
	}
	for p := range s.open {
		p.wake()
	}
}

func (s *Session) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// OpenStream opens a stream.
func (s *Session) OpenStream(_ context.Context, kind stream.Kind) (stream.Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	p := newPair(s, kind, s.nextID)
	s.nextID += 2
	s.open[p], s.other.open[p] = true, true
	s.other.waiting = append(s.other.waiting, &Stream{pair: p, side: 1})
	s.other.wake()
	return &Stream{pair: p, side: 0}, nil
}

// AcceptStream returns the next stream of the peer.
func (s *Session) AcceptStream(ctx context.Context) (stream.Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case len(s.waiting) > 0:
			st := s.waiting[0]
			s.waiting = s.waiting[1:]
			return st, nil
		case s.err != nil:
			return nil, s.err
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
}

// SendDatagram queues a copy of b for the peer.
func (s *Session) SendDatagram(ctx context.Context, b []byte) error {
	if n := s.MaxDatagram(); len(b) > n {
		return fmt.Errorf("datagram of %d bytes is larger than %d", len(b), n)
	}
	own := append([]byte(nil), b...)
	select {
	case s.other.inbox <- own:
		return nil
	default:
	}
	select {
	case s.other.inbox <- own:
		return nil
	case <-s.done:
		return s.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// MaxDatagram is the largest datagram.
func (s *Session) MaxDatagram() int { return int(s.largest.Load()) }

// SetMaxDatagram makes the path of this end's datagrams wider or narrower.
func (s *Session) SetMaxDatagram(n int) { s.largest.Store(int64(n)) }

// ReceiveDatagram reads the next datagram into b.
func (s *Session) ReceiveDatagram(ctx context.Context, b []byte) (int, error) {
	select {
	case d := <-s.inbox:
		return copy(b, d), nil
	case <-s.done:
		return 0, s.Err()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Streams returns how many streams are not done on both sides.
func (s *Session) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// Freeze stops all data of streams on the way until thaw is called, as an
// outage of the path does.
func (s *Session) Freeze() (thaw func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var frozen []*pair
	for p := range s.open {
		p.frozen = true
		frozen = append(frozen, p)
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range frozen {
			p.frozen = false
			p.wake()
		}
	}
}
