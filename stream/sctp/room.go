package sctp

import (
	"sync"

	"github.com/weftnet/weft/stream/internal/room"
)

// roomSlack is how much may be written beyond what the association may have in
// flight: enough that it never waits for a writer, and little to get past for
// what comes later.
const roomSlack = 256 << 10

// A writeRoom is what may be written to the association, which itself takes
// everything. Conns wait in turn.
type writeRoom struct {
	association interface {
		BufferedAmount() int // bytes that were written and not acknowledged
		CWND() uint32        // bytes that may be in flight
	}

	mu    sync.Mutex
	limit int // congestion window and roomSlack
	used  int // what the association holds, as last seen
	queue room.Queue
}

// update looks again at what the association holds.
func (r *writeRoom) update() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look()
}

// look is update for who holds r.mu.
func (r *writeRoom) look() {
	r.used = r.association.BufferedAmount()
	r.limit = int(r.association.CWND()) + roomSlack
	r.grant()
}

// tryReserve takes room for n bytes if there is some and nobody waits.
func (r *writeRoom) tryReserve(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.queue.Try(n, r.limit-r.used)
}

// reserve queues up for room for n bytes. The caller waits for it to be granted,
// and calls cancel if it does not wait so long.
func (r *writeRoom) reserve(n int) *room.Waiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.grant()
	return r.queue.Wait(n)
}

// cancel gives up waiting.
func (r *writeRoom) cancel(w *room.Waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue.Cancel(w)
	r.grant()
}

// written ends a grant: the bytes are in the association now, or never will be.
func (r *writeRoom) written(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue.Return(n)
	r.look()
}

// grant serves waiters while there is room. r.mu is held.
func (r *writeRoom) grant() { r.queue.Grant(r.limit - r.used) }
