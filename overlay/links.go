package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/link/linkdial"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/switchboard"
)

// Limits of links with peers over TCP.
const (
	// linkPreface is how long a dialler has for its first bytes, linkProof how
	// long a link may be without a session that proves who is at its other end.
	linkPreface = 5 * time.Second
	linkProof   = 10 * time.Second
	// linkDial is how long all of an attempt at a peer's addresses may take until
	// somebody answers who says to be the peer.
	linkDial = 4 * time.Second
	// minAcceptPause and maxAcceptPause are the pauses after errors of the
	// listener that pass, such as too many open files.
	minAcceptPause, maxAcceptPause = 5 * time.Millisecond, time.Second
)

// Why links with peers end.
var (
	errLinkUnproven = fmt.Errorf("overlay: nobody has proven within %v to be at the other end of the link", linkProof)
	errLinkNotPeer  = errors.New("overlay: another node is at the address that the peer told")
	errLinkSpare    = errors.New("overlay: there is another link to the peer")
	errLinkLimit    = errors.New("overlay: there are as many links with peers as there may be")
)

// peerLinks are the links over TCP that the node has with peers, and its
// listener for them. A nil *peerLinks is a node that has none.
type peerLinks struct {
	node    *Node
	dial    link.Dial
	ln      net.Listener // nil: the node only dials
	gate    *linkGate
	network link.NetworkTag

	accepted, refused, unproven atomic.Uint64

	mu     sync.Mutex
	all    map[*switchboard.Port]*peerLink
	routes map[NodeID]*peerLink // that are the routes to peers
}

// A peerLink is one link, dialled or accepted.
type peerLink struct {
	port   *switchboard.Port
	once   sync.Once
	proven chan struct{} // closed when the peer has proven to be there
}

func newPeerLinks(n *Node) *peerLinks {
	d := &linkdial.Dialer{Connect: n.cfg.DialLink, Hello: n.hello()}
	return &peerLinks{
		node: n, dial: d.Dial, network: d.Hello.Network, gate: newLinkGate(),
		all: make(map[*switchboard.Port]*peerLink), routes: make(map[NodeID]*peerLink),
	}
}

// listen opens the listener, if the node is to have one.
func (l *peerLinks) listen() (err error) {
	cfg := &l.node.cfg
	switch {
	case l == nil || cfg.LinkAddr == "":
		return nil
	case cfg.ListenLink != nil:
		l.ln, err = cfg.ListenLink(l.node.ctx, cfg.LinkAddr)
	default:
		l.ln, err = new(net.ListenConfig).Listen(l.node.ctx, "tcp", cfg.LinkAddr)
	}
	if err != nil {
		return fmt.Errorf("overlay: Config.LinkAddr: %w", err)
	}
	return nil
}

// start begins to accept links, once the node is complete.
func (l *peerLinks) start() {
	if l != nil && l.ln != nil {
		l.node.wg.Go(l.serve)
	}
}

// stop accepts no more links.
func (l *peerLinks) stop() {
	if l != nil && l.ln != nil {
		_ = l.ln.Close()
	}
}

