package uplink

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/switchboard"
)

// moveTimeout is how long a session may take to answer on a new link before
// another one is made.
const moveTimeout = 3 * time.Second

// New starts the uplinks of the node that sw and ep belong to. The endpoint's
// [session.Config.OnBind] must bind the ports of sw.
func New(cfg Config, sw *switchboard.Switch, ep *session.Endpoint) *Set {
	return newSet(cfg, &node{sw: sw, ep: ep})
}

// A node is the carrier of a node's uplinks.
type node struct {
	sw *switchboard.Switch
	ep *session.Endpoint
}

// An attachment is a port and the conn below it, whose preface says who is there.
type attachment struct {
	*switchboard.Port
	conn link.FrameConn
}

// LocalAddr is where the link begins.
func (a attachment) LocalAddr() net.Addr { return a.conn.LocalAddr() }

func (n *node) attach(addr string, fc link.FrameConn) port {
	return attachment{n.sw.Attach(fc, switchboard.PortConfig{Uplink: true, Name: addr}), fc}
}

func (n *node) pathUp() { n.ep.PathUp() }

func (n *node) prefer(relay identity.NodeID) { n.sw.Prefer(relay) }

func (n *node) acceptor(ctx context.Context, p port) (identity.NodeID, bool) {
	a, ok := p.(attachment)
	if !ok {
		return 0, false
	}
	return link.Acceptor(ctx, a.conn)
}

func (n *node) join(ctx context.Context, p port, last association) (association, error) {
	to, ok := p.(attachment)
	if !ok {
		return nil, errors.New("uplink: the link is not attached to a switch")
	}
	if a, ok := last.(relaySession); ok && a.Err() == nil && n.move(ctx, a, to) {
		return a, nil
	}
	s, err := n.ep.DialNeighbour(ctx, to.Port)
	if err != nil {
		return nil, err
	}
	return relaySession{s}, nil
}

// move moves a session that lives onto a new link. It reports false when the
// relay does not answer there: it has restarted, or is another one. The latter
// shows as soon as the preface is answered.
func (n *node) move(ctx context.Context, a relaySession, to attachment) bool {
	relay := a.Peer().ID
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if id, ok := link.Acceptor(ctx, to.conn); ok && id != relay {
			cancel()
		}
	})
	defer cancel() // before the wait
	a.SetPath(to.Port)
	if _, err := a.Ping(ctx); err != nil {
		return false
	}
	n.sw.Bind(to.Port, relay)
	a.SetPath(n.sw.Route(relay))
	return true
}

// A relaySession is a session with a relay.
type relaySession struct{ *session.Session }

func (a relaySession) peer() identity.Peer { return a.Peer() }

func (a relaySession) isRelay() bool { return a.Peer().Has(identity.RoleRelay) }

func (a relaySession) rtt() time.Duration { return a.Stats().RTT }

func (a relaySession) openControl(ctx context.Context) (control.Stream, error) {
	return a.OpenStream(ctx, session.KindControl)
}
