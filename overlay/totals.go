package overlay

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/weftnet/weft/internal/session"
)

// SessionTotals count what all sessions of a node have done, those that have ended
// included: unlike the sums over Status.Peers they never go down.
type SessionTotals struct {
	Sessions                     uint64 // that were established
	PacketsSent, PacketsReceived uint64
	PacketsLost                  uint64 // that this side sent
	BytesSent, BytesReceived     uint64 // with all overhead
}

func (t *SessionTotals) add(st *session.Stats) {
	t.PacketsSent += st.PacketsSent
	t.PacketsReceived += st.PacketsReceived
	t.PacketsLost += st.PacketsLost
	t.BytesSent += st.BytesSent
	t.BytesReceived += st.BytesReceived
}

// sessionTotals sums over all sessions. Each is either still in n.sessions or in
// n.past, which change together, and so the sums only grow.
func (n *Node) sessionTotals() SessionTotals {
	n.mu.Lock()
	t := n.past
	open := make([]*session.Session, 0, len(n.sessions))
	for s := range n.sessions {
		open = append(open, s)
	}
	n.mu.Unlock()
	for _, s := range open {
		st := s.Stats()
		t.add(&st)
	}
	return t
}

// DialTotals count the dials of a node, by [Node.Dial], [Node.DialContext] and
// [Dialer], by how they ended. Each is in one of the fields.
type DialTotals struct {
	Connected   uint64
	UnknownNode uint64 // [ErrUnknownNode]
	NoRelay     uint64 // [ErrNoRelay]: none could be reached, or none serves this node
	NotAllowed  uint64 // [ErrNotAllowed] by the peer
	Refused     uint64 // [ErrRefused] for another reason
	Unanswered  uint64 // time ran out, or [ErrPeerLost]
	Canceled    uint64 // the caller's context was cancelled
	Failed      uint64 // anything else: no address, ErrAmbiguousName, ErrWrongPeer, ErrLayerMismatch, a closed node
}

// A dialCount is DialTotals that several goroutines count in. It is no part of what
// a dial waits for: the lock is held for an addition.
type dialCount struct {
	mu sync.Mutex
	n  DialTotals
}

// count counts a dial that ended with err.
func (d *dialCount) count(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*d.n.field(err)++
}

func (d *dialCount) totals() DialTotals {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// field returns the counter for a dial that ended with err.
func (t *DialTotals) field(err error) *uint64 {
	if failed, ok := errors.AsType[*DialError](err); ok {
		err = failed.Attempts[len(failed.Attempts)-1].Err // the one that decided
	}
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case err == nil:
		return &t.Connected
	case errors.Is(err, ErrNoRelay):
		return &t.NoRelay
	case errors.Is(err, ErrUnknownNode):
		return &t.UnknownNode
	case errors.Is(err, ErrNotAllowed):
		return &t.NotAllowed
	case errors.Is(err, ErrRefused):
		return &t.Refused
	case errors.Is(err, context.Canceled):
		return &t.Canceled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrPeerLost), timeout != nil && timeout.Timeout():
		return &t.Unanswered
	}
	return &t.Failed
}
