package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/relayhost"
	"github.com/weftnet/weft/internal/switchboard"
)

// Refused links are logged at this rate at most; all are counted.
const (
	refusalsPerSecond = 1
	refusalBurst      = 10
)

// errNotAllowed is how the link ends of a node that Server.Allow does not allow.
var errNotAllowed = errors.New("relay: this relay does not serve the node; see Server.Allow")

// A member is an accepted link and, once proven, the node at its other end.
type member struct {
	port   *switchboard.Port
	slot   *slot
	prove  func()        // closes proven
	proven chan struct{} // closed when somebody has proven to be there

	id      identity.NodeID // who has; the relay's mu is held
	otherCA bool            // and was certified by a CA that is accepted besides the relay's own
	refused error           // why whoever has proven to be there is not served; the relay's mu is held
}

// serveLink serves one conn from its first byte to its end.
func (r *relay) serveLink(c link.PrefaceConn) {
	s := r.links.enter(c.RemoteAddr())
	if s == nil {
		r.stats.refusedAddress.Add(1)
		_ = c.Close()
		return
	}
	defer s.leave()
	ctx, cancel := r.firstBytes(s)
	defer cancel()
	r.serveEntered(ctx, c, s)
}

// firstBytes returns the context within which a dialler says what it wants.
func (r *relay) firstBytes(s *slot) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	s.waits(func() { cancel(errGaveWay) })
	ctx, stop := context.WithTimeoutCause(ctx, r.prefaceTimeout,
		fmt.Errorf("no complete preface within %v", r.prefaceTimeout))
	return ctx, func() { stop(); cancel(nil) }
}

// serveEntered serves a link whose conn has its slot, and whose preface must
// come before ctx ends.
func (r *relay) serveEntered(ctx context.Context, c link.PrefaceConn, s *slot) {
	at, hello, err := r.greet(ctx, c, s)
	if err != nil {
		if r.refusals.Allow() {
			r.log.WithError(err).WithField("link", c.RemoteAddr().String()).Info("link refused")
		}
		return
	}
	ended := make(chan struct{})
	if !at.spawn(func() { defer close(ended); at.serveAccepted(c, hello, s) }) {
		_ = c.Close()
		return
	}
	<-ended
}

// serveAccepted serves a link of this relay's network to its end.
func (r *relay) serveAccepted(c link.PrefaceConn, hello link.Hello, s *slot) {
	r.stats.accepted.Add(1)
	m := r.join(c, hello, s)
	defer r.part(m)
	r.hold(m)
}

// greet exchanges prefaces, and returns the relay whose network the link is of.
// On an error the conn is closed.
func (r *relay) greet(ctx context.Context, c link.PrefaceConn, s *slot) (*relay, link.Hello, error) {
	var at *relay
	hello, err := link.ServerAs(ctx, c, func(h link.Hello) (link.Status, identity.NodeID) {
		at = r.serving(h.Network)
		return at.decide(h, s, c.RemoteAddr()), at.self
	}, r.self)
	if err != nil && at == nil {
		r.stats.refusedPreface.Add(1)
	}
	return at, hello, err
}

// serving returns the relay that serves a network on this one's port, this one
// if there is none.
func (r *relay) serving(network link.NetworkTag) *relay {
	if r.network != network {
		for _, other := range r.others {
			if other.network == network {
				return other
			}
		}
	}
	return r
}

// decide says whether a link from remote is accepted.
func (r *relay) decide(h link.Hello, s *slot, remote net.Addr) link.Status {
	switch {
	case h.Network != r.network:
		r.stats.refusedNetwork.Add(1)
		return link.StatusNetwork
	case h.Mesh():
		return r.decideMesh(s, remote)
	case s.a != r.links && !s.move(r.links, remote):
		r.stats.refusedAddress.Add(1)
		return link.StatusBusy
	}
	status := s.link()
	if status != link.StatusOK {
		r.stats.refusedBusy.Add(1)
	}
	return status
}

