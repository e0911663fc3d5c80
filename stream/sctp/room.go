package sctp

import (
	"slices"
	"sync"
)

// roomSlack is how much may be written beyond what the association may have in
// flight: enough that it never waits for a writer, and little to get past for
// what comes later.
const roomSlack = 256 << 10

// A room is what may be written to the association, which itself takes
// everything. Conns wait in turn.
type room struct {
	association interface {
		BufferedAmount() int // bytes that were written and not acknowledged
		CWND() uint32        // bytes that may be in flight
	}

	mu      sync.Mutex
	limit   int       // congestion window and roomSlack
	used    int       // what the association holds, as last seen
	granted int       // on its way to the association
	waiters []*waiter // first come first served
}

// A waiter wants room for n bytes.
type waiter struct {
	n    int
	room chan struct{} // closed when it is granted
}

// update looks again at what the association holds.
func (r *room) update() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look()
}

// look is update for who holds r.mu.
func (r *room) look() {
	r.used = r.association.BufferedAmount()
	r.limit = int(r.association.CWND()) + roomSlack
	r.grant()
}

// tryReserve takes room for n bytes if there is some and nobody waits.
func (r *room) tryReserve(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiters) > 0 || !r.fits(n) {
		return false
	}
	r.granted += n
	return true
}

// reserve queues up for room for n bytes. The caller waits for the channel to
// be closed, and calls cancel if it does not wait so long.
func (r *room) reserve(n int) *waiter {
	w := &waiter{n: n, room: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiters = append(r.waiters, w)
	r.grant()
	return w
}

// cancel gives up waiting.
func (r *room) cancel(w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.waiters, w); i >= 0 {
		r.waiters = slices.Delete(r.waiters, i, i+1)
	} else {
		r.granted -= w.n // it was granted just now
	}
	r.grant()
}

// written ends a grant: the bytes are in the association now, or never will be.
func (r *room) written(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.granted -= n
	r.look()
}

// grant serves waiters while there is room. r.mu is held.
func (r *room) grant() {
	for len(r.waiters) > 0 && r.fits(r.waiters[0].n) {
		w := r.waiters[0]
		r.granted += w.n
		r.waiters = slices.Delete(r.waiters, 0, 1)
		close(w.room)
	}
}

// fits reports whether there is room for n more bytes. r.mu is held.
func (r *room) fits(n int) bool { return r.used+r.granted+n <= r.limit }
