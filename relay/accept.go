package relay

import (
	"context"
	"errors"
	"time"
)

// The pauses after errors of a listener.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// temporary reports whether an error of a listener passes: too many open
// files, a conn that was aborted before it was accepted.
func temporary(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary()
}

// An acceptPause grows with each error in a row. The zero value is ready.
type acceptPause struct{ last time.Duration }

func (p *acceptPause) reset() { p.last = 0 }

// wait pauses; it returns false when ctx ends first.
func (p *acceptPause) wait(ctx context.Context) bool {
	p.last = min(max(2*p.last, minAcceptPause), maxAcceptPause)
	t := time.NewTimer(p.last)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
