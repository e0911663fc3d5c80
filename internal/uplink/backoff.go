package uplink

import (
	"context"
	"math/rand/v2"
	"time"
)

// A backoff makes the pauses between failed attempts: doubling from min to
// max, each a random one between half of that and all of it.
type backoff struct{ min, max, next time.Duration }

func newBackoff(min, max time.Duration) *backoff { return &backoff{min: min, max: max, next: min} }

// reset starts over after a success.
func (b *backoff) reset() { b.next = b.min }

// wait pauses; it returns false when ctx ends first.
func (b *backoff) wait(ctx context.Context) bool {
	d := b.next/2 + rand.N(b.next/2+1)
	b.next = min(2*b.next, b.max)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
