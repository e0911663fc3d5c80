// Package grid is request/response and streaming between the nodes of a cluster: one session for each
// pair of nodes, which carries the calls of both sides, hundreds of handlers by number, small messages
// coalesced, large ones on conns of their own.
package grid

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/overlay"
)

// MaxMessage is how many bytes travel on the session's own conn at most: a message of a stream, the payload
// that begins one, and of calls what is not sent on a conn of its own.
const MaxMessage = 64 << 10

// A Config says how a grid is. OnNode makes one.
type Config struct {
	// ID is this node's. It decides which of two conns stays if both sides dial at once.
	ID overlay.NodeID
	// Listener accepts conns of peers, Dial makes conns to their listeners.
	Listener net.Listener
	Dial     func(ctx context.Context, peer overlay.NodeID) (net.Conn, error)
	// Insecure believes peers who they say they are, if conns do not prove it: for comparisons over TCP.
	Insecure bool
	// MaxPayload is how many bytes a call's payload and answer may have; between two nodes the smaller limit counts.
	// Zero: 16 MiB.
	MaxPayload int
	// MaxHandlers is how many handlers run for one peer at a time; further calls fail with ErrOverloaded.
	// Zero: 4096.
	MaxHandlers int
	// MaxStreams is how many of those may be streams, each of which takes up to 2 MiB if its handler does not
	// read. Zero: 128.
	MaxStreams int
	// MaxPeers is how many peers the grid knows at a time; others are refused. Zero: 1024.
	MaxPeers int
	// PingInterval is the silence after which a peer is pinged; after three to four of them it counts as gone.
	// Zero: 5 s.
	PingInterval time.Duration
	// OnState is told of sessions that begin (nil) and end (why). ErrRestarted is told before a session
	// with a new process of the peer. It must not wait for anything. Nil: nobody is told.
	OnState func(peer overlay.NodeID, err error)
	// Logf is told of handlers that panic. Nil: nobody is.
	Logf func(format string, args ...any)
}

// maxHellos is how many conns may be open that have not said for whom they are.
const maxHellos = 1024

// deadAfter is how many pings remain unanswered until a peer counts as gone.
const deadAfter = 2

// OnNode is the config of a grid on a port of an overlay node.
func OnNode(node *overlay.Node, port uint16) (Config, error) {
	ln, err := node.Listen(port)
	return Config{ID: node.ID(), Listener: ln, Dial: func(ctx context.Context, peer overlay.NodeID) (net.Conn, error) {
		return overlay.Dialer{EarlyData: true}.Dial(ctx, node, net.JoinHostPort(peer.String(), strconv.Itoa(int(port))))
	}}, err
}

// A Grid is this node's end of the sessions with all peers.
type Grid struct {
	cfg      Config
	handlers map[HandlerID]*handler
	instance string // new for each process, so that peers notice restarts
	ctx      context.Context
	stop     context.CancelFunc
	wg       sync.WaitGroup
	waiting  sync.Pool // of *call
	jobs     chan *inbound
	idle     atomic.Int32 // goroutines that wait for jobs

	mu    sync.Mutex
	peers map[overlay.NodeID]*Peer
	conns map[net.Conn]struct{} // that have not said hello yet; nil once closed
}

// New starts a grid. The caller must Close it; that closes the listener, too.
func New(cfg Config, handlers *Handlers) *Grid {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&cfg.MaxPayload, 16<<20)
	def(&cfg.MaxHandlers, 4096)
	def(&cfg.MaxStreams, 128)
	def(&cfg.MaxPeers, 1024)
	if cfg.PingInterval == 0 {
		cfg.PingInterval = 5 * time.Second
	}
	g := &Grid{
		cfg: cfg, handlers: maps.Clone(handlers.byID), instance: rand.Text(),
		waiting: sync.Pool{New: newCall}, jobs: make(chan *inbound), peers: make(map[overlay.NodeID]*Peer), conns: make(map[net.Conn]struct{}),
	}
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.wg.Go(g.accept)
	return g
}

// Close ends all sessions and waits for the handlers, whose contexts have ended.
func (g *Grid) Close() error {
	err := g.cfg.Listener.Close()
	g.stop()
	g.mu.Lock()
	conns, peers := g.conns, maps.Clone(g.peers)
	g.conns = nil
	g.mu.Unlock()
	for c := range conns {
		_ = c.Close()
	}
	for _, p := range peers {
		if s, err := p.live(); err == nil {
			s.fail(errClosed)
		}
	}
	g.wg.Wait()
	return err
}

// Peer returns a peer, with which the grid keeps a session from now on.
func (g *Grid) Peer(id overlay.NodeID) (*Peer, error) {
	if id == g.cfg.ID {
		return nil, errors.New("grid: a node does not call itself")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	p, err := g.peer(id)
	if err == nil && !p.kept {
		p.kept = true
		g.wg.Go(p.keep)
	}
	return p, err
}

// peer returns a peer; who is not kept is forgotten with his session. g.mu is held.
func (g *Grid) peer(id overlay.NodeID) (*Peer, error) {
	p := g.peers[id]
	switch {
	case g.conns == nil:
		return nil, errClosed
	case p != nil:
	case len(g.peers) >= g.cfg.MaxPeers:
		return nil, fmt.Errorf("grid: there are %d peers already", len(g.peers))
	default:
		p = &Peer{g: g, id: id, why: errNever, changed: make(chan struct{})}
		g.peers[id] = p
	}
	return p, nil
}

// accept answers those who dial.
func (g *Grid) accept() {
	for {
		conn, err := g.cfg.Listener.Accept()
		if err != nil {
			if g.ctx.Err() == nil {
				g.logf("grid: no more peers are accepted: %v", err)
			}
			return
		}
		g.wg.Go(func() {
			if err := g.welcome(conn); err != nil {
				g.logf("grid: a conn from %v: %v", conn.RemoteAddr(), err)
			}
			_ = conn.Close()
		})
	}
}

// track makes Close close a conn, until it is untracked.
func (g *Grid) track(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil || len(g.conns) >= maxHellos {
		return false
	}
	g.conns[conn] = struct{}{}
	return true
}

func (g *Grid) untrack(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, conn)
}

func (g *Grid) logf(format string, args ...any) {
	if g.cfg.Logf != nil {
		g.cfg.Logf(format, args...)
	}
}

func (g *Grid) tell(peer overlay.NodeID, err error) {
	if g.cfg.OnState != nil {
		g.cfg.OnState(peer, err)
	}
}
