package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/uplink"
	"github.com/weftnet/weft/listener"
	"github.com/weftnet/weft/stream"
)

// maxAttempts is how often a dial tries: once more after it met a session that
// turned out to be dead.
const maxAttempts = 2

// Dial connects to "host:port", where host is a node ID, a key or a name; see
// the package comment. It takes one round trip to a peer with which there is a
// session, two to one with which there is none, and one more to the relay for a
// name. A peer that is on the LAN is dialled there and over the relays, and the
// first way that works is taken; see Config.NoLAN. While no relay is reachable it
// waits, until ctx ends; a node without any relay waits for its LAN for some
// seconds after its start, and half a second later on. Its signature is that of
// gRPC's context dialer.
//
// The error is a *net.OpError around a *[DialError]. A dial by name uses a live
// session with a node of that name if there is exactly one, and asks the relay
// otherwise; the certificate of the node that answers must carry the name.
func (n *Node) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return Dialer{}.Dial(ctx, n, addr)
}

// DialContext is Dial with the signature of net.Dialer. The network is
// "overlay" or, for the sake of http.Transport and others, "tcp".
func (n *Node) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if network != stream.Network && !strings.HasPrefix(network, "tcp") {
		return nil, dialError(addr, net.UnknownNetworkError(network))
	}
	return n.Dial(ctx, addr)
}

// A Dialer is how to dial. The zero value is what [Node.Dial] does.
type Dialer struct {
	// EarlyData makes Dial return before the peer has accepted the conn, so
	// that the caller can write at once: no round trip is spent on a session
	// that is there already. A refusal then fails Read and Write.
	EarlyData bool
}

// Dial is like [Node.Dial].
func (d Dialer) Dial(ctx context.Context, n *Node, addr string) (net.Conn, error) {
	c, err := d.dial(ctx, n, addr)
	n.dialCount.count(err)
	return c, err
}

// dial is Dial, uncounted.
func (d Dialer) dial(ctx context.Context, n *Node, addr string) (net.Conn, error) {
	target, port, err := listener.ParseAddr(addr)
	if err != nil {
		return nil, dialError(addr, err)
	}
	ctx, stop, err := n.begin(ctx)
	if err != nil {
		return nil, dialError(addr, err)
	}
	defer stop()
	opts := stream.OpenOptions{EarlyData: d.EarlyData}
	began, failed := time.Now(), new(DialError)
	for range maxAttempts {
		attempt := Attempt{Target: target.String()}
		c, err := n.attempt(ctx, target, port, opts, &attempt)
		if err == nil {
			n.dialled(addr, began, c, attempt.Path, failed)
			return c, nil
		}
		attempt.Err = explain(err)
		failed.Attempts = append(failed.Attempts, attempt)
		if !stale(err) {
			break
		}
	}
	n.dialled(addr, began, nil, "", failed)
	return nil, dialError(addr, failed)
}

// begin is until for a dial, which a node that is leaving refuses.
func (n *Node) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life != running {
		return nil, nil, errNodeClosed
	}
	ctx, stop := n.until(ctx)
	return ctx, stop, nil
}

// dialError dresses an error of a dial.
func dialError(addr string, err error) error {
	return &net.OpError{Op: "dial", Net: stream.Network, Addr: textAddr(addr), Err: err}
}

// stale reports whether an error says that the session was dead already, or
// ended for want of use just now, so that another one may do better.
func stale(err error) bool {
	if errors.Is(err, session.ErrPeerRestarted) || errors.Is(err, session.ErrIdle) {
		return true
	}
	closed, ok := errors.AsType[*stream.ClosedError](err)
	return ok && closed.Remote && closed.Code == session.CodeNoError
}

