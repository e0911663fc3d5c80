package relay

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/identity"
)

// labelMesh is what the password of mesh's loopback sockets is derived under.
const labelMesh = "mesh password"

// errNoMesh is what is not sent while the relay knows no other.
var errNoMesh = errors.New("relay: no other relay has been met yet")

// A lateMesh is the mesh of a relay, which begins with the first conn to another
// one: mesh takes a socket and goroutines that it never gives back, which a
// relay that works alone need not have.
type lateMesh struct {
	password [32]byte
	log      logrus.FieldLogger
	up       atomic.Pointer[gossip.Transport] // nil before the first Serve

	mu      sync.Mutex // held while the mesh starts
	closed  bool
	self    gossip.Name
	handler gossip.Handler
}

var _ gossip.Transport = (*lateMesh)(nil)

func newLateMesh(n *identity.Network, log logrus.FieldLogger) *lateMesh {
	return &lateMesh{password: n.Derive(labelMesh), log: log}
}

func (m *lateMesh) Start(self gossip.Name, h gossip.Handler) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.self, m.handler = self, h
	return nil
}

func (m *lateMesh) Broadcast(msg []byte) {
	if t := m.up.Load(); t != nil {
		(*t).Broadcast(msg)
	}
}

func (m *lateMesh) Gossip(msg []byte) {
	if t := m.up.Load(); t != nil {
		(*t).Gossip(msg)
	}
}

func (m *lateMesh) Unicast(to gossip.Name, msg []byte) error {
	t := m.up.Load()
	if t == nil {
		return errNoMesh
	}
	return (*t).Unicast(to, msg)
}

func (m *lateMesh) Serve(ctx context.Context, conn net.Conn, peer identity.NodeID) error {
	t, err := m.start()
	if err != nil {
		_ = conn.Close()
		return err
	}
	return t.Serve(ctx, conn, peer)
}

// start starts the mesh, unless it runs.
func (m *lateMesh) start() (gossip.Transport, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.up.Load(); t != nil {
		return *t, nil
	}
	if m.closed {
		return nil, gossip.ErrClosed
	}
	t, err := gossip.NewMesh(gossip.MeshConfig{Password: m.password[:], Logger: m.log})
	if err != nil {
		return nil, err
	}
	if err := t.Start(m.self, m.handler); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	m.up.Store(&t)
	return t, nil
}

func (m *lateMesh) Close() error {
	m.mu.Lock()
	m.closed = true
	t := m.up.Load()
	m.mu.Unlock()
	if t == nil {
		return nil
	}
	return (*t).Close()
}
