package listener

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/stream"
)

// A Connector reaches peers.
type Connector interface {
	// Connect returns a mux on a session with the target, whose certificate
	// is checked to be the target's, and who the peer is. Sessions are
	// shared: it makes one only if there is none. Multiple goroutines may
	// call it simultaneously.
	Connect(ctx context.Context, target identity.Target) (stream.Mux, identity.Peer, error)
}

// An OverlayDialer opens conns to ports of peers. Its methods may be called by
// many goroutines; the fields must not be modified meanwhile.
type OverlayDialer struct {
	// Connector reaches the peers. It must be set.
	Connector Connector

	// Timeout bounds a dial, in addition to the context. If zero or negative,
	// only the context does.
	Timeout time.Duration

	// EarlyData returns conns before the acceptor has answered, so that the
	// first data travel with the wish for the conn. A refusal then fails Read
	// and Write.
	EarlyData bool
}

// Dial opens a conn to an address as [ParseAddr] reads them. It has the
// signature that gRPC wants of a dialer. The conn is a [stream.Conn] that
// [PeerOf] knows. Errors are *net.OpError; a refusal has a
// *[stream.ResetError] inside.
func (d *OverlayDialer) Dial(ctx context.Context, addr string) (net.Conn, error) {
	target, port, err := ParseAddr(addr)
	if err != nil {
		return nil, dialError(addr, err)
	}
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	c, err := d.dial(ctx, target, port)
	if err != nil && ctx.Err() == nil && sessionEnded(err) {
		// The shared session was at its end, as when the peer has restarted
		// since. Nothing of the caller has been sent.
		c, err = d.dial(ctx, target, port)
	}
	if err != nil {
		return nil, dialError(addr, err)
	}
	return c, nil
}

// DialContext is [OverlayDialer.Dial] with the signature that net.Dialer has
// and http.Transport wants. The network is "overlay", "tcp", "tcp4" or "tcp6",
// which all mean the same.
func (d *OverlayDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if network != stream.Network && !strings.HasPrefix(network, "tcp") {
		return nil, dialError(addr, net.UnknownNetworkError(network))
	}
	return d.Dial(ctx, addr)
}

func (d *OverlayDialer) dial(ctx context.Context, target identity.Target, port uint16) (net.Conn, error) {
	mux, peer, err := d.Connector.Connect(ctx, target)
	if err != nil {
		return nil, err
	}
	c, err := mux.Open(ctx, port, stream.OpenOptions{EarlyData: d.EarlyData})
	if err != nil {
		return nil, err
	}
	return &conn{c, &peer}, nil
}

// sessionEnded reports whether Open failed for want of a session, not for what
// the peer said.
func sessionEnded(err error) bool {
	_, ended := errors.AsType[*stream.ClosedError](err)
	return ended || errors.Is(err, net.ErrClosed)
}

func dialError(addr string, err error) error {
	return stream.OpError("dial", nil, dialled(addr), err)
}
