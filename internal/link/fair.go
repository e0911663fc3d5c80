package link

import (
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

const (
	// quantum is what a source may send in one turn: at least the largest
	// frame, so that no turn is in vain.
	quantum = frame.HeaderLen + frame.MaxPacket
	// maxIdleFlows is how many sources without frames keep their place, so that
	// a source that sends now and then costs no memory each time.
	maxIdleFlows = 64
	// maxIdleFrames is the room for frames that such a source keeps.
	maxIdleFrames = 256
)

// A fairQueue holds frames until they are written. Sources take turns (deficit
// round robin, Shreedhar and Varghese 1995), so that one that floods the link
// delays others by one turn at most; the frames of each source stay in order.
// The zero value is ready. Each operation takes constant time, but for a rare
// search for the source that has the most.
type fairQueue struct {
	flows  map[identity.NodeID]*flow
	last   *flow // of the last push; nil if it is gone
	fat    *flow // one that has more than others, the last time somebody looked
	head   *flow // whose turn it is
	tail   *flow
	active int // flows with frames, from head to tail
	bytes  int // that the frames in it hold
}

// A flow is the frames of one source.
type flow struct {
	src     identity.NodeID
	frames  fifo
	bytes   int   // that the frames hold
	deficit int   // what it may still send in this turn
	turn    bool  // its turn has begun
	next    *flow // in the round
}

// flow returns the flow of a source, which it makes if there is none.
func (q *fairQueue) flow(src identity.NodeID) *flow {
	if q.last != nil && q.last.src == src {
		return q.last
	}
	fl := q.flows[src]
	if fl == nil {
		if q.flows == nil {
			q.flows = make(map[identity.NodeID]*flow)
		}
		fl = q.newFlow(src)
		q.flows[src] = fl
	}
	q.last = fl
	return fl
}

// newFlow makes a flow, of one that is idle if there are too many of those.
func (q *fairQueue) newFlow(src identity.NodeID) *flow {
	if len(q.flows)-q.active < maxIdleFlows {
		return &flow{src: src}
	}
	var free *flow
	for id, fl := range q.flows {
		if fl.bytes == 0 {
			delete(q.flows, id)
			free = fl
		}
	}
	*free = flow{src: src, frames: free.frames}
	return free
}

// push adds a frame.
func (q *fairQueue) push(f *frame.Frame) {
	fl := q.flow(f.Src())
	if fl.bytes == 0 {
		q.enlist(fl)
	}
	size := f.Cap()
	fl.frames.push(f)
	fl.bytes += size
	q.bytes += size
	if q.fat == nil || fl.bytes > q.fat.bytes {
		q.fat = fl
	}
}

// enlist puts a flow at the end of the round.
func (q *fairQueue) enlist(fl *flow) {
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
func (q *fairQueue) delist() *flow {
	fl := q.head
	if q.head = fl.next; q.head == nil {
		q.tail = nil
	}
	fl.next = nil
	q.active--
	return fl
}

// take appends the frames of one batch to batch and removes them.
func (q *fairQueue) take(batch []*frame.Frame) []*frame.Frame {
	length := 0
	for q.head != nil && len(batch) < batchFrames && length < batchBytes {
		fl := q.head
		if !fl.turn {
			fl.turn = true
			fl.deficit += quantum
		}
		for fl.bytes > 0 && len(batch) < batchFrames && length < batchBytes {
			n := len(fl.frames.first().Bytes())
			if n > fl.deficit {
				break
			}
			fl.deficit -= n
			f := fl.frames.pop()
			q.took(fl, f)
			length += n
			batch = append(batch, f)
		}
		switch {
		case fl.bytes == 0:
			q.delist()
			q.idle(fl)
		case len(batch) < batchFrames && length < batchBytes: // the turn is over
			q.delist()
			q.enlist(fl)
		}
	}
	return batch
}

// took counts a frame that was removed.
func (q *fairQueue) took(fl *flow, f *frame.Frame) {
	fl.bytes -= f.Cap()
	q.bytes -= f.Cap()
}

// idle makes a flow without frames small, unless it is the only one.
func (q *fairQueue) idle(fl *flow) {
	fl.deficit = 0
	if len(q.flows) > 1 && cap(fl.frames.frames) > maxIdleFrames {
		fl.frames = fifo{}
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

// pushOut removes the newest frame of the source that has the most, to make
// room for one of src that holds size bytes; nil if src would have the most.
func (q *fairQueue) pushOut(src identity.NodeID, size int) *frame.Frame {
	if q.active == 0 {
		return nil
	}
	have, fat := 0, q.fattest()
	if fl := q.flows[src]; fl != nil {
		have = fl.bytes
	}
	if have+size >= fat.bytes || fat.frames.len() < 2 {
		return nil
	}
	f := fat.frames.popLast()
	q.took(fat, f)
	return f
}

// fattest returns a flow that has as much as the average, or more.
func (q *fairQueue) fattest() *flow {
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

// share returns the bytes that src has in the queue, and how many other sources
// have any.
func (q *fairQueue) share(src identity.NodeID) (bytes, others int) {
	if fl := q.flows[src]; fl != nil && fl.bytes > 0 {
		return fl.bytes, q.active - 1
	}
	return 0, q.active
}

// takeAll removes and returns everything.
func (q *fairQueue) takeAll() []*frame.Frame {
	var all []*frame.Frame
	for fl := q.head; fl != nil; fl = fl.next {
		all = append(all, fl.frames.takeAll()...)
	}
	*q = fairQueue{}
	return all
}

// A fifo is a queue of frames whose memory follows its length.
type fifo struct {
	frames []*frame.Frame
	head   int
}

func (q *fifo) len() int { return len(q.frames) - q.head }

func (q *fifo) push(f *frame.Frame) {
	if len(q.frames) == cap(q.frames) && q.head > len(q.frames)/2 {
		n := copy(q.frames, q.frames[q.head:])
		clear(q.frames[n:])
		q.frames, q.head = q.frames[:n], 0
	}
	q.frames = append(q.frames, f)
}

// first returns the oldest frame.
func (q *fifo) first() *frame.Frame { return q.frames[q.head] }

// pop removes the oldest frame.
func (q *fifo) pop() *frame.Frame {
	f := q.frames[q.head]
	q.frames[q.head] = nil
	if q.head++; q.head == len(q.frames) {
		q.frames, q.head = q.frames[:0], 0
	}
	return f
}

// popLast removes the newest frame.
func (q *fifo) popLast() *frame.Frame {
	last := len(q.frames) - 1
	f := q.frames[last]
	q.frames[last] = nil
	if q.frames = q.frames[:last]; q.head == last {
		q.frames, q.head = q.frames[:0], 0
	}
	return f
}

// takeAll removes and returns everything.
func (q *fifo) takeAll() []*frame.Frame {
	fs := q.frames[q.head:]
	*q = fifo{}
	return fs
}
