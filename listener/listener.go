package listener

import (
	"context"
	"net"
	"sync"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/stream"
)

// defaultBacklog is the backlog of a listener that names none.
const defaultBacklog = 128

// A ListenConfig says how to listen. The zero value is the default.
type ListenConfig struct {
	// Allow says which peers may connect; others are refused. If nil, every
	// member of the network may. A Rule that is not nil and has no field set
	// allows nobody.
	Allow *Rule

	// Backlog is how many conns may wait for Accept. What exceeds it is
	// refused at once, which the dialler sees as such. If zero or negative,
	// 128.
	Backlog int
}

// An OverlayListener is a net.Listener on a port of a node. Multiple goroutines
// may invoke its methods simultaneously. The conns it returns are
// [stream.Conn] values that [PeerOf] knows.
type OverlayListener struct {
	table *Table
	addr  Addr
	allow *Rule

	slots chan struct{}    // one for each conn that waits or is about to
	queue chan stream.Conn // never closed; as long as slots
	done  chan struct{}    // closed by Close
	once  sync.Once
}

var _ net.Listener = (*OverlayListener)(nil)

func newListener(t *Table, addr Addr, cfg ListenConfig) *OverlayListener {
	backlog := cfg.Backlog
	if backlog <= 0 {
		backlog = defaultBacklog
	}
	return &OverlayListener{
		table: t,
		addr:  addr,
		allow: cfg.Allow,
		slots: make(chan struct{}, backlog),
		queue: make(chan stream.Conn, backlog),
		done:  make(chan struct{}),
	}
}

// Accept returns the next conn. The error is a *net.OpError with net.ErrClosed
// once the listener is closed, and nothing else.
func (l *OverlayListener) Accept() (net.Conn, error) {
	return l.AcceptContext(context.Background())
}

// AcceptContext is [OverlayListener.Accept] until ctx ends. A conn that is
// there wins over a ctx that has ended.
func (l *OverlayListener) AcceptContext(ctx context.Context) (net.Conn, error) {
	select {
	case <-l.done:
		return nil, l.opError("accept", net.ErrClosed)
	default:
	}
	select {
	case c := <-l.queue:
		<-l.slots
		return c, nil
	default:
	}
	select {
	case c := <-l.queue:
		<-l.slots
		return c, nil
	case <-l.done:
		return nil, l.opError("accept", net.ErrClosed)
	case <-ctx.Done():
		return nil, l.opError("accept", context.Cause(ctx))
	}
}

// Close frees the port and releases Accept. Conns that wait in the backlog are
// reset, as refused; those that Accept returned stay. A second Close is an
// error, as with package net.
func (l *OverlayListener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		err = nil
		l.table.remove(l)
		close(l.done)
		l.drain()
	})
	return l.opError("close", err)
}

// Addr returns the node and the port, an [Addr].
func (l *OverlayListener) Addr() net.Addr { return l.addr }

// take accepts a request into the backlog, and reports whether there was room.
func (l *OverlayListener) take(r stream.Request, peer *identity.Peer) bool {
	select {
	case l.slots <- struct{}{}:
	default:
		return false
	}
	l.table.accepted.Add(1) // before the answer, so that who has it sees the count
	c, err := r.Accept()
	if err != nil { // the opener or the session is gone
		l.table.accepted.Add(^uint64(0))
		<-l.slots
		return true
	}
	l.queue <- withPeer(c, peer)
	select {
	case <-l.done: // Close may have looked at the queue just before
		l.drain()
	default:
	}
	return true
}

// drain refuses what waits in the backlog of a closed listener.
func (l *OverlayListener) drain() {
	for {
		select {
		case c := <-l.queue:
			<-l.slots
			c.Reset(stream.CodeNoListener)
		default:
			return
		}
	}
}

func (l *OverlayListener) opError(op string, err error) error {
	return stream.OpError(op, nil, l.addr, err)
}
