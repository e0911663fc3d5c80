package gossip

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/fairq"
	"github.com/weftnet/weft/internal/identity"
)

// Limits of what waits to be sent to one relay.
const (
	queueBytes   = 4 << 20 // of datagrams
	queueCount   = 4096    // of datagrams
	controlCount = 16      // of other messages
	// window is how much may be on its way to one relay. What is on its way
	// fills buffers of the relays between; bounded, it cannot stop them.
	window      = 1 << 20
	windowStall = time.Second      // then what is on its way counts as lost
	senderIdle  = 30 * time.Second // then its goroutine ends
	maxSenders  = 1024
)

// senders send messages to other relays. Each relay has a queue and, while
// there is something to send, a goroutine, so that a slow one delays nobody
// else.
type senders struct {
	ctx    context.Context
	carry  Transport
	failed func(to Name) // a message that is no datagram was not sent
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	to     map[Name]*sender

	sent, sentBytes, drops, noWay, unsent atomic.Uint64
}

// A sender is the queue for one relay. The mutex of senders guards it.
type sender struct {
	to        Name
	wake      chan struct{} // of capacity one
	control   [][]byte
	datagrams fairq.Queue[identity.NodeID, datagram]
	one       []datagram // the last that was taken
	count     int        // of datagrams
	bytes     int

	stream     uint64    // identifies this sender
	offset     uint64    // bytes of datagrams sent
	acked      uint64    // of which this many have arrived, or are lost
	stalled    time.Time // when the window was found full; zero if it is not
	owedStream uint64    // of the other's datagrams
	owedOffset uint64
	owed       bool // that offset is to be told
}

const datagramHeader = 1 + 8 + 8

// A datagram waits to be sent. The sources of datagrams share the queue, and the
// way, fairly.
type datagram struct {
	source identity.NodeID
	msg    []byte // with room for the header
}

func (d datagram) Src() identity.NodeID { return d.source }
func (d datagram) Len() int             { return len(d.msg) - datagramHeader }
func (d datagram) Cap() int             { return len(d.msg) }

func newSenders(ctx context.Context, t Transport, failed func(Name)) *senders {
	return &senders{ctx: ctx, carry: t, failed: failed, to: make(map[Name]*sender)}
}

// with lets f use the sender for a relay, which is made if there is room.
func (s *senders) with(to Name, f func(*sender) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.to[to]
	if q == nil {
		if s.closed || s.ctx.Err() != nil || len(s.to) >= maxSenders {
			return false
		}
		q = &sender{to: to, wake: make(chan struct{}, 1), stream: newNonce()}
		s.to[to] = q
		s.wg.Go(func() { s.run(q) })
	}
	ok := f(q)
	if ok {
		wake(q.wake)
	}
	return ok
}

// datagram queues a copy of p, if need be in place of one of a source that has
// more in the queue.
func (s *senders) datagram(to Name, source identity.NodeID, p []byte) bool {
	d := datagram{source, make([]byte, datagramHeader+len(p))}
	d.msg[0] = kindDatagram
	copy(d.msg[datagramHeader:], p)
	ok := s.with(to, func(q *sender) bool {
		for q.count >= queueCount || q.bytes+d.Cap() > queueBytes {
			old, ok := q.datagrams.PushOut(source, d.Cap())
			if !ok {
				return false
			}
			q.took(old)
			s.drops.Add(1)
		}
		q.datagrams.Push(d)
		q.count++
		q.bytes += d.Cap()
		return true
	})
	if !ok {
		s.drops.Add(1)
	}
	return ok
}

// took counts a datagram that was removed.
func (q *sender) took(d datagram) {
	q.count--
	q.bytes -= d.Cap()
}

// control queues another message; the queue is short, since the core repeats
// what gets no answer.
func (s *senders) control(to Name, msg []byte) {
	ok := s.with(to, func(q *sender) bool {
		if len(q.control) >= controlCount {
			return false
		}
		q.control = append(q.control, msg)
		return true
	})
	if !ok {
		s.unsent.Add(1)
	}
}

