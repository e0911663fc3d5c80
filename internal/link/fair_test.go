package link

import (
	"math/rand/v2"
	"testing"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// numbered returns a frame of a source that carries a number.
func numbered(src identity.NodeID, n, size int) *frame.Frame {
	f := frame.New(max(size, 2))
	f.SetSrc(src)
	f.Packet()[0], f.Packet()[1] = byte(n>>8), byte(n)
	return f
}

func number(f *frame.Frame) int { return int(f.Packet()[0])<<8 | int(f.Packet()[1]) }

func TestSourcesTakeTurns(t *testing.T) {
	var q fairQueue
	for i := range 1000 {
		q.push(numbered(1, i, 1200))
	}
	for i := range 10 {
		q.push(numbered(2, i, 1200))
		q.push(numbered(3, i, 60<<10))
	}
	sent := map[identity.NodeID]int{}
	for _, f := range q.take(nil) {
		sent[f.Src()] += len(f.Bytes())
		if sent[1] > quantum && (sent[2] == 0 || sent[3] == 0) {
			t.Fatalf("sent %v: the first source did not let the others have their turns", sent)
		}
		f.Release()
	}
	if sent[2] != 10*(1200+frame.HeaderLen) || sent[3] == 0 {
		t.Errorf("sent %v; want all of source 2 and some of source 3", sent)
	}
	for range 10 {
		for _, f := range q.take(nil) {
			sent[f.Src()] += len(f.Bytes())
			f.Release()
		}
	}
	if sent[3] != 10*(60<<10+frame.HeaderLen) {
		t.Errorf("sent %v; want all of source 3", sent)
	}
	for _, f := range q.takeAll() {
		f.Release()
	}
}

// A queue with random operations keeps each source's order, loses nothing but
// what it pushes out, and counts right.
func TestAFairQueueAgainstAModel(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 1))
		var q fairQueue
		model := map[identity.NodeID][]int{}
		held, next := 0, 0
		for range 1000 {
			switch r.IntN(10) {
			case 0:
				for _, f := range q.take(nil) {
					src := f.Src()
					if model[src][0] != number(f) {
						t.Fatalf("seed %d: source %v sent %d, want %d", seed, src, number(f), model[src][0])
					}
					model[src] = model[src][1:]
					held -= f.Cap()
					f.Release()
				}
			case 1:
				f := q.pushOut(identity.NodeID(1+r.IntN(200)), 100)
				if f == nil {
					continue
				}
				src := f.Src()
				last := len(model[src]) - 1
				if model[src][last] != number(f) {
					t.Fatalf("seed %d: pushed out %d, want %d", seed, number(f), model[src][last])
				}
				model[src] = model[src][:last]
				held -= f.Cap()
				f.Release()
			default:
				src := identity.NodeID(1 + r.ExpFloat64()*20)
				f := numbered(src, next, r.IntN(3000))
				model[src] = append(model[src], next)
				next++
				held += f.Cap()
				q.push(f)
			}
			checkQueue(t, &q, model, held)
		}
		for _, f := range q.takeAll() {
			f.Release()
		}
	}
}

func checkQueue(t *testing.T, q *fairQueue, model map[identity.NodeID][]int, held int) {
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
	var q fairQueue
	for i := range 100 {
		q.push(numbered(1, i, 1200))
	}
	for i := range 10 {
		q.push(numbered(2, i, 1200))
	}
	if f := q.pushOut(1, 2048); f != nil {
		t.Errorf("a frame of %v made room for the source that has the most", f.Src())
	}
	for i := range 40 {
		f := q.pushOut(2, 2048)
		if f == nil || f.Src() != 1 || number(f) != 99-i {
			t.Fatalf("pushed out %v, want the newest of source 1", f)
		}
		f.Release()
	}
	if own, others := q.share(2); own != 10*2048 || others != 1 {
		t.Errorf("source 2 has %d bytes beside %d others", own, others)
	}
	if own, others := q.share(3); own != 0 || others != 2 {
		t.Errorf("source 3 has %d bytes beside %d others", own, others)
	}
	for _, f := range q.takeAll() {
		f.Release()
	}
	if f := q.pushOut(2, 1); f != nil || len(q.takeAll()) != 0 {
		t.Error("an empty queue gave a frame")
	}
}

func TestAFairQueueAllocatesNothing(t *testing.T) {
	var q fairQueue
	batch := make([]*frame.Frame, 0, batchFrames)
	frames := make([]*frame.Frame, 100)
	for i := range frames {
		frames[i] = numbered(identity.NodeID(i%10+1), i, 1200)
	}
	n := testing.AllocsPerRun(100, func() {
		for _, f := range frames {
			q.push(f)
		}
		batch = q.take(batch[:0])
	})
	if n != 0 || len(batch) != len(frames) {
		t.Errorf("%v allocations for %d frames, want none", n, len(batch))
	}
}
