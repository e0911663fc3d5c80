package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weaveworks/mesh"
	"github.com/weftnet/weft/internal/identity"
)

// DefaultMaxConns is how many other relays one has a conn with at most.
const DefaultMaxConns = 128

const (
	loopback     = "127.0.0.1"
	meshChannel  = "weft"                 // of mesh's gossip channels, the only one of ours
	meshVersion  = 2                      // of mesh's protocol; version 1 sends in clear
	bindTries    = 5                      // for a free port
	acceptWithin = 10 * time.Second       // until mesh dials when it is told to
	lingerFor    = 100 * time.Millisecond // for the last broadcast
)

// MeshConfig configures [NewMesh].
type MeshConfig struct {
	// Password keeps other programs on this machine from talking to the
	// router's loopback socket. All relays of a network have the same, such as
	// identity.Network.Derive gives it. Required.
	Password []byte
	// MaxConns is how many relays this one has a conn with. Zero: 128.
	MaxConns int
	// Logger takes what mesh logs, at debug level. Nil: silent.
	Logger logrus.FieldLogger
}

// NewMesh returns a transport on github.com/weaveworks/mesh. Each has a router,
// which listens on a loopback socket of its own, because mesh insists on dialling
// TCP itself. What Serve is given is spliced onto conns with that socket; so a
// peer is authenticated and encrypted before mesh sees its first byte, and
// mesh dials nobody that it was not told to.
//
// mesh cannot be stopped. After Close its router keeps five goroutines and the
// loopback socket, on which it refuses everybody, until the process ends: 5
// goroutines, 1 file descriptor and about 60 KiB. Whoever starts and closes many
// relays in one process should know.
//
// mesh learns of a topology change within a second; the first 100 ms after that
// it knows no way, and what is sent is not. It forgets a relay whose conns ended
// at once, and has no limit of hops: see [Transport] on what to expect of it.
func NewMesh(cfg MeshConfig) (Transport, error) {
	if len(cfg.Password) == 0 {
		return nil, errors.New("gossip: MeshConfig needs a Password; use the network's Derive")
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = DefaultMaxConns
	}
	if cfg.Logger == nil {
		cfg.Logger = silent()
	}
	m := &meshTransport{
		cfg: cfg, changed: make(chan struct{}, 1),
		splices: make(map[string]identity.NodeID), recent: newRecent(),
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m, nil
}

// A meshTransport is a mesh router and the conns that are spliced onto it. mesh
// keeps parts of it for ever; gate lets go of everything that is not.
type meshTransport struct {
	cfg     MeshConfig
	self    Name
	gate    gate
	router  *mesh.Router
	channel mesh.Gossip
	changed chan struct{} // of capacity one: mesh has new routes
	recent  *recent

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	splices map[string]identity.NodeID // who is behind a conn of mesh's, by the address that mesh sees

	refused, dropped atomic.Uint64
}

var _ Transport = (*meshTransport)(nil)

// Start implements Transport.
func (m *meshTransport) Start(self Name, h Handler) error {
	m.self = self
	m.gate.open(h)
	port, err := freePort(m.ctx)
	if err != nil {
		return err
	}
	interval := digestInterval
	m.router, err = mesh.NewRouter(mesh.Config{
		Host: loopback, Port: port, Password: m.cfg.Password, ConnLimit: m.cfg.MaxConns,
		ProtocolMinVersion: meshVersion, GossipInterval: &interval,
	}, mesh.PeerName(self), "", overlay{m}, meshLog{m})
	if err != nil {
		return fmt.Errorf("gossip: cannot make a mesh router: %w", err)
	}
	if m.channel, err = m.router.NewGossip(meshChannel, &gossiper{m}); err != nil {
		return fmt.Errorf("gossip: cannot make a mesh channel: %w", err)
	}
	m.router.Routes.OnChange(func() { wake(m.changed) }) // from inside mesh: only a signal
	for range bindTries {
		if err = startRouter(m.router); err == nil {
			m.wg.Go(m.watch)
			return nil
		}
		if m.router.Port, err = freePort(m.ctx); err != nil {
			break
		}
	}
	return err
}

// startRouter starts a router; that it cannot listen is told by a panic.
func startRouter(r *mesh.Router) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("gossip: mesh cannot listen on %s: %v", net.JoinHostPort(loopback, strconv.Itoa(r.Port)), p)
		}
	}()
	r.Start()
	return nil
}

// freePort returns a loopback port that nobody listens on at the moment. mesh
// does not tell which one it has chosen.
func freePort(ctx context.Context) (int, error) {
	ln, err := listenLoopback(ctx)
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

func listenLoopback(ctx context.Context) (*net.TCPListener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp4", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return nil, fmt.Errorf("gossip: no loopback socket for mesh: %w", err)
	}
	return ln.(*net.TCPListener), nil
}

