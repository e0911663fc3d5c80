package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/weftnet/weft/internal/frame"
)

var errQueueTest = errors.New("the session ended")

func TestQueueReturnsWhatIsThereBeforeErrors(t *testing.T) {
	q := newQueue[int](2)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("given up"))
	if !q.put(1) || !q.put(2) || q.put(3) {
		t.Fatal("want room for exactly two")
	}
	q.close(errQueueTest)
	if q.put(4) {
		t.Error("a closed queue takes more")
	}
	for want := 1; want <= 2; want++ {
		if v, err := q.get(ctx); v != want || err != nil {
			t.Errorf("get gives %d, %v; want %d", v, err, want)
		}
	}
	if _, err := q.get(ctx); !errors.Is(err, errQueueTest) {
		t.Errorf("then %v, want why it was closed", err)
	}
}

func TestQueueGetEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue[int](1)
		ctx, cancel := context.WithCancelCause(t.Context())
		var err error
		var wg sync.WaitGroup
		wg.Go(func() { _, err = q.get(ctx) })
		synctest.Wait()
		cause := errors.New("given up")
		cancel(cause)
		wg.Wait()
		if !errors.Is(err, cause) {
			t.Errorf("%v, want the context's cause", err)
		}
		q.put(7)
		if v, err := q.get(t.Context()); v != 7 || err != nil {
			t.Errorf("afterwards %d, %v", v, err)
		}
	})
}

func TestQueueServesAllWhoWaitAndCloseEndsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const values, waiters = 500, 8
		q := newQueue[int](values)
		var mu sync.Mutex
		got := map[int]int{}
		var wg sync.WaitGroup
		for range waiters {
			wg.Go(func() {
				for {
					v, err := q.get(t.Context())
					if err != nil {
						if !errors.Is(err, errQueueTest) {
							t.Error(err)
						}
						return
					}
					mu.Lock()
					got[v]++
					mu.Unlock()
				}
			})
		}
		synctest.Wait() // all of them wait
		for v := range values {
			if !q.put(v) {
				t.Fatal("the queue is full")
			}
		}
		synctest.Wait()
		q.close(errQueueTest)
		wg.Wait()
		for v := range values {
			if got[v] != 1 {
				t.Fatalf("value %d came %d times", v, got[v])
			}
		}
	})
}

func TestFifoKeepsOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 6))
	var q fifo[int]
	var model []int
	for i := range 20000 {
		if rng.IntN(100) < 40+20*(i/5000%2) {
			q.push(i)
			model = append(model, i)
		} else if len(model) > 0 {
			if v := q.pop(); v != model[0] {
				t.Fatalf("%d comes out, want %d", v, model[0])
			}
			model = model[1:]
		}
		if q.len() != len(model) {
			t.Fatalf("%d are in it, want %d", q.len(), len(model))
		}
	}
}

func TestFifoDoesNotAllocateInTurns(t *testing.T) {
	var q fifo[*int]
	v := new(int)
	for range 100 {
		q.push(v)
	}
	for range 1000 { // let it grow
		q.push(q.pop())
	}
	if allocs := testing.AllocsPerRun(1000, func() { q.push(q.pop()) }); allocs != 0 {
		t.Errorf("%v allocations a turn, want none", allocs)
	}
	if c := cap(q.items); c > 1000 {
		t.Errorf("100 values take %d places", c)
	}
}

func TestFifoForgetsWhatWasTaken(t *testing.T) {
	var q fifo[*int]
	for range 10 {
		q.push(new(int))
	}
	for range 9 {
		q.pop()
	}
	for i, v := range q.items[:q.head] {
		if v != nil {
			t.Errorf("place %d still holds a value that was taken", i)
		}
	}
}

func TestInboxWakesOnceForEachBatch(t *testing.T) {
	var b inbox
	for range 3 {
		if first := b.put(frame.New(10), nil); !first {
			t.Error("the first frame of a batch wakes nobody")
		}
		if first := b.put(frame.New(10), nil); first {
			t.Error("a second frame wakes again")
		}
		items := b.take()
		if len(items) != 2 {
			t.Errorf("%d frames, want 2", len(items))
		}
		for _, it := range items {
			it.f.Release()
		}
	}
	if len(b.take()) != 0 {
		t.Error("an empty inbox gives something")
	}
}

func TestInboxThatIsFullDropsAndCounts(t *testing.T) {
	var b inbox
	var extra int
	f := frame.New(frame.MaxPacket)
	for range 2 * inboxLimit / f.Cap() {
		f.Retain()
		b.put(f, nil)
	}
	n := len(b.take())
	extra = 2*inboxLimit/f.Cap() - n
	if bytes := n * f.Cap(); bytes < inboxLimit || bytes > inboxLimit+2*f.Cap() {
		t.Errorf("%d bytes were taken, the limit is %d", bytes, inboxLimit)
	}
	if got := b.dropped.Load(); got != uint64(extra) {
		t.Errorf("%d drops are counted, want %d", got, extra)
	}
	for range n {
		f.Release()
	}
	if !b.put(frame.New(1), nil) {
		t.Error("there is no room after everything was taken")
	}
	b.close()
	wantLastOwner(t, f)
}

func TestClosedInboxReleasesWhatWaitsAndWhatComes(t *testing.T) {
	var b inbox
	waits, late := frame.New(1), frame.New(1)
	waits.Retain()
	late.Retain()
	b.put(waits, nil)
	b.close()
	if b.put(late, nil) {
		t.Error("a closed inbox wakes somebody")
	}
	if b.dropped.Load() != 1 || len(b.take()) != 0 {
		t.Errorf("%d drops, want 1", b.dropped.Load())
	}
	wantLastOwner(t, waits)
	wantLastOwner(t, late)
}
