package uplink

import (
	"context"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
)

// A carrier is what an uplink needs of the node that it belongs to.
type carrier interface {
	// attach starts a link to the relay at addr on fc, which it owns.
	attach(addr string, fc link.FrameConn) port
	// join makes a session with the relay at the other end of p, or moves the
	// session last, if it still lives, onto p.
	join(ctx context.Context, p port, last association) (association, error)
	// pathUp says that a relay is reachable again.
	pathUp()
}

// A port is a link on the switch.
type port = link.Attached

// An association is an established session with a relay.
type association interface {
	peer() identity.Peer
	// openControl opens a control stream; it does not wait for the relay.
	openControl(ctx context.Context) (control.Stream, error)
	// Ping returns the time that the relay took to answer.
	Ping(ctx context.Context) (time.Duration, error)
	Done() <-chan struct{}
	Err() error
}
