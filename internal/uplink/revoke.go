package uplink

import (
	"context"
	"errors"
)

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
