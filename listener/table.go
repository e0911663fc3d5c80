package listener

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/stream"
)

// The ports from which port 0 picks one, as RFC 6335 section 6 has them.
const (
	firstFreePort = 49152
	lastFreePort  = 65535
)

// A Table is the port table of a node. Multiple goroutines may invoke its
// methods simultaneously.
type Table struct {
	local identity.NodeID

	mu        sync.Mutex
	closed    bool
	listeners map[uint16]*OverlayListener

	accepted, noListener, backlogFull, notAllowed, shuttingDown atomic.Uint64
}

// Stats counts what became of the requests of all peers.
type Stats struct {
	Accepted     uint64 // given to a listener
	NoListener   uint64 // refused: nobody listened on the port
	BacklogFull  uint64 // refused: the listener's user did not call Accept often enough
	NotAllowed   uint64 // refused: the listener's rule
	ShuttingDown uint64 // refused: the table was closed
}

// NewTable returns an empty table for the node with the ID local.
func NewTable(local identity.NodeID) *Table {
	return &Table{local: local, listeners: make(map[uint16]*OverlayListener)}
}

// Listen opens a port. Port 0 picks a free one from 49152 on. A port that is
// taken is an error, and so is a closed table. Errors are *net.OpError.
func (t *Table) Listen(port uint16, cfg ListenConfig) (*OverlayListener, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	port, err := t.pick(port)
	if err != nil {
		return nil, stream.OpError("listen", nil, Addr{Node: t.local, Port: port}, err)
	}
	l := newListener(t, Addr{Node: t.local, Port: port}, cfg)
	t.listeners[port] = l
	return l, nil
}

// pick returns the port to listen on. t.mu is held.
func (t *Table) pick(port uint16) (uint16, error) {
	if t.closed {
		return port, net.ErrClosed
	}
	if port != 0 {
		if t.listeners[port] != nil {
			return port, fmt.Errorf("port %d is taken by another listener of this node; close it, or take port 0 to get a free one", port)
		}
		return port, nil
	}
	const ports = lastFreePort - firstFreePort + 1
	start := rand.IntN(ports)
	for i := range ports {
		port := uint16(firstFreePort + (start+i)%ports)
		if t.listeners[port] == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("all ports from %d to %d are taken; close listeners", firstFreePort, lastFreePort)
}

// Serve hands the requests of a peer to the listeners, and refuses those that
// nobody wants, until the mux ends or ctx does; it returns why. It never waits
// for a listener's user. The owner of the session calls it once for each mux.
func (t *Table) Serve(ctx context.Context, mux stream.Mux, peer identity.Peer) error {
	for {
		r, err := mux.Accept(ctx)
		if err != nil {
			return err
		}
		t.dispatch(r, &peer)
	}
}

// dispatch answers one request.
func (t *Table) dispatch(r stream.Request, peer *identity.Peer) {
	t.mu.Lock()
	l, closed := t.listeners[r.Port()], t.closed
	t.mu.Unlock()
	switch {
	case closed:
		t.shuttingDown.Add(1)
		r.Refuse(stream.CodeShuttingDown)
	case l == nil:
		t.noListener.Add(1)
		r.Refuse(stream.CodeNoListener)
	case !l.allow.Allows(*peer):
		t.notAllowed.Add(1)
		r.Refuse(stream.CodeNotAllowed)
	case !l.take(r, peer):
		t.backlogFull.Add(1)
		r.Refuse(stream.CodeBacklogFull)
	}
}

// Ports returns the ports that are open, in order.
func (t *Table) Ports() []uint16 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.listeners))
}

// Stats returns the counters.
func (t *Table) Stats() Stats {
	return Stats{
		Accepted:     t.accepted.Load(),
		NoListener:   t.noListener.Load(),
		BacklogFull:  t.backlogFull.Load(),
		NotAllowed:   t.notAllowed.Load(),
		ShuttingDown: t.shuttingDown.Load(),
	}
}

// Close closes all listeners. Later requests are refused because the node is
// shutting down, and Listen fails. Accepted conns stay.
func (t *Table) Close() error {
	t.mu.Lock()
	t.closed = true
	listeners := slices.Collect(maps.Values(t.listeners))
	t.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	return nil
}

// remove frees the port of a listener.
func (t *Table) remove(l *OverlayListener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.listeners, l.addr.Port)
}
