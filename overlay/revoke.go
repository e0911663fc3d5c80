package overlay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
)

// A Revocation takes a membership back before its end: that of one node key, or
// of all nodes with an invite.
type Revocation = identity.Revocation

// ErrRevoked matches the errors of those whose membership was taken back.
var ErrRevoked = identity.ErrRevoked

// NewRevocation makes a revocation in the network with a name, "weft" if empty,
// and a secret, as a line of text for [Node.Revoke]. It is no secret, and needs no
// connection. A node that has the network's secret or another invite can come back
// with a new key: revoke its invite, or make a new secret.
func NewRevocation(network, secret string, r Revocation) (text string, made Revocation, err error) {
	n, err := identity.OpenNetwork(identity.NetworkConfig{Name: network, Secret: secret})
	if err != nil {
		return "", Revocation{}, fmt.Errorf("overlay: %w", err)
	}
	b, err := n.Revoke(r)
	if err != nil {
		return "", Revocation{}, fmt.Errorf("overlay: %w", err)
	}
	made, _, err = identity.ReadRevocation(b)
	return identity.FormatRevocation(b), made, err
}

// Revoke hands revocations, as [NewRevocation] makes them, to the node's relays,
// which tell all others and all nodes; this node believes them, too. It returns
// nil once one relay has all of them. Any member may hand them on: only who has the
// network's secret can have made them. At most 64 at a time.
func (n *Node) Revoke(ctx context.Context, revocations ...string) error {
	if len(revocations) == 0 || len(revocations) > control.MaxRevocations {
		return fmt.Errorf("overlay: %d revocations; want 1 to %d", len(revocations), control.MaxRevocations)
	}
	var list [][]byte
	for _, text := range revocations {
		b, err := identity.ParseRevocation(text)
		if err == nil {
			_, _, err = n.credentials.Revocations().Add(b)
		}
		if err != nil {
			return fmt.Errorf("overlay: %w", err)
		}
		list = append(list, b)
	}
	ctx, stop := n.until(ctx)
	defer stop()
	if err := n.uplinks.Revoke(ctx, list); err != nil {
		return fmt.Errorf("overlay: no relay has taken the revocation: %w", err)
	}
	return nil
}

// learnRevocations takes what a relay says is revoked. The first that is not good
// ends that: an honest relay sends none.
func (n *Node) learnRevocations(list [][]byte) {
	for _, b := range list {
		r, isNew, err := n.credentials.Revocations().Add(b)
		if err != nil {
			level := n.log.WithError(err)
			if errors.Is(err, identity.ErrRevocationsFull) {
				level.Warn("a revocation is not kept")
			} else {
				level.Debug("a relay tells of a revocation that is none")
			}
			return
		}
		if isNew {
			n.log.Infof("revoked: %v", r)
		}
	}
}

// accuse says once that the node itself is revoked.
func (w *warden) accuse(now time.Time) {
	self := identity.Peer{Key: w.node.Key()}
	if w.own != nil {
		self.Invite = w.own.ID
	}
	err := w.revoked.Check(self)
	if err == nil || w.told {
		return
	}
	w.told = true
	w.node.log.WithError(err).Error("this node is revoked: nobody talks to it any more; ask whoever has the network's secret for an invite, and start with a new key")
	w.node.events.put(Event{Kind: EventRevoked, Time: now, Err: err})
}
