package uplink

import (
	"context"
	"math/rand/v2"
	"time"
)

// A backoff makes the pauses between failed attempts: doubling from first to
// longest, each a random one between half of that and all of it.
type backoff struct{ first, longest, next time.Duration }

func newBackoff(first, longest time.Duration) *backoff {
	return &backoff{first: first, longest: longest, next: first}
}

// reset starts over after a success.
func (b *backoff) reset() { b.next = b.first }

// wait pauses; it returns false when ctx ends first.
func (b *backoff) wait(ctx context.Context) bool {
	d := b.next/2 + rand.N(b.next/2+1)
	b.next = min(2*b.next, b.longest)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
