package fairq

import (
	"math/rand/v2"
	"testing"
)

const (
	batchItems = 256
	batchBytes = 256 << 10
)

// A parcel is an item with a number.
type parcel struct{ src, number, size int }

func (p *parcel) Src() int { return p.src }
func (p *parcel) Len() int { return p.size }
func (p *parcel) Cap() int { return 2048 * (1 + p.size/2048) }

// queue is one of parcels.
type queue = Queue[int, *parcel]

// numbered returns an item of a source that carries a number.
func numbered(src, n, size int) *parcel { return &parcel{src, n, size} }

func TestSourcesTakeTurns(t *testing.T) {
	var q queue
	for i := range 1000 {
		q.Push(numbered(1, i, 1200))
	}
	for i := range 10 {
		q.Push(numbered(2, i, 1200))
		q.Push(numbered(3, i, 60<<10))
	}
	sent := map[int]int{}
	for _, f := range q.Take(nil, batchItems, batchBytes) {
		sent[f.src] += f.Len()
		if sent[1] > Quantum && (sent[2] == 0 || sent[3] == 0) {
			t.Fatalf("sent %v: the first source did not let the others have their turns", sent)
		}
	}
	if sent[2] != 10*1200 || sent[3] == 0 {
		t.Errorf("sent %v; want all of source 2 and some of source 3", sent)
	}
	for range 10 {
		for _, f := range q.Take(nil, batchItems, batchBytes) {
			sent[f.src] += f.Len()
		}
	}
	if sent[3] != 10*(60<<10) {
		t.Errorf("sent %v; want all of source 3", sent)
	}
}

// A queue with random operations keeps each source's order, loses nothing but
// what it pushes out, and counts right.
func TestAFairQueueAgainstAModel(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 1))
		var q queue
		model := map[int][]int{}
		held, next := 0, 0
		for range 1000 {
			switch r.IntN(10) {
			case 0:
				for _, f := range q.Take(nil, batchItems, batchBytes) {
					src := f.src
					if model[src][0] != f.number {
						t.Fatalf("seed %d: source %v sent %d, want %d", seed, src, f.number, model[src][0])
					}
					model[src] = model[src][1:]
					held -= f.Cap()
				}
			case 1:
				f, ok := q.PushOut(1+r.IntN(200), 100)
				if !ok {
					continue
				}
				src := f.src
				last := len(model[src]) - 1
				if model[src][last] != f.number {
					t.Fatalf("seed %d: pushed out %d, want %d", seed, f.number, model[src][last])
				}
				model[src] = model[src][:last]
				held -= f.Cap()
			default:
				src := int(1 + r.ExpFloat64()*20)
				f := numbered(src, next, r.IntN(3000))
				model[src] = append(model[src], next)
				next++
				held += f.Cap()
				q.Push(f)
			}
			checkQueue(t, &q, model, held)
		}
	}
}

func checkQueue(t *testing.T, q *queue, model map[int][]int, held int) {
	t.Helper()
	active := 0
	for _, frames := range model {
		if len(frames) > 0 {
			active++
		}
	}
	if q.bytes != held || q.active != active || len(q.flows) > active+2*maxIdleFlows {
		t.Fatalf("queue holds %d bytes of %d sources and knows %d; want %d of %d", q.bytes, q.active, len(q.flows), held, active)
	}
}

func TestOnlyWhoHasTheMostIsPushedOut(t *testing.T) {
	var q queue
	for i := range 100 {
		q.Push(numbered(1, i, 1200))
	}
	for i := range 10 {
		q.Push(numbered(2, i, 1200))
	}
	if f, ok := q.PushOut(1, 2048); ok {
		t.Errorf("a frame of %v made room for the source that has the most", f.src)
	}
	for i := range 40 {
		f, ok := q.PushOut(2, 2048)
		if !ok || f.src != 1 || f.number != 99-i {
			t.Fatalf("pushed out %v, want the newest of source 1", f)
		}
	}
	if own, others := q.Share(2); own != 10*2048 || others != 1 {
		t.Errorf("source 2 has %d bytes beside %d others", own, others)
	}
	if own, others := q.Share(3); own != 0 || others != 2 {
		t.Errorf("source 3 has %d bytes beside %d others", own, others)
	}
	q.TakeAll()
	if _, ok := q.PushOut(2, 1); ok || len(q.TakeAll()) != 0 {
		t.Error("an empty queue gave a frame")
	}
}

func TestAFairQueueAllocatesNothing(t *testing.T) {
	var q queue
	batch := make([]*parcel, 0, batchItems)
	frames := make([]*parcel, 100)
	for i := range frames {
		frames[i] = numbered(i%10+1, i, 1200)
	}
	n := testing.AllocsPerRun(100, func() {
		for _, f := range frames {
			q.Push(f)
		}
		batch = q.Take(batch[:0], batchItems, batchBytes)
	})
	if n != 0 || len(batch) != len(frames) {
		t.Errorf("%v allocations for %d frames, want none", n, len(batch))
	}
}
