package relay

import (
	"context"
	"errors"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
)

// Revoke implements control.Handler. It looks at no more than one revocation
// that is not good.
func (c *console) Revoke(ctx context.Context, list [][]byte) error {
	if _, err := c.ask(ctx); err != nil {
		return err
	}
	for _, b := range list {
		r, isNew, err := c.relay.Credentials.Revocations().Add(b)
		switch {
		case errors.Is(err, identity.ErrRevocationsFull):
			return &control.Failed{Code: control.FailureFull, Reason: "the relay has no room for another revocation"}
		case err != nil:
			return &control.Failed{Code: control.FailureNotAllowed, Reason: "that is no revocation signed with this network's secret"}
		case isNew:
			c.relay.log.WithField("from", c.session.Peer().ID.String()).Warnf("revoked: %v", r)
		}
	}
	return nil
}

// tellRevoked tells the nodes what is revoked, whenever that changes.
func (r *relay) tellRevoked() {
	version := uint64(0)
	for {
		list, upto, more := r.Credentials.Revocations().After(version, identity.MaxRevocations)
		version = upto
		if len(list) > 0 {
			for _, c := range r.allConsoles() {
				c.catchUp()
			}
		}
		select {
		case <-more:
		case <-r.ctx.Done():
			return
		}
	}
}

// catchUp tells the node what it has not been told yet, from a goroutine that
// there is only while there is something to tell: most of the time a relay has
// thousands of nodes and nothing to say to them.
func (c *console) catchUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	server := c.server
	if server == nil || c.telling == server {
		return
	}
	if list, _, _ := c.relay.Credentials.Revocations().After(c.told, 1); len(list) == 0 {
		return
	}
	if c.relay.spawn(func() { c.tell(server) }) {
		c.telling = server
	}
}

// tell runs until the node has been told everything, or has another stream.
func (c *console) tell(server *control.Server) {
	for {
		c.mu.Lock()
		version := c.told
		list, upto, _ := c.relay.Credentials.Revocations().After(version, control.MaxRevocations)
		if c.server != server || len(list) == 0 {
			if c.telling == server {
				c.telling = nil
			}
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		if !server.Tell(c.relay.ctx, &control.Revocations{Revocations: list}) {
			return // the stream has ended; telling stays, so that nobody tries again
		}
		c.mu.Lock()
		if c.server == server {
			c.told = upto
		}
		c.mu.Unlock()
	}
}