// addr is where the node listens; not valid if it does not.
func (l *peerLinks) addr() netip.AddrPort {
	if l == nil || l.ln == nil {
		return netip.AddrPort{}
	}
	a, _ := netip.ParseAddrPort(l.ln.Addr().String())
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// serve accepts links until the node begins to close.
func (l *peerLinks) serve() {
	stop := context.AfterFunc(l.node.ctx, l.stop)
	defer stop()
	pause := minAcceptPause
	for {
		conn, err := l.ln.Accept()
		if err == nil {
			pause = minAcceptPause
			l.admit(conn)
			continue
		}
		if t, ok := errors.AsType[interface {
			error
			Temporary() bool
		}](err); !ok || !t.Temporary() {
			if l.node.ctx.Err() == nil {
				l.node.log.WithError(err).Warn("the listener for links has ended; peers reach this node by other ways only")
			}
			return
		}
		l.node.log.WithError(err).Warn("cannot accept links; trying again")
		select {
		case <-time.After(pause):
		case <-l.node.ctx.Done():
			return
		}
		pause = min(2*pause, maxAcceptPause)
	}
}

// admit serves a conn if there is room for it.
func (l *peerLinks) admit(conn net.Conn) {
	s := l.gate.enter(conn.RemoteAddr(), conn.Close)
	if s == nil {
		l.refused.Add(1)
		_ = conn.Close()
		return
	}
	if !l.node.spawn(func() { defer s.leave(); l.serveConn(conn, s) }) {
		s.leave()
		_ = conn.Close()
	}
}

// serveConn serves a conn from its first byte to its end.
func (l *peerLinks) serveConn(conn net.Conn, s *linkSlot) {
	fc, framed := conn.(link.PrefaceConn)
	if !framed {
		fc = link.NewStreamConn(conn)
	}
	ctx, cancel := context.WithTimeout(l.node.ctx, linkPreface)
	defer cancel()
	hello, err := link.Server(ctx, fc, l.node.ID(), func(h link.Hello) link.Status {
		if h.Network != l.network {
			return link.StatusNetwork
		}
		if h.Mesh() {
			return link.StatusNoMesh
		}
		return link.StatusOK
	})
	if err != nil || hello.Node == l.node.ID() || hello.Node == 0 {
		l.refused.Add(1)
		_ = fc.Close()
		return
	}
	l.accepted.Add(1)
	l.hold(l.attach(fc, switchboard.PortConfig{Claimed: hello.Node, Origin: s.addr}), s)
}

// attach makes a conn a link of the switch. It is no way to anybody before the
// peer has proven to be there.
func (l *peerLinks) attach(fc link.FrameConn, cfg switchboard.PortConfig) *peerLink {
	pl := &peerLink{port: l.node.sw.Attach(fc, cfg), proven: make(chan struct{})}
	l.mu.Lock()
	l.all[pl.port] = pl
	l.mu.Unlock()
	if pl.port.ID() != 0 { // meanwhile
		pl.prove()
	}
	return pl
}

func (pl *peerLink) prove() { pl.once.Do(func() { close(pl.proven) }) }

// bound is told who has proven to be at the other end of a path, from the
// session's goroutine.
func (l *peerLinks) bound(peer identity.Peer, path session.Path) {
	port, ok := path.(*switchboard.Port)
	if l == nil || !ok || port.ID() != peer.ID {
		return
	}
	l.mu.Lock()
	pl := l.all[port]
	l.mu.Unlock()
	if pl != nil {
		pl.prove()
	}
}

// has reports whether a port is one of these links.
func (l *peerLinks) has(p *switchboard.Port) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[p] != nil
}

// hold keeps a link until it ends. s is nil for one that this node has dialled.
func (l *peerLinks) hold(pl *peerLink, s *linkSlot) {
	defer func() {
		l.mu.Lock()
		delete(l.all, pl.port)
		l.mu.Unlock()
	}()
	limit := time.NewTimer(linkProof)
	defer limit.Stop()
	select {
	case <-pl.proven:
	case <-pl.port.Done():
		if s != nil && s.gaveWay() {
			l.unproven.Add(1)
		}
		return
	case <-limit.C:
		l.unproven.Add(1)
		pl.port.CloseWithError(errLinkUnproven)
		<-pl.port.Done()
		return
	}
	if s != nil && !s.prove() {
		l.refused.Add(1)
		pl.port.CloseWithError(errLinkLimit)
		<-pl.port.Done()
		return
	}
	l.up(pl)
	<-pl.port.Done()
	l.down(pl)
}

// up tells that a link has become the route to a peer.
func (l *peerLinks) up(pl *peerLink) {
	id := pl.port.Claimed()
	l.mu.Lock()
	former := l.routes[id]
	l.routes[id] = pl
	l.mu.Unlock()
	e := Event{Kind: EventPathUp, Path: pl.port.String(), From: l.node.homeName(), Reason: "it is direct"}
	if former != nil {
		e.Kind, e.From, e.Reason = EventPathMoved, former.port.String(), "it is newer"
	}
	l.tell(id, e)
}