// attempt dials once and notes the path.
func (n *Node) attempt(ctx context.Context, target identity.Target, port uint16, opts stream.OpenOptions, a *Attempt) (net.Conn, error) {
	ps, err := n.reach(ctx, target, a)
	if err != nil {
		return nil, err
	}
	a.Path = ps.sess.Path().String()
	select {
	case <-ps.ready:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if ps.err != nil {
		return nil, ps.err
	}
	c, err := ps.mux.Open(ctx, port, opts)
	if err != nil {
		return nil, err
	}
	return ps.newConn(c), nil
}

// reach returns a session with the target, made if there is none.
func (n *Node) reach(ctx context.Context, target identity.Target, a *Attempt) (*peerSession, error) {
	if target.Name != "" {
		return n.reachName(ctx, target, a)
	}
	id := target.ID
	if target.Key != (PublicKey{}) {
		id = target.Key.ID()
	}
	near := n.ep.Session(id) != nil || n.sw.Port(id) != nil
	routed := func(ctx context.Context, a *Attempt) (*peerSession, error) {
		if !near {
			if err := n.awaitRelay(ctx); err != nil {
				return nil, err
			}
		}
		a.Path = n.sw.Route(id).String()
		if n.relayless() && !near {
			return nil, fmt.Errorf("%w: %v is not attached to this node, which has no relay, and not on the LAN", ErrUnknownNode, id)
		}
		s, err := n.ep.Dial(ctx, target)
		if err != nil {
			return nil, n.unreached(ctx, err)
		}
		return n.peerSession(s), nil
	}
	if near || n.lan == nil {
		return routed(ctx, a)
	}
	_, known := n.lan.Peer(id)
	return n.lan.race(ctx, a, known, func(find context.Context) leg {
		return func(ctx context.Context, a *Attempt) (*peerSession, error) {
			return n.lan.dial(find, ctx, target, id, a)
		}
	}, routed)
}

// relayless reports whether the node has no relay, is none for others, and will
// not have one.
func (n *Node) relayless() bool {
	return n.lan != nil && len(n.cfg.Relays) == 0 && len(n.sw.Ports()) == 0
}

// awaitRelay waits until there is a way to peers without a link of their own.
func (n *Node) awaitRelay(ctx context.Context) error {
	if n.uplinks.Up() {
		return nil
	}
	return n.WaitReady(ctx)
}

// unreached adds to the error of a dial that ran out of time whether the node
// had a relay in the end.
func (n *Node) unreached(ctx context.Context, err error) error {
	if n.uplinks.Up() || ctx.Err() == nil || len(n.cfg.Relays) == 0 {
		return err
	}
	return noRelay(fmt.Errorf("%w: %w", &uplink.NoRelayError{Relays: n.uplinks.Status()}, err))
}

// reachName is reach for a name.
func (n *Node) reachName(ctx context.Context, target identity.Target, a *Attempt) (*peerSession, error) {
	if s, err := n.named(target.Name); s != nil || err != nil {
		return s, err
	}
	lookedUp := func(ctx context.Context, a *Attempt) (*peerSession, error) {
		key, err := n.lookUp(ctx, target)
		if err != nil {
			a.Path = "look-up"
			return nil, err
		}
		ps, err := n.reach(ctx, identity.Target{Key: key}, a)
		if err != nil {
			return nil, err
		}
		return ps, target.Check(ps.sess.Peer())
	}
	if n.lan == nil {
		return lookedUp(ctx, a)
	}
	known := len(n.lan.Lookup(target.Name)) > 0
	return n.lan.race(ctx, a, known, func(find context.Context) leg {
		return func(ctx context.Context, a *Attempt) (*peerSession, error) {
			return n.lan.dialName(find, ctx, target, a)
		}
	}, lookedUp)
}

// named returns the session with the one peer that has a name, nil if there is
// none.
func (n *Node) named(name string) (*peerSession, error) {
	var found *session.Session
	for _, s := range n.ep.Sessions() {
		p := s.Peer()
		switch {
		case s.Err() != nil || !slices.Contains(p.Names, name):
		case found == nil:
			found = s
		case found.Peer().ID != p.ID:
			return nil, ambiguous(name, found.Peer().ID, p.ID)
		}
	}
	if found == nil {
		return nil, nil
	}
	if s := n.ep.Session(found.Peer().ID); s != nil {
		found = s // the preferred one of several
	}
	return n.peerSession(found), nil
}

// lookUp asks the relays for the key of the one node that has a name.
func (n *Node) lookUp(ctx context.Context, target identity.Target) (PublicKey, error) {
	if len(n.cfg.Relays) == 0 {
		return PublicKey{}, fmt.Errorf("%w: %q is not attached to this node, which has no relay to ask, and not on the LAN", ErrUnknownNode, target.Name)
	}
	if err := n.awaitRelay(ctx); err != nil {
		return PublicKey{}, err
	}
	records, err := n.uplinks.Lookup(ctx, target)
	if _, down := errors.AsType[*uplink.NoRelayError](err); down {
		return PublicKey{}, noRelay(err)
	}
	if errors.Is(err, control.ErrNotFound) {
		return PublicKey{}, fmt.Errorf("%w: the relay knows no node %q", ErrUnknownNode, target.Name)
	}
	if err != nil {
		return PublicKey{}, err
	}
	first := records[0]
	for _, r := range records[1:] {
		if r.Key != first.Key {
			return PublicKey{}, ambiguous(target.Name, first.ID, r.ID)
		}
	}
	return PublicKey(first.Key), nil
}

func ambiguous(name string, ids ...NodeID) error {
	each := make([]string, len(ids))
	for i, id := range ids {
		each[i] = id.String()
	}
	return fmt.Errorf("%w: %q is %s", ErrAmbiguousName, name, strings.Join(each, " and "))
}
