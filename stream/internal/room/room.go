// Package room shares what the carrier of a layer takes at one time among the
// conns that write, first come first served. Neither yamux nor pion/sctp bounds
// what is written to it, so conns wait here instead.
package room

import "slices"

// A Queue is the conns that want room, and the room that they were granted and
// have not used yet. Its user knows how much is free besides, and guards it with
// a lock. The zero value is ready.
type Queue struct {
	granted int
	waiters []*Waiter // first come first served
}

// A Waiter wants room for n bytes.
type Waiter struct {
	n       int
	Granted chan struct{} // closed when it has it
}

// Try takes room for n bytes if so much is free and nobody waits.
func (q *Queue) Try(n, free int) bool {
	if len(q.waiters) > 0 || q.granted+n > free {
		return false
	}
	q.granted += n
	return true
}

// Wait queues up for room for n bytes. Grant is called next. The caller waits
// for Granted, and calls Cancel if it does not wait so long.
func (q *Queue) Wait(n int) *Waiter {
	w := &Waiter{n: n, Granted: make(chan struct{})}
	q.waiters = append(q.waiters, w)
	return w
}

// Cancel gives up waiting. Grant is called next.
func (q *Queue) Cancel(w *Waiter) {
	if i := slices.Index(q.waiters, w); i >= 0 {
		q.waiters = slices.Delete(q.waiters, i, i+1)
	} else {
		q.granted -= w.n // it was granted just now
	}
}

// Return ends a grant of n bytes, which were written or never will be. Grant is
// called next.
func (q *Queue) Return(n int) { q.granted -= n }

// Grant serves those who wait while there is room in what is free.
func (q *Queue) Grant(free int) {
	for len(q.waiters) > 0 && q.granted+q.waiters[0].n <= free {
		w := q.waiters[0]
		q.granted += w.n
		q.waiters = slices.Delete(q.waiters, 0, 1)
		close(w.Granted)
	}
}

// State returns how many bytes are granted and how many waiters there are.
func (q *Queue) State() (granted, waiting int) { return q.granted, len(q.waiters) }
