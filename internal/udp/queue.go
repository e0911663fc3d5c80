package udp

import (
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/spare"
)

// An item is one datagram that waits: a frame, or another one in the room for a
// frame's packet.
type item struct {
	f     *frame.Frame
	other bool
}

// bytes is the datagram.
func (it item) bytes() []byte {
	if it.other {
		return it.f.Packet()
	}
	return it.f.Bytes()
}

// maxIdleItems is the room that an empty queue keeps: thousands of flows that
// were busy once should not hold more than 4 KiB each.
const maxIdleItems = 256

// spareItems has the room of queues that have emptied.
var spareItems spare.Slices[item]

// A fifo is a queue whose memory is used again.
type fifo struct {
	items []item
	head  int
}

func (q *fifo) empty() bool { return q.head == len(q.items) }

func (q *fifo) first() item { return q.items[q.head] }

func (q *fifo) push(it item) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(spareItems.Grow(q.items), it)
}

func (q *fifo) pop() item {
	it := q.items[q.head]
	q.items[q.head] = item{}
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > maxIdleItems {
			spareItems.Put(q.items)
			q.items = nil
		}
	}
	return it
}

// maxMessageBytes is what several datagrams that are written as one message
// hold: with its headers an IP packet has at most 65535 bytes, the kernel's
// room for cutting them excepted.
const maxMessageBytes = 65000

// A batch is what the writer takes from the queues at once. Its arrays are made
// once; ms[i] holds the datagrams from starts[i] to starts[i+1], all of flows[i].
type batch struct {
	ms     []Outgoing
	flows  []*Flow
	starts []int
	items  []item
	bufs   [][]byte
}

func newBatch() *batch {
	return &batch{
		ms:     make([]Outgoing, 0, maxMessages),
		flows:  make([]*Flow, 0, maxMessages),
		starts: make([]int, 0, maxMessages),
		items:  make([]item, 0, maxDatagrams),
		bufs:   make([][]byte, 0, maxDatagrams),
	}
}

// full reports whether a message of up to so many datagrams may not fit.
func (b *batch) full(segments int) bool {
	return len(b.ms) == maxMessages || len(b.items)+segments > maxDatagrams
}

// take moves datagrams from a flow's queue into one more message: as many of
// equal size as follow each other, and one shorter behind them.
func (b *batch) take(fl *Flow, segments int) {
	start, size, total := len(b.items), 0, 0
	for n := 0; n < segments && !fl.queue.empty(); n++ {
		buf := fl.queue.first().bytes()
		if n == 0 {
			size = len(buf)
		} else if len(buf) > size || total+len(buf) > maxMessageBytes {
			break
		}
		b.items = append(b.items, fl.queue.pop())
		b.bufs = append(b.bufs, buf)
		total += len(buf)
		if len(buf) < size {
			break
		}
	}
	b.ms = append(b.ms, Outgoing{Bufs: b.bufs[start:len(b.bufs):len(b.bufs)], To: fl.addr})
	b.flows = append(b.flows, fl)
	b.starts = append(b.starts, start)
}

// itemsOf returns the datagrams of message i.
func (b *batch) itemsOf(i int) []item {
	return b.items[b.starts[i] : b.starts[i]+len(b.ms[i].Bufs)]
}

// reset empties the batch.
func (b *batch) reset() {
	clear(b.ms)
	clear(b.flows)
	clear(b.items)
	clear(b.bufs)
	b.ms, b.flows, b.starts = b.ms[:0], b.flows[:0], b.starts[:0]
	b.items, b.bufs = b.items[:0], b.bufs[:0]
}
