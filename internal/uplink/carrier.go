package uplink

import (
	"context"
	"net"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
)

// A carrier is what an uplink needs of the node that it belongs to.
type carrier interface {
	// attach starts a link to the relay at addr on fc, which it owns.
	attach(addr string, fc link.FrameConn) port
	// acceptor waits for the ID that the relay at the other end of p claims. It
	// returns false when ctx ends before.
	acceptor(ctx context.Context, p port) (identity.NodeID, bool)
	// join makes a session with the relay at the other end of p, or moves the
	// session last, if it still lives, onto p.
	join(ctx context.Context, p port, last association) (association, error)
	// prefer makes frames for nodes elsewhere go to that relay.
	prefer(relay identity.NodeID)
	// pathUp says that a relay is reachable again.
	pathUp()
}

// A port is a link on the switch.
type port = link.Attached

// A moored port is one that knows from which of the host's addresses it begins.
type moored interface {
	LocalAddr() net.Addr
	CloseWithError(err error)
}

// An association is an established session with a relay.
type association interface {
	peer() identity.Peer
	// isRelay reports whether the peer may act as a relay, for all that its
	// certificate says.
	isRelay() bool
	// rtt returns the smoothed round trip, zero while it is unknown.
	rtt() time.Duration
	// openControl opens a control stream; it does not wait for the relay.
	openControl(ctx context.Context) (control.Stream, error)
	// Ping returns the time that the relay took to answer.
	Ping(ctx context.Context) (time.Duration, error)
	Done() <-chan struct{}
	Err() error
}
