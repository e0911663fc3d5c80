// Package fairq is a queue that its sources share fairly: what waits for a link,
// or for another relay.
package fairq

const (
	// Quantum is what a source may send in one turn: at least the largest item,
	// so that no turn is in vain.
	Quantum = 66 << 10
	// maxIdleFlows is how many sources without items keep their place, so that a
	// source that sends now and then costs no memory each time.
	maxIdleFlows = 64
	// maxIdleItems is the room for items that such a source keeps.
	maxIdleItems = 256
)

// An Item is what waits in a [Queue].
type Item[K comparable] interface {
	Src() K   // whose it is
	Len() int // what sending it takes, at most Quantum
	Cap() int // what keeping it takes, more than zero
}

// A Queue holds items until they are sent. Sources take turns (deficit round
// robin, Shreedhar and Varghese 1995), so that one that sends too much delays
// others by one turn at most; the items of each source stay in order. The zero
// value is ready. Each operation takes constant time, but for a rare search for
// the source that has the most. It is not safe for concurrent use.
type Queue[K comparable, T Item[K]] struct {
	flows  map[K]*flow[K, T]
	last   *flow[K, T] // of the last push; nil if it is gone
	fat    *flow[K, T] // one that has more than others, the last time somebody looked
	head   *flow[K, T] // whose turn it is
	tail   *flow[K, T]
	active int // flows with items, from head to tail
	bytes  int // that the items in it hold
}

// A flow is the items of one source.
type flow[K comparable, T any] struct {
	src     K
	items   fifo[T]
	bytes   int         // that the items hold
	deficit int         // what it may still send in this turn
	turn    bool        // its turn has begun
	next    *flow[K, T] // in the round
}

// flow returns the flow of a source, which it makes if there is none.
func (q *Queue[K, T]) flow(src K) *flow[K, T] {
	if q.last != nil && q.last.src == src {
		return q.last
	}
	fl := q.flows[src]
	if fl == nil {
		if q.flows == nil {
			q.flows = make(map[K]*flow[K, T])
		}
		fl = q.newFlow(src)
		q.flows[src] = fl
	}
	q.last = fl
	return fl
}

// newFlow makes a flow, of one that is idle if there are too many of those.
func (q *Queue[K, T]) newFlow(src K) *flow[K, T] {
	if len(q.flows)-q.active < maxIdleFlows {
		return &flow[K, T]{src: src}
	}
	var free *flow[K, T]
	for id, fl := range q.flows {
		if fl.bytes == 0 {
			delete(q.flows, id)
			free = fl
		}
	}
	*free = flow[K, T]{src: src, items: free.items}
	return free
}

// Push adds an item.
func (q *Queue[K, T]) Push(it T) {
	fl := q.flow(it.Src())
	if fl.bytes == 0 {
		q.enlist(fl)
	}
	size := it.Cap()
	fl.items.push(it)
	fl.bytes += size
	q.bytes += size
	if q.fat == nil || fl.bytes > q.fat.bytes {
		q.fat = fl
	}
}

// enlist puts a flow at the end of the round.
func (q *Queue[K, T]) enlist(fl *flow[K, T]) {
	fl.next, fl.turn = nil, false
	if q.tail == nil {
		q.head = fl
	} else {
		q.tail.next = fl
	}
	q.tail = fl
	q.active++
}

// delist takes the first flow out of the round.
func (q *Queue[K, T]) delist() *flow[K, T] {
	fl := q.head
	if q.head = fl.next; q.head == nil {
		q.tail = nil
	}
	fl.next = nil
	q.active--
	return fl
}

// Take appends to batch what is sent next and removes it: up to count items, and
// no more after size bytes.
func (q *Queue[K, T]) Take(batch []T, count, size int) []T {
	length := 0
	for q.head != nil && len(batch) < count && length < size {
		fl := q.head
		if !fl.turn {
			fl.turn = true
			fl.deficit += Quantum
		}
		for fl.bytes > 0 && len(batch) < count && length < size {
			n := fl.items.first().Len()
			if n > fl.deficit {
				break
			}
			fl.deficit -= n
			it := fl.items.pop()
			q.took(fl, it)
			length += n
			batch = append(batch, it)
		}
		switch {
		case fl.bytes == 0:
			q.delist()
			q.idle(fl)
		case len(batch) < count && length < size: // the turn is over
			q.delist()
			q.enlist(fl)
		}
	}
	return batch
}

// took counts an item that was removed.
func (q *Queue[K, T]) took(fl *flow[K, T], it T) {
	fl.bytes -= it.Cap()
	q.bytes -= it.Cap()
}

// idle makes a flow without items small, unless it is the only one.
func (q *Queue[K, T]) idle(fl *flow[K, T]) {
	fl.deficit = 0
	if len(q.flows) > 1 && cap(fl.items.items) > maxIdleItems {
		fl.items = fifo[T]{}
	}
	if len(q.flows)-q.active <= 2*maxIdleFlows {
		return
	}
	for id, fl := range q.flows { // a crowd has left
		if fl.bytes == 0 {
			delete(q.flows, id)
		}
	}
	q.last = nil
}

// PushOut removes the newest item of the source that has the most, to make
// room for one of src that holds size bytes; false if src would have the most.
func (q *Queue[K, T]) PushOut(src K, size int) (newest T, ok bool) {
	if q.active == 0 {
		return newest, false
	}
	have, fat := 0, q.fattest()
	if fl := q.flows[src]; fl != nil {
		have = fl.bytes
	}
	if have+size >= fat.bytes || fat.items.len() < 2 {
		return newest, false
	}
	newest = fat.items.popLast()
	q.took(fat, newest)
	return newest, true
}

// fattest returns a flow that has as much as the average, or more.
func (q *Queue[K, T]) fattest() *flow[K, T] {
	if q.fat != nil && q.fat.bytes*q.active >= q.bytes {
		return q.fat
	}
	q.fat = q.head
	for fl := q.head; fl != nil; fl = fl.next {
		if fl.bytes > q.fat.bytes {
			q.fat = fl
		}
	}
	return q.fat
}

// Share returns the bytes that src has in the queue, and how many other sources
// have any.
func (q *Queue[K, T]) Share(src K) (bytes, others int) {
	if fl := q.flows[src]; fl != nil && fl.bytes > 0 {
		return fl.bytes, q.active - 1
	}
	return 0, q.active
}

// TakeAll removes and returns everything.
func (q *Queue[K, T]) TakeAll() []T {
	var all []T
	for fl := q.head; fl != nil; fl = fl.next {
		all = append(all, fl.items.takeAll()...)
	}
	*q = Queue[K, T]{}
	return all
}

// A fifo is a queue of items whose memory follows its length.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) push(it T) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, it)
}

// first returns the oldest item.
func (q *fifo[T]) first() T { return q.items[q.head] }

// pop removes the oldest item.
func (q *fifo[T]) pop() T {
	it := q.items[q.head]
	clear(q.items[q.head : q.head+1])
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return it
}

// popLast removes the newest item.
func (q *fifo[T]) popLast() T {
	last := len(q.items) - 1
	it := q.items[last]
	clear(q.items[last:])
	if q.items = q.items[:last]; q.head == last {
		q.items, q.head = q.items[:0], 0
	}
	return it
}

// takeAll removes and returns everything.
func (q *fifo[T]) takeAll() []T {
	fs := q.items[q.head:]
	*q = fifo[T]{}
	return fs
}
