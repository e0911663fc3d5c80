package relay

import (
	"context"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/switchboard"
)

// A registration is what a node has at one relay: less than an uplink, which
// comes back by itself, but exactly when and where a test wants it.
type registration struct {
	node    *node
	relay   identity.NodeID
	port    *switchboard.Port
	client  *control.Client
	pushed  chan control.Message
	session *session.Session
}

// link makes a link and a session with a relay, as a spare is.
func (l *lab) link(n *node, addr string) *registration {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fc, err := n.dial(ctx, addr)
	if err != nil {
		l.t.Fatalf("%s: %v", n.host, err)
	}
	r := &registration{node: n, pushed: make(chan control.Message, 64)}
	r.port = n.parts.Switch.Attach(fc, switchboard.PortConfig{Uplink: true, Name: addr})
	if r.session, err = n.parts.Endpoint.DialNeighbour(ctx, r.port); err != nil {
		l.t.Fatalf("%s: %v", n.host, err)
	}
	r.relay = r.session.Peer().ID
	stream, err := r.session.OpenStream(ctx, session.KindControl)
	if err != nil {
		l.t.Fatalf("%s: %v", n.host, err)
	}
	r.client = control.NewClient(stream, func(m control.Message) {
		select {
		case r.pushed <- m:
		default:
		}
	})
	return r
}

// register registers a node at a relay, signed; of two registrations the one
// with the higher sequence number holds.
func (l *lab) register(n *node, addr string, seq uint64) *registration {
	l.t.Helper()
	r := l.link(n, addr)
	if err := r.register(1, seq); err != nil {
		l.t.Fatalf("%s: %v", n.host, err)
	}
	return r
}

// register registers the node with a version.
func (r *registration) register(epoch, seq uint64) error {
	c := r.node.parts.Credentials
	m := control.Register{Names: c.Names(), Epoch: epoch, Seq: seq}
	if err := m.Sign(c, r.relay); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := r.client.Register(ctx, m)
	return err
}

// close ends the link; the node stays.
func (r *registration) close() {
	r.client.Close()
	_ = r.port.Close()
}
