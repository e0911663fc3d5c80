package overlay

import (
	"context"
	"errors"
	"net"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/listener"
	"github.com/weftnet/weft/stream"
)

// Listen accepts conns to a port of this node; 0 picks a free port from 49152
// on. A port that is taken is an error. The listener's Addr is an [Addr]; close
// it to stop.
func (n *Node) Listen(port uint16) (net.Listener, error) { return ListenConfig{}.Listen(n, port) }

// Refused conns are logged at this rate at most; all are counted.
const (
	refusalsPerSecond = 1
	refusalBurst      = 10
)

// A ListenConfig is how to listen. The zero value is what [Node.Listen] does.
type ListenConfig struct {
	// Allow decides which peers may open conns, in addition to Config.Allow.
	// Others are refused and counted. Nil: all.
	Allow *Rule
	// Backlog is how many conns may wait to be accepted; further ones are
	// refused. Zero: Config.Backlog. Negative: an error.
	Backlog int
}

// Listen is like [Node.Listen].
func (c ListenConfig) Listen(n *Node, port uint16) (net.Listener, error) {
	if c.Backlog < 0 {
		return nil, stream.OpError("listen", nil, Addr{Node: n.ID(), Port: port},
			errors.New("ListenConfig.Backlog is negative; leave it zero for the default"))
	}
	if c.Backlog == 0 {
		c.Backlog = n.cfg.Backlog
	}
	l, err := n.ports.Listen(port, listener.ListenConfig{Allow: c.Allow, Backlog: c.Backlog})
	if err != nil {
		return nil, err // not a nil *OverlayListener in an interface
	}
	return l, nil
}

// A guardedMux is a session's mux as the port table sees it: without the
// requests that Config.Allow does not allow, and with conns that are counted.
type guardedMux struct {
	stream.Mux
	ps *peerSession
}

// Accept implements stream.Mux.
func (m guardedMux) Accept(ctx context.Context) (stream.Request, error) {
	for {
		r, err := m.Mux.Accept(ctx)
		if err != nil {
			return nil, err
		}
		if m.ps.node.cfg.Allow.Allows(m.ps.sess.Peer()) {
			return request{r, m.ps}, nil
		}
		m.ps.node.refused.Add(1)
		_ = request{r, m.ps}.Refuse(stream.CodeNotAllowed)
	}
}

// A request is a layer's request whose conn is counted.
type request struct {
	stream.Request
	ps *peerSession
}

// Refuse implements stream.Request. Who is not allowed is logged, now and then.
func (r request) Refuse(code stream.Code) error {
	if n := r.ps.node; code == stream.CodeNotAllowed && n.refusals.Allow() {
		n.log.WithFields(logrus.Fields{"peer": r.ps.sess.Peer().ID.String(), "port": r.Port()}).Warn("conn refused: the rules do not allow the peer")
	}
	return r.Request.Refuse(code)
}

// Accept implements stream.Request.
func (r request) Accept() (stream.Conn, error) {
	c, err := r.Request.Accept()
	if err != nil {
		return nil, err
	}
	return r.ps.newConn(c), nil
}
