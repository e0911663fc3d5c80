// Package simnet is a simulated network for tests: wires that delay, lose,
// reorder, duplicate, corrupt and throttle frames, pipes of two wires, and a
// network of named hosts that listen and dial. All chance comes from a seed, so
// that in a testing/synctest bubble every run with one seed is the same.
package simnet

import (
	"container/heap"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/frame"
)

// A Wire is one direction. All methods are safe for concurrent use.
type Wire struct {
	deliver func(*frame.Frame)

	mu      sync.Mutex
	shape   *Shaper
	flight  flight
	seq     uint64
	timer   *time.Timer
	timerAt time.Time
	running bool // the timer's function delivers
	closed  bool
	idle    *sync.Cond // signalled when running ends
}

// NewWire returns a wire that hands each frame that arrives, and its ownership,
// to deliver, one at a time. deliver must neither block nor call Close.
func NewWire(imp Impairment, seed uint64, deliver func(*frame.Frame)) *Wire {
	w := &Wire{shape: NewShaper(imp, seed), deliver: deliver}
	w.idle = sync.NewCond(&w.mu)
	return w
}

// Set changes what happens to frames that are sent from now on, and with Down
// also to those on the way.
func (w *Wire) Set(imp Impairment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shape.Set(imp)
}

// Impairment returns what Set set.
func (w *Wire) Impairment() Impairment {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shape.imp
}

// Counters returns a snapshot.
func (w *Wire) Counters() WireCounters {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shape.counters
}

// Send takes ownership of f and puts it on the wire. It never blocks.
func (w *Wire) Send(f *frame.Frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	at, copies := w.shape.Admit(now, f.Packet(), len(f.Bytes()))
	if copies == 0 {
		f.Release()
		return
	}
	if copies == 2 {
		w.pushLocked(f.Clone(), at)
	}
	w.pushLocked(f, at)
	w.armLocked(now)
}

func (w *Wire) pushLocked(f *frame.Frame, at time.Time) {
	w.seq++
	heap.Push(&w.flight, arrival{f: f, at: at, seq: w.seq})
}

// call has fn called at the other end behind all frames that keep their order.
// Only a wire that is down or closed loses it.
func (w *Wire) call(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.shape.imp.Down {
		return
	}
	now := time.Now()
	at := w.shape.inOrder(now.Add(w.shape.imp.Delay))
	w.seq++
	heap.Push(&w.flight, arrival{fn: fn, at: at, seq: w.seq})
	w.armLocked(now)
}

// armLocked sets the one timer for the next arrival.
func (w *Wire) armLocked(now time.Time) {
	if w.running || len(w.flight) == 0 || w.closed {
		return
	}
	at := w.flight[0].at
	switch {
	case w.timer == nil:
		w.timer = time.AfterFunc(at.Sub(now), w.run)
	case w.timerAt.IsZero() || at.Before(w.timerAt):
		w.timer.Reset(at.Sub(now))
	default:
		return
	}
	w.timerAt = at
}

// run is the timer's function: it delivers what has arrived.
func (w *Wire) run() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running {
		return
	}
	w.running, w.timerAt = true, time.Time{}
	for !w.closed && len(w.flight) > 0 && !w.flight[0].at.After(time.Now()) {
		w.arriveLocked(heap.Pop(&w.flight).(arrival))
	}
	w.running = false
	w.idle.Broadcast()
	w.armLocked(time.Now())
}

// arriveLocked hands over one arrival; mu is not held meanwhile.
func (w *Wire) arriveLocked(a arrival) {
	if a.f != nil && !w.shape.Arrive(len(a.f.Packet()), len(a.f.Bytes())) {
		a.f.Release()
		return
	}
	if a.fn != nil && w.shape.imp.Down {
		return
	}
	w.mu.Unlock()
	defer w.mu.Lock()
	if a.fn != nil {
		a.fn()
		return
	}
	w.deliver(a.f)
}

// Close throws away what is on the wire; nothing is delivered any more when it
// returns.
func (w *Wire) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed, w.shape.closed = true, true
	if w.timer != nil {
		w.timer.Stop()
	}
	for _, a := range w.flight {
		if a.f != nil {
			w.shape.Arrive(len(a.f.Packet()), len(a.f.Bytes()))
			a.f.Release()
		}
	}
	w.flight = nil
	for w.running {
		w.idle.Wait()
	}
}

// flight is what is on a wire, the next to arrive first.
type flight []arrival

type arrival struct {
	f   *frame.Frame // nil if there is fn
	fn  func()
	at  time.Time
	seq uint64 // keeps the order of what arrives at one instant
}

func (h flight) Len() int      { return len(h) }
func (h flight) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h flight) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}
func (h *flight) Push(x any) { *h = append(*h, x.(arrival)) }
func (h *flight) Pop() any {
	old := *h
	a := old[len(old)-1]
	*h = old[:len(old)-1]
	return a
}
