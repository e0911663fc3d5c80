package overlay

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/relayhost"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/switchboard"
	"github.com/weftnet/weft/internal/uplink"
	"github.com/weftnet/weft/listener"
	"github.com/weftnet/weft/stream"
	"golang.org/x/time/rate"
)

const (
	// CloseTimeout is how long Close tries to deliver what was written.
	CloseTimeout = 5 * time.Second
	// drainTimeout is how long Close waits for relays to read the last frames.
	drainTimeout = time.Second
)

// A Node is a member of an overlay network. [New] makes one. Multiple goroutines
// may call its methods simultaneously.
type Node struct {
	cfg         Config
	credentials *identity.Credentials
	layer       stream.Layer
	log         logrus.FieldLogger
	sw          *switchboard.Switch
	ep          *session.Endpoint
	hooks       *relayhost.Hooks
	uplinks     *uplink.Set
	direct      *directPaths // nil: relays only
	lan         *lanNodes    // nil: not looked for
	events      *teller
	ports       *listener.Table
	packets     *packetTable
	dials       dialReports
	refused     atomic.Uint64 // requests that cfg.Allow did not allow
	refusals    *rate.Limiter // of log entries about requests that rules do not allow
	dialCount   dialCount

	ctx    context.Context // ends when the node begins to close
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines of sessions

	mu       sync.Mutex
	life     life
	sessions map[*session.Session]*peerSession
	past     SessionTotals // of sessions that are not in sessions any more; and how many there were
	quiet    chan struct{} // closed, and replaced, when a session has no more conns
	closed   chan struct{} // closed when the node has closed
}

// life is how far a node is in its life. It only grows.
type life uint8

const (
	running  life = iota
	draining      // Shutdown waits for conns; no new ones
	closing       // sessions and links end
)

// New makes a node. It returns at once and attaches to the relays in the
// background; [Node.WaitReady] waits for that. With a Secret it takes tens of
// milliseconds of CPU time and 19 MiB to derive the network's key. The errors
// are sentences about the config. The caller must Close the node.
func New(cfg Config) (*Node, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	credentials, err := cfg.credentials()
	if err != nil {
		return nil, err
	}
	id := credentials.Key().ID()
	n := &Node{
		cfg:         cfg,
		credentials: credentials,
		layer:       cfg.Reliability,
		log:         cfg.Logger.WithField("node", id.String()),
		ports:       listener.NewTable(id),
		sessions:    make(map[*session.Session]*peerSession),
		quiet:       make(chan struct{}),
		refusals:    rate.NewLimiter(refusalsPerSecond, refusalBurst),
		closed:      make(chan struct{}),
	}
	n.packets = newPacketTable(n)
	n.events = newTeller(cfg.OnEvent)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.sw = switchboard.New(switchboard.Config{
		Self:    id,
		Deliver: n.deliver,
		Notice:  func(notice frame.Notice, _ *switchboard.Port) { n.ep.Notice(notice) },
		Link:    link.Config{KeepAlive: cfg.LinkKeepAlive, DeadAfter: cfg.LinkDeadAfter},
		Logger:  n.log,
	})
	n.hooks = relayhost.NewHooks(n.sw)
	n.direct = newDirect(n)
	if n.ep, err = session.NewEndpoint(n.sessionConfig()); err != nil {
		return nil, err
	}
	if err := n.openDirect(); err != nil {
		return nil, err
	}
	n.events.start()
	n.watchMembership()
	n.uplinks = uplink.New(uplink.Config{
		Relays:       cfg.Relays,
		Dial:         cfg.linkDialer(n.hello()),
		Lookup:       cfg.linkLookup(),
		Self:         id,
		Registration: func() control.Register { return control.Register{Names: credentials.Names()} },
		Sign:         func(m *control.Register, relay NodeID) error { return m.Sign(credentials, relay) },
		Memory:       cfg.relayMemory(credentials.Network().ID()),
		OnChange:     n.direct.changed,
		OnEvent:      n.events.told,

		OnRevocations: n.learnRevocations, Revocations: credentials.Revocations(),

		Logger: n.log,
	}, n.sw, n.ep)
	n.lan = n.openLAN()
	n.direct.start()
	n.watchNetwork()
	return n, nil
}

func (n *Node) sessionConfig() session.Config {
	cfg := session.Config{
		Credentials:      n.credentials,
		Layer:            n.layer.Name(),
		Route:            func(peer NodeID) session.Path { return n.sw.Route(peer) },
		OnSession:        n.established,
		OnBind:           n.bound,
		KeyLog:           n.cfg.KeyLogWriter,
		HandshakeTimeout: n.cfg.HandshakeTimeout,
		PeerTimeout:      n.cfg.PeerTimeout,
		KeepAlive:        n.cfg.KeepAlive,
		IdleTimeout:      n.cfg.IdleTimeout,
		MaxHandshakes:    n.cfg.MaxHandshakes,

		MaxHandshakesPerNode:    n.cfg.MaxHandshakesPerNode,
		MaxHandshakesPerAddress: n.cfg.MaxHandshakesPerAddress,

		MaxStreams:      uint64(n.cfg.MaxStreams),
		StreamWindow:    uint64(n.cfg.StreamWindow),
		MaxStreamWindow: uint64(n.cfg.MaxStreamWindow),
	}
	if n.direct != nil {
		cfg.OnCandidates, cfg.OnPath = n.direct.told, n.direct.pathEvent
	}
	if g, ok := n.layer.(stream.Greeter); ok {
		cfg.Greeting = g.Greeting
	}
	return cfg
}

