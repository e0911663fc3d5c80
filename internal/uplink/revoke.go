package uplink

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/control"
)

// handOnAfter is how long after a registration a node hands its relay what that
// does not know to be revoked; up to as much is added at random. The relay has
// told what it knows by then.
const handOnAfter = 10 * time.Second

// handOn tells a relay that has lost its memory, or never was told, what is
// revoked. The relay is home, and told with the registration which revocations it
// has; if those are all that this node has now, there is nothing to do.
func (u *Uplink) handOn(ctx context.Context, client *control.Client) {
	if u.cfg.Revocations == nil || !u.Status().Registered || u.cfg.Revocations.Sum() == u.revokedThere.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, JoinTimeout)
	defer cancel()
	for part := range slices.Chunk(u.cfg.Revocations.All(), control.MaxRevocations) {
		if err := client.Revoke(ctx, part); err != nil {
			u.log.WithError(err).Debug("the relay does not take all revocations")
			return
		}
	}
}

// Revoke hands revocations to all relays that are up, at most
// [control.MaxRevocations]. It is enough if one of them takes them; otherwise the
// error is a *[NoRelayError], or says how each relay failed.
func (s *Set) Revoke(ctx context.Context, list [][]byte) error {
	var errs []error
	done := false
	for _, u := range s.homeFirst() {
		u.mu.Lock()
		client := u.client
		u.mu.Unlock()
		if client == nil {
			continue
		}
		if err := client.Revoke(ctx, list); err != nil {
			errs = append(errs, err)
			continue
		}
		done = true
	}
	switch {
	case done:
		return nil
	case len(errs) == 0:
		return &NoRelayError{Relays: s.Status()}
	}
	return errors.Join(errs...)
}
