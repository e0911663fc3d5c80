package recovery

import "sort"

// A slot remembers one packet of a queue; p is nil once it is acknowledged.
type slot struct {
	number uint64
	p      *Packet
}

// A queue holds the outstanding packets of a space in the order of their
// numbers, in a ring. Packets enter at the back; whatever is decided about the
// front leaves there; acknowledged ones in between leave an empty slot.
type queue struct {
	ring []slot // the length is a power of two
	head int
	n    int
}

const minRing = 32 // slots of the smallest ring

func (q *queue) at(i int) *slot { return &q.ring[(q.head+i)&(len(q.ring)-1)] }

func (q *queue) push(p *Packet) {
	if q.n == len(q.ring) {
		ring := make([]slot, max(minRing, 2*q.n))
		for i := range q.n {
			ring[i] = *q.at(i)
		}
		q.ring, q.head = ring, 0
	}
	*q.at(q.n) = slot{p.Number, p}
	q.n++
}

func (q *queue) pop() {
	*q.at(0) = slot{}
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
}

// search returns the index of the first slot whose number is at least number,
// or q.n. Numbers seldom have gaps, so the first guess is mostly right; it is
// never too low.
func (q *queue) search(number uint64) int {
	if q.n == 0 || number <= q.at(0).number {
		return 0
	}
	guess := q.n
	if d := number - q.at(0).number; d < uint64(q.n) {
		guess = int(d)
		if q.at(guess).number == number {
			return guess
		}
	}
	return sort.Search(guess, func(i int) bool { return q.at(i).number >= number })
}