// bound is told who has proven to be at the other end of a path.
func (n *Node) bound(peer identity.Peer, path session.Path) {
	n.hooks.OnBind(peer, path)
	if n.direct != nil {
		n.direct.links.bound(peer, path)
	}
}

// deliver hands a frame for this node to its sessions.
func (n *Node) deliver(f *frame.Frame, via *switchboard.Port) {
	if via == nil { // not a nil *Port in an interface
		n.ep.Receive(f, nil)
		return
	}
	n.ep.Receive(f, via)
}

// ID returns the node's ID.
func (n *Node) ID() NodeID { return n.credentials.Key().ID() }

// Key returns the node's public key.
func (n *Node) Key() PublicKey { return n.credentials.Key().Public() }

// Name returns the node's name in lower case, empty if it has none.
func (n *Node) Name() string { return n.cfg.Name }

// hello is what the node's links begin with.
func (n *Node) hello() link.Hello {
	return link.Hello{Network: link.TagOf(n.credentials.Network().ID()), Node: n.ID()}
}

// RelayHost is for package relay, which makes a node a relay.
func (n *Node) RelayHost() relayhost.Parts {
	return relayhost.Parts{
		Switch: n.sw, Endpoint: n.ep, Credentials: n.credentials, Hooks: n.hooks, Dial: n.cfg.linkDialer(n.hello().FromRelay()), Logger: n.log,
		Page: n.pageSource(),
	}
}

// WaitReady waits until the node is registered with a relay, so that others
// can dial it. It returns nil at once if no relay is configured: on its LAN the
// node needs none, and a dial waits for answers from there itself. When ctx ends
// first, the error matches ctx's and [ErrNoRelay] and says why each relay could
// not be reached.
func (n *Node) WaitReady(ctx context.Context) error {
	if len(n.cfg.Relays) == 0 {
		return nil
	}
	ctx, stop := n.until(ctx)
	defer stop()
	err := n.uplinks.WaitReady(ctx)
	if err != nil {
		return noRelay(err)
	}
	return nil
}

// until returns a context that ends with ctx, and with net.ErrClosed as its
// cause when the node begins to close.
func (n *Node) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(n.ctx, func() { cancel(errNodeClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// Shutdown leaves the network gracefully: it closes all listeners, refuses new
// conns, waits until the present ones are closed on this side and what was
// written to them is delivered, and closes the node. When ctx ends first it
// closes the node at once and returns ctx's error. Servers and HTTP transports
// that hold idle conns should be shut down before.
func (n *Node) Shutdown(ctx context.Context) error {
	if !n.advance(draining) {
		return errNodeClosed
	}
	_ = n.ports.Close()
	err := n.waitQuiet(ctx)
	if !n.advance(closing) {
		<-n.closed // somebody called Close meanwhile
		return err
	}
	n.packets.close()
	return firstError(n.leave(ctx), err)
}

// Close closes the node with all its listeners and conns. It delivers what was
// written to conns, for at most [CloseTimeout]. No goroutine, socket or timer of
// the node is left when it returns. Closing again is an error that matches
// net.ErrClosed.
func (n *Node) Close() error {
	if !n.advance(closing) {
		return errNodeClosed
	}
	_ = n.ports.Close()
	n.packets.close()
	ctx, cancel := context.WithTimeout(context.Background(), CloseTimeout)
	defer cancel()
	_ = n.leave(ctx) // that the peer does not read is not the caller's fault
	return nil
}

// advance moves the node on in its life; false if it was there already.
func (n *Node) advance(to life) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life >= to {
		return false
	}
	n.life = to
	if to == closing {
		n.cancel()
	}
	return true
}

func (n *Node) isClosed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life == closing
}

// leave ends everything below. The order lets the last packets get out:
// sessions, which send them, before the links that carry them.
func (n *Node) leave(ctx context.Context) error {
	defer close(n.closed)
	n.lan.close() // says goodbye
	n.flushLayers(ctx)
	err := n.ep.Shutdown(ctx)
	n.drainLinks()
	_ = n.uplinks.Close()
	_ = n.sw.Close()
	n.direct.close()
	n.events.close()
	n.wg.Wait()
	return err
}

// flushLayers delivers what layers keep themselves; the rest is the sessions'.
func (n *Node) flushLayers(ctx context.Context) {
	n.mu.Lock()
	sessions := slices.Collect(maps.Values(n.sessions))
	n.mu.Unlock()
	var wg sync.WaitGroup
	for _, ps := range sessions {
		wg.Go(func() { ps.flush(ctx) })
	}
	wg.Wait()
}

// drainLinks sends what is queued on the links to relays.
func (n *Node) drainLinks() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range n.sw.Ports() {
		wg.Go(func() { _ = p.Drain(ctx) })
	}
	wg.Wait()
}

// waitQuiet waits until no conn is open on this side.
func (n *Node) waitQuiet(ctx context.Context) error {
	for {
		n.mu.Lock()
		open := 0
		for _, ps := range n.sessions {
			open += ps.open
		}
		quiet := n.quiet
		n.mu.Unlock()
		if open == 0 {
			return nil
		}
		select {
		case <-quiet:
		case <-n.ctx.Done():
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