// owe makes the other relay learn how much of its datagrams has arrived.
func (s *senders) owe(to Name, stream, offset uint64) {
	s.with(to, func(q *sender) bool {
		q.owed, q.owedStream, q.owedOffset = true, stream, offset
		return true
	})
}

// ack takes what the other relay says has arrived.
func (s *senders) ack(from Name, stream, offset uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.to[from]
	if q == nil || q.stream != stream || offset > q.offset || offset <= q.acked {
		return
	}
	q.acked, q.stalled = offset, time.Time{}
	wake(q.wake)
}

// run is a sender's goroutine.
func (s *senders) run(q *sender) {
	timer := time.NewTimer(senderIdle)
	defer timer.Stop()
	for {
		msg, wait := s.take(q)
		if msg == nil {
			timer.Reset(wait)
			select {
			case <-q.wake:
			case <-timer.C:
				if s.retire(q) {
					return
				}
			case <-s.ctx.Done():
				s.drop(q)
				return
			}
			continue
		}
		err := s.carry.Unicast(q.to, msg)
		isDatagram := msg[0] == kindDatagram
		switch {
		case err == nil && isDatagram:
			s.sent.Add(1)
			s.sentBytes.Add(uint64(len(msg) - datagramHeader))
		case err != nil && isDatagram:
			s.noWay.Add(1)
			s.lost(q, len(msg))
		case err != nil:
			s.unsent.Add(1)
			s.failed(q.to)
		}
	}
}

// take returns what to send next, or how long to wait for it.
func (s *senders) take(q *sender) (msg []byte, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ctx.Err() != nil:
		return nil, senderIdle
	case q.owed:
		q.owed = false
		msg = binary.BigEndian.AppendUint64([]byte{kindAck}, q.owedStream)
		return binary.BigEndian.AppendUint64(msg, q.owedOffset), 0
	case len(q.control) > 0:
		msg, q.control = q.control[0], q.control[1:]
		return msg, 0
	case q.count == 0:
		return nil, senderIdle
	}
	stalled := false
	if flying := q.offset - q.acked; flying > 0 && flying+datagramHeader+MaxDatagram > window {
		now := time.Now()
		if q.stalled.IsZero() {
			q.stalled = now
		}
		if rest := windowStall - now.Sub(q.stalled); rest > 0 {
			return nil, rest
		}
		// Perhaps all was lost, and no acknowledgement will come: one datagram
		// finds out.
		q.stalled, stalled = now, true
	} else {
		q.stalled = time.Time{}
	}
	q.one = q.datagrams.Take(q.one[:0], 1, MaxDatagram)
	d := q.one[0]
	q.took(d)
	size := uint64(len(d.msg))
	if stalled {
		q.acked += min(size, q.offset-q.acked)
	}
	q.offset += size
	binary.BigEndian.PutUint64(d.msg[1:], q.stream)
	binary.BigEndian.PutUint64(d.msg[9:], q.offset)
	return d.msg, 0
}

// lost says that a datagram that was taken is not on its way.
func (s *senders) lost(q *sender, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.acked = min(q.acked+uint64(size), q.offset)
}

// retire ends a sender that has nothing to do; it reports whether that is so.
func (s *senders) retire(q *sender) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.owed || len(q.control)+q.count > 0 {
		return false
	}
	delete(s.to, q.to)
	return true
}

// drop counts what will not be sent any more.
func (s *senders) drop(q *sender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drops.Add(uint64(q.count))
	delete(s.to, q.to)
}

// wait waits for the goroutines; the context has ended.
func (s *senders) wait() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *senders) fill(st *Stats) {
	st.Datagrams, st.DatagramBytes = s.sent.Load(), s.sentBytes.Load()
	st.DatagramDrops, st.DatagramNoWay, st.Unsent = s.drops.Load(), s.noWay.Load(), s.unsent.Load()
}
