package overlay

import (
	"context"
	"net"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/listener"
	"github.com/weftnet/weft/stream"
)

// A PingResult is the answer to a ping.
type PingResult struct {
	RTT   time.Duration // from this node to the peer and back
	Path  string        // the way that packets to the peer take, for people to read
	Layer string        // the reliability layer that the peer speaks
	Peer  Peer          // who answered
}

// Ping measures the round-trip time to a node, named like the host of an
// address for [Node.Dial]: by ID, key or name. The first ping makes the session
// that later ones and dials use; that time does not count. The peer needs no
// listener, and no rule keeps it from answering. Errors are those of Dial.
func (n *Node) Ping(ctx context.Context, host string) (PingResult, error) {
	target, err := listener.ParseHost(host)
	if err != nil {
		return PingResult{}, pingError(host, err)
	}
	ctx, stop := n.until(ctx)
	defer stop()
	failed := new(DialError)
	for range maxAttempts {
		attempt := Attempt{Target: target.String()}
		result, err := n.ping(ctx, target, &attempt)
		if err == nil {
			return result, nil
		}
		attempt.Err = explain(err)
		failed.Attempts = append(failed.Attempts, attempt)
		if !stale(err) {
			break
		}
	}
	return PingResult{}, pingError(host, failed)
}

func (n *Node) ping(ctx context.Context, target identity.Target, a *Attempt) (PingResult, error) {
	ps, err := n.reach(ctx, target, a)
	if err != nil {
		return PingResult{}, err
	}
	a.Path = ps.sess.Path().String()
	rtt, err := ps.sess.Ping(ctx)
	if err != nil {
		return PingResult{}, err
	}
	return PingResult{RTT: rtt, Path: ps.sess.Path().String(), Layer: ps.sess.PeerLayer(), Peer: ps.sess.Peer()}, nil
}

func pingError(host string, err error) error {
	return &net.OpError{Op: "ping", Net: stream.Network, Addr: textAddr(host), Err: err}
}