// watch tells the handler who can be reached, outside of mesh's goroutines.
func (m *meshTransport) watch() {
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.changed:
		}
		var all []Name
		for name := range m.router.Routes.PeerNames() {
			if _, found := m.router.Routes.UnicastAll(name); found && Name(name) != m.self {
				all = append(all, Name(name))
			}
		}
		m.gate.call(func(h Handler) { h.OnPeers(all) })
	}
}

// Broadcast implements Transport.
func (m *meshTransport) Broadcast(msg []byte) {
	if m.ctx.Err() == nil {
		m.channel.GossipBroadcast(&messages{list: [][]byte{msg}, size: len(msg), dropped: &m.dropped})
	}
}

// Gossip implements Transport.
func (m *meshTransport) Gossip(msg []byte) {
	if m.ctx.Err() == nil {
		m.channel.GossipNeighbourSubset(latest(msg))
	}
}

// Unicast implements Transport.
func (m *meshTransport) Unicast(to Name, msg []byte) error {
	if m.ctx.Err() != nil {
		return ErrClosed
	}
	return m.channel.GossipUnicast(mesh.PeerName(to), msg)
}

// Serve implements Transport. Of two relays the one with the smaller name lets
// its mesh dial, so that mesh does not see two conns.
func (m *meshTransport) Serve(ctx context.Context, conn net.Conn, peer identity.NodeID) error {
	defer conn.Close()
	if NameOf(peer) == m.self {
		return fmt.Errorf("gossip: relay %v has the last 12 digits of this relay's node ID; one of the two needs a new key", peer)
	}
	if !m.enter() {
		return ErrClosed
	}
	defer m.wg.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.ctx, cancel)()
	if m.self < NameOf(peer) {
		return m.serveDialled(ctx, conn, peer)
	}
	return m.serveAccepted(ctx, conn, peer)
}

// enter counts a caller of Serve, for which Close waits.
func (m *meshTransport) enter() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.wg.Add(1)
	}
	return !m.closed
}

// serveAccepted makes the own router accept a conn.
func (m *meshTransport) serveAccepted(ctx context.Context, conn net.Conn, peer identity.NodeID) error {
	var d net.Dialer
	tcp, err := d.DialContext(ctx, "tcp4", net.JoinHostPort(loopback, strconv.Itoa(m.router.Port)))
	if err != nil {
		return fmt.Errorf("gossip: cannot reach the own mesh router: %w", err)
	}
	defer m.expect(tcp.LocalAddr(), peer)()
	return splice(ctx, conn, tcp)
}

// serveDialled makes the own router dial: a listener for this one conn.
func (m *meshTransport) serveDialled(ctx context.Context, conn net.Conn, peer identity.NodeID) error {
	ln, err := listenLoopback(ctx)
	if err != nil {
		return err
	}
	addr := ln.Addr().String()
	defer m.expect(ln.Addr(), peer)()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	m.router.ConnectionMaker.InitiateConnections([]string{addr}, false)
	defer m.router.ConnectionMaker.ForgetConnections([]string{addr})
	_ = ln.SetDeadline(time.Now().Add(acceptWithin))
	tcp, err := ln.Accept()
	_ = ln.Close()
	if err != nil {
		return fmt.Errorf("gossip: mesh has not dialled: %w", errors.Join(context.Cause(ctx), err))
	}
	return splice(ctx, conn, tcp)
}

// expect says who is behind a conn of mesh's, until forget is called.
func (m *meshTransport) expect(addr net.Addr, peer identity.NodeID) (forget func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.splices[addr.String()] = peer
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.splices, addr.String())
	}
}

// Close implements Transport.
func (m *meshTransport) Close() error {
	m.mu.Lock()
	m.closed = true
	busy := len(m.splices) > 0
	m.mu.Unlock()
	if busy {
		m.linger()
	}
	m.cancel()
	m.wg.Wait()
	m.gate.close()
	if m.router == nil {
		return nil
	}
	return m.router.Stop()
}

// linger gives mesh the time to send what was broadcast last: that this relay
// leaves. It does not tell when it has.
func (m *meshTransport) linger() {
	t := time.NewTimer(lingerFor)
	defer t.Stop()
	<-t.C
}

// A gate lets a transport call its handler until it is closed.
type gate struct {
	mu      sync.RWMutex // held for reading during calls
	handler Handler
}

func (g *gate) open(h Handler) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handler = h
}

func (g *gate) close() { g.open(nil) }

func (g *gate) call(f func(Handler)) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.handler != nil {
		f(g.handler)
	}
}

// meshLog takes what mesh logs, until Close: mesh goes on for ever.
type meshLog struct{ m *meshTransport }

// Printf implements mesh.Logger.
func (l meshLog) Printf(format string, args ...any) {
	l.m.gate.call(func(Handler) { l.m.cfg.Logger.Debugf("mesh: "+format, args...) })
}