// join attaches an accepted link to the switch.
func (r *relay) join(c link.PrefaceConn, hello link.Hello, s *slot) *member {
	m := &member{slot: s, proven: make(chan struct{})}
	m.prove = sync.OnceFunc(func() { close(m.proven) })
	r.mu.Lock() // before somebody can prove to be there
	defer r.mu.Unlock()
	m.port = r.Switch.Attach(c, switchboard.PortConfig{
		Claimed: hello.Node, Origin: s.origin(), Backbone: hello.Mesh(),
	})
	r.members[m.port] = m
	return m
}

// part forgets a link that has ended.
func (r *relay) part(m *member) {
	_ = m.port.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, m.port)
	if m.port.Trusted() {
		r.leftLocked(m.port, m.id)
	}
	r.rememberLocked(m)
	r.detach(m)
}

// detach forgets who is at the other end of m, unless the node has a newer
// link. r.mu is held.
func (r *relay) detach(m *member) {
	if m.id != 0 && r.nodes[m.id] == m {
		delete(r.nodes, m.id)
		r.withdraw(m.id, link.HungUp(m.port.Err()))
	}
	m.id = 0
}

// hold waits for the end of a link, and makes it end if nobody proves to be at
// its other end.
func (r *relay) hold(m *member) {
	limit := time.NewTimer(r.handshakeTimeout)
	defer limit.Stop()
	select {
	case <-m.proven:
	case <-limit.C:
		r.stats.unproven.Add(1)
		m.port.CloseWithError(fmt.Errorf("relay: nobody has proven to be at the other end within %v", r.handshakeTimeout))
	case <-m.port.Done():
	case <-r.ctx.Done():
	}
	select {
	case <-m.port.Done():
	case <-r.ctx.Done():
		m.port.CloseWithError(fmt.Errorf("relay: %w", net.ErrClosed))
	}
}

// Bound implements relayhost.Watcher: peer has proven to be at the other end
// of port. The error says that the relay does not serve it, or that its node ID
// belongs to another key.
func (r *relay) Bound(peer identity.Peer, port *switchboard.Port) error {
	err := r.bind(peer, port)
	if !slices.Contains(notServed, err) || !r.spawn(func() { r.dismiss(port, err) }) {
		return err
	}
	return relayhost.ErrLater
}

// bind is Bound, but ends no link.
func (r *relay) bind(peer identity.Peer, port *switchboard.Port) error {
	trusted := port.Backbone() && peer.Has(identity.RoleRelay)
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[port]
	if m == nil { // this side has dialled it, or it is a link of the node that is not the relay's
		if trusted {
			port.Trust()
		}
		return nil
	}
	if port.Backbone() {
		if m.refused = r.admitRelay(m, peer); m.refused != nil {
			return m.refused
		}
	}
	if proven := trusted && !r.Credentials.Network().Open(); !proven && !r.allow.Allows(peer) {
		r.stats.notAllowed.Add(1)
		if r.refusals.Allow() {
			r.log.WithField("id", peer.ID).Info("link refused: the relay's rules do not allow the node")
		}
		m.refused = errNotAllowed
		return errNotAllowed
	}
	if err := r.directory.Attach(peer, r.self); err != nil {
		r.stats.conflicts.Add(1)
		return errors.Join(errors.New("relay: the node is not accepted"), err)
	}
	if m.id != peer.ID {
		r.detach(m)
		m.id = peer.ID
	}
	m.otherCA = peer.OtherCA
	r.nodes[peer.ID] = m
	if trusted {
		port.Trust()
		r.joinedLocked(nil, port, peer.ID)
	}
	m.prove()
	return nil
}

// seen returns the address of a node's link, and what of it limits hold for as
// slot.origin has it; false when the node has no link.
func (r *relay) seen(id identity.NodeID) (addr, origin string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.nodes[id]
	if m == nil {
		return "", "", false
	}
	return m.port.Link().RemoteAddr().String(), m.slot.origin(), true
}
