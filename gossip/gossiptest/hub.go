// Package gossiptest carries the messages of a backbone in memory, for tests
// that run in testing/synctest bubbles, where the sockets of the real transport
// cannot be.
package gossiptest

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/identity"
)

// DigestInterval is how often neighbours are told digests.
const DigestInterval = 30 * time.Second

var (
	errNoWay  = errors.New("gossiptest: no way to that relay")
	errClosed = errors.New("gossiptest: the transport is closed")
)

// A Hub joins transports. Two of them are neighbours while both serve a conn
// with each other, or Connect says so; messages find their way over any number
// of neighbours, at once and without loss. The zero value is ready for use.
// Multiple goroutines may invoke its methods simultaneously.
type Hub struct {
	order sync.Mutex // held while a change is told, so that the last is told last

	mu      sync.Mutex
	members map[gossip.Name]*transport
	serving map[edge]int // conns that one end serves
	forced  map[edge]int // by Connect
}

// An edge is a pair of relays, one way.
type edge struct{ from, to gossip.Name }

// Transport returns a new transport that the hub carries for.
func (h *Hub) Transport() gossip.Transport { return &transport{hub: h} }

// Connect makes two relays neighbours until disconnect is called.
func (h *Hub) Connect(a, b identity.NodeID) (disconnect func()) {
	e, back := edge{gossip.NameOf(a), gossip.NameOf(b)}, edge{gossip.NameOf(b), gossip.NameOf(a)}
	h.update(func() { h.add(&h.forced, e, 1); h.add(&h.forced, back, 1) })
	return sync.OnceFunc(func() {
		h.update(func() { h.add(&h.forced, e, -1); h.add(&h.forced, back, -1) })
	})
}

func (h *Hub) add(m *map[edge]int, e edge, n int) {
	if *m == nil {
		*m = make(map[edge]int)
	}
	if (*m)[e] += n; (*m)[e] == 0 {
		delete(*m, e)
	}
}

// near reports whether two relays are neighbours. h.mu is held.
func (h *Hub) near(a, b gossip.Name) bool {
	e, back := edge{a, b}, edge{b, a}
	return h.forced[e] > 0 || h.serving[e] > 0 && h.serving[back] > 0
}

// reach returns who can be reached, by name. h.mu is held.
func (h *Hub) reach(from gossip.Name) map[gossip.Name]*transport {
	found := make(map[gossip.Name]*transport)
	if h.members[from] == nil {
		return found
	}
	for todo := []gossip.Name{from}; len(todo) > 0; todo = todo[1:] {
		for name, t := range h.members {
			if found[name] == nil && name != from && h.near(todo[0], name) {
				found[name] = t
				todo = append(todo, name)
			}
		}
	}
	return found
}

// neighbours returns who is near. h.mu is held.
func (h *Hub) neighbours(of gossip.Name) []*transport {
	var list []*transport
	for name, t := range h.members {
		if name != of && h.near(of, name) {
			list = append(list, t)
		}
	}
	return list
}

// update changes the topology, and tells all whom that concerns.
func (h *Hub) update(change func()) {
	h.order.Lock()
	defer h.order.Unlock()
	h.mu.Lock()
	before := h.topology()
	change()
	after := h.topology()
	h.mu.Unlock()
	for t, now := range after {
		was := before[t]
		if !same(was.reach, now.reach) {
			names := make([]gossip.Name, 0, len(now.reach))
			for name := range now.reach {
				names = append(names, name)
			}
			t.deliver(func(to gossip.Handler) { to.OnPeers(names) })
		}
		for name, n := range now.near {
			if was.near[name] == nil {
				t.sendDigest(n)
			}
		}
	}
}

type surroundings struct{ reach, near map[gossip.Name]*transport }

func (h *Hub) topology() map[*transport]surroundings {
	all := make(map[*transport]surroundings)
	for name, t := range h.members {
		near := make(map[gossip.Name]*transport)
		for _, n := range h.neighbours(name) {
			near[n.name] = n
		}
		all[t] = surroundings{h.reach(name), near}
	}
	return all
}

func same(a, b map[gossip.Name]*transport) bool {
	if len(a) != len(b) {
		return false
	}
	for name, t := range a {
		if b[name] != t {
			return false
		}
	}
	return true
}

// A transport is one relay's end.
type transport struct {
	hub   *Hub
	name  gossip.Name
	timer *time.Timer

	mu      sync.RWMutex // held for reading while the handler is called
	handler gossip.Handler
}

var _ gossip.Transport = (*transport)(nil)

func (t *transport) Start(self gossip.Name, h gossip.Handler) error {
	t.name = self
	t.mu.Lock()
	t.handler = h
	t.mu.Unlock()
	t.timer = time.AfterFunc(DigestInterval, t.gossip)
	t.hub.update(func() {
		if t.hub.members == nil {
			t.hub.members = make(map[gossip.Name]*transport)
		}
		t.hub.members[self] = t
	})
	return nil
}

// deliver calls the handler, unless the transport is closed.
func (t *transport) deliver(f func(gossip.Handler)) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handler == nil {
		return false
	}
	f(t.handler)
	return true
}

// gossip tells the neighbours the digest, again and again.
func (t *transport) gossip() {
	var msg []byte
	t.deliver(func(h gossip.Handler) { msg = h.Digest() })
	if msg != nil {
		t.Gossip(msg)
	}
	t.deliver(func(gossip.Handler) { t.timer.Reset(DigestInterval) })
}

func (t *transport) Gossip(msg []byte) {
	t.hub.mu.Lock()
	near := t.hub.neighbours(t.name)
	t.hub.mu.Unlock()
	for _, n := range near {
		n.deliver(func(h gossip.Handler) { h.OnDigest(msg) })
	}
}

func (t *transport) sendDigest(to *transport) {
	var msg []byte
	t.deliver(func(h gossip.Handler) { msg = h.Digest() })
	if msg != nil {
		to.deliver(func(h gossip.Handler) { h.OnDigest(msg) })
	}
}

func (t *transport) Broadcast(msg []byte) {
	t.hub.mu.Lock()
	all := t.hub.reach(t.name)
	t.hub.mu.Unlock()
	for _, to := range all {
		to.deliver(func(h gossip.Handler) { h.OnBroadcast(t.name, msg) })
	}
}

func (t *transport) Unicast(name gossip.Name, msg []byte) error {
	t.hub.mu.Lock()
	to := t.hub.reach(t.name)[name]
	t.hub.mu.Unlock()
	if to == nil || !to.deliver(func(h gossip.Handler) { h.OnUnicast(t.name, msg) }) {
		return errNoWay
	}
	return nil
}

// Serve makes two relays neighbours as long as the conn lives, on which nothing
// travels.
func (t *transport) Serve(ctx context.Context, conn net.Conn, peer identity.NodeID) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	if !t.deliver(func(gossip.Handler) {}) {
		return errClosed
	}
	e := edge{t.name, gossip.NameOf(peer)}
	t.hub.update(func() { t.hub.add(&t.hub.serving, e, 1) })
	defer t.hub.update(func() { t.hub.add(&t.hub.serving, e, -1) })
	for {
		if _, err := conn.Read(make([]byte, 64)); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
}

func (t *transport) Close() error {
	t.mu.Lock()
	t.handler = nil
	t.mu.Unlock()
	if t.timer == nil { // never started
		return nil
	}
	t.timer.Stop()
	t.hub.update(func() {
		if t.hub.members[t.name] == t {
			delete(t.hub.members, t.name)
		}
	})
	return nil
}
