package uplink

import (
	"context"
	"errors"
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

func (n *node) attach(addr string, fc link.FrameConn) port {
	return n.sw.Attach(fc, switchboard.PortConfig{Uplink: true, Name: addr})
}

func (n *node) pathUp() { n.ep.PathUp() }

func (n *node) join(ctx context.Context, p port, last association) (association, error) {
	link, ok := p.(*switchboard.Port)
	if !ok {
		return nil, errors.New("uplink: the link is not attached to a switch")
	}
	if a, ok := last.(relaySession); ok && a.Err() == nil && n.move(ctx, a, link) {
		return a, nil
	}
	s, err := n.ep.DialNeighbour(ctx, link)
	if err != nil {
		return nil, err
	}
	return relaySession{s}, nil
}

// move moves a session that lives onto a new link. It reports false when the
// relay does not answer there: it has restarted, or is another one.
func (n *node) move(ctx context.Context, a relaySession, link *switchboard.Port) bool {
	a.SetPath(link)
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	if _, err := a.Ping(ctx); err != nil {
		return false
	}
	relay := a.Peer().ID
	n.sw.Bind(link, relay)
	a.SetPath(n.sw.Route(relay))
	return true
}

// A relaySession is a session with a relay.
type relaySession struct{ *session.Session }

func (a relaySession) peer() identity.Peer { return a.Peer() }

func (a relaySession) openControl(ctx context.Context) (control.Stream, error) {
	return a.OpenStream(ctx, session.KindControl)
}