// down tells that a link is the route no more, unless another one is by now.
func (l *peerLinks) down(pl *peerLink) {
	id := pl.port.Claimed()
	l.mu.Lock()
	last := l.routes[id] == pl
	if last {
		delete(l.routes, id)
	}
	l.mu.Unlock()
	if !last {
		return
	}
	if s := l.node.ep.Session(id); s != nil {
		s.Rerouted()
	}
	l.tell(id, Event{
		Kind: EventPathDown, Path: l.node.sw.Route(id).String(), From: pl.port.String(),
		Reason: "the link has ended: " + pl.port.Err().Error(),
	})
}

// tell tells of a change of the route to a peer, if packets take that.
func (l *peerLinks) tell(id NodeID, e Event) {
	n := l.node
	n.direct.pokePeer(id)
	s := n.ep.Session(id)
	if s == nil || n.ctx.Err() != nil || !onRoute(s) {
		return
	}
	e.Time, e.Peer = time.Now(), id
	n.log.WithField("peer", id.String()).WithField("path", e.Path).Debug(e.Kind.String())
	n.events.put(e)
}

// onRoute reports whether a session's packets take the route.
func onRoute(s *session.Session) bool {
	_, routed := s.Path().(switchboard.Route)
	return routed
}

// linked reports whether there is a link to a peer.
func (l *peerLinks) linked(id NodeID) bool { return l.node.sw.Port(id) != nil }

// try dials a peer at its addresses, all at once, and keeps the link that leads
// there. It returns when that has ended, or none does.
func (l *peerLinks) try(s *session.Session, addrs []netip.AddrPort) {
	id := s.Peer().ID
	ctx, cancel := context.WithTimeout(l.node.ctx, linkDial)
	defer cancel()
	found := make(chan *peerLink, len(addrs))
	for _, addr := range addrs {
		if !l.node.spawn(func() { found <- l.reach(ctx, id, addr) }) {
			return
		}
	}
	var won *peerLink
	for range addrs {
		pl := <-found
		switch {
		case pl == nil:
		case won != nil || l.linked(id):
			l.drop(pl, errLinkSpare)
		default:
			won = pl
			cancel()
			s.ChallengeLink(pl.port)
		}
	}
	if won != nil {
		l.hold(won, nil)
	}
}

// reach makes a link to somebody at addr who says to be the peer; nil if nobody
// does.
func (l *peerLinks) reach(ctx context.Context, id NodeID, addr netip.AddrPort) *peerLink {
	fc, err := l.dial(ctx, addr.String())
	if err != nil {
		return nil
	}
	pl := l.attach(fc, switchboard.PortConfig{Claimed: id, Name: addr.String()})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	l.node.spawn(func() {
		select {
		case <-pl.port.Done():
			cancel()
		case <-done:
		}
	})
	there, said := link.Acceptor(ctx, fc)
	switch {
	case !said:
		l.drop(pl, errLinkUnproven)
		return nil
	case there != id:
		l.drop(pl, errLinkNotPeer)
		return nil
	}
	return pl
}

// drop ends a link that is not used.
func (l *peerLinks) drop(pl *peerLink, err error) {
	pl.port.CloseWithError(err)
	<-pl.port.Done()
	l.mu.Lock()
	delete(l.all, pl.port)
	l.mu.Unlock()
}

// homeName names the relay that peers are reached over, as paths name it.
func (n *Node) homeName() string {
	for _, st := range n.uplinks.Status() {
		if st.Registered {
			return "relay " + st.Addr
		}
	}
	return "no route"
}

// spawn starts a goroutine that Close waits for, unless the node is closing.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == closing {
		return false
	}
	n.wg.Go(f)
	return true
}
