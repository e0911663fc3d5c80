package session

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/weftnet/weft/internal/frame"
)

// A queue hands values from a session's goroutine to whoever waits for them.
// Values that are there are returned before the error of a closed queue or an
// ended context.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	limit int
	err   error
	avail signal
}

func newQueue[T any](limit int) queue[T] { return queue[T]{limit: limit, avail: newSignal()} }

// put adds v and reports whether there was room.
func (q *queue[T]) put(v T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil || len(q.items) >= q.limit {
		return false
	}
	q.items = append(q.items, v)
	q.avail.set()
	return true
}

// get returns the next value.
func (q *queue[T]) get(ctx context.Context) (v T, err error) {
	for {
		q.mu.Lock()
		if len(q.items) > 0 {
			var zero T
			v, q.items[0] = q.items[0], zero
			q.items = q.items[1:]
			if len(q.items) > 0 {
				q.avail.set()
			}
			q.mu.Unlock()
			return v, nil
		}
		err := q.err
		q.mu.Unlock()
		if err != nil {
			q.avail.set()
			return v, err
		}
		select {
		case <-q.avail:
		case <-ctx.Done():
			q.avail.set()
			return v, context.Cause(ctx)
		}
	}
}

// close makes get fail once the queue is empty.
func (q *queue[T]) close(err error) {
	q.mu.Lock()
	q.err = err
	q.mu.Unlock()
	q.avail.set()
}

// inboxLimit is how many bytes of packets may wait for a session's goroutine.
const inboxLimit = 8 << 20

// An item is a received packet and the link it came in on.
type item struct {
	f   *frame.Frame
	via Path
}

// An inbox holds packets that the switch delivered until the session's
// goroutine takes them all.
type inbox struct {
	mu      sync.Mutex
	items   []item
	spare   []item
	bytes   int
	closed  bool
	dropped atomic.Uint64
}

// put takes ownership of f. It never blocks; a full inbox drops and counts.
func (b *inbox) put(f *frame.Frame, via Path) (first bool) {
	b.mu.Lock()
	if b.closed || b.bytes > inboxLimit {
		b.mu.Unlock()
		b.dropped.Add(1)
		f.Release()
		return false
	}
	first = len(b.items) == 0
	b.items = append(b.items, item{f, via})
	b.bytes += f.Cap()
	b.mu.Unlock()
	return first
}

func (b *inbox) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.items) == 0
}

// take returns everything that waits. The slice is valid until the next call.
func (b *inbox) take() []item {
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.items
	b.items, b.spare = b.spare[:0], got
	b.bytes = 0
	if cap(got) > 1024 {
		b.spare = nil
	}
	return got
}

// close releases what waits and drops what comes.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, it := range b.items {
		it.f.Release()
	}
	b.items, b.closed = nil, true
}

// A fifo is a first-in first-out list that does not allocate once it has
// grown.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) push(v T) {
	if q.head > len(q.items)/2 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

func (q *fifo[T]) peek() T { return q.items[q.head] }

func (q *fifo[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}
