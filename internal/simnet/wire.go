// Package simnet is a simulated network for tests: wires that delay, lose,
// reorder, duplicate, corrupt and throttle frames, pipes of two wires, and a
// network of named hosts that listen and dial. All chance comes from a seed, so
// that in a testing/synctest bubble every run with one seed is the same.
package simnet

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/frame"
)

// An Impairment says what one direction does to frames. The zero value carries
// everything at once.
type Impairment struct {
	Delay  time.Duration // of each frame
	Jitter time.Duration // at most this much more; does not reorder

	// Rate is in bytes a second; zero is no limit. Queue is how many bytes may
	// wait for their turn, frames beyond are dropped; zero: 256 KiB.
	Rate, Queue int
	// Backpressure makes a conn's writer wait for room in the queue, as a TCP
	// socket does, instead of dropping.
	Backpressure bool

	// The probabilities, from 0 to 1, that a frame is lost, held back so that
	// later ones overtake it, delivered twice, or has one bit of its packet
	// flipped.
	Loss, Reorder, Duplicate, Corrupt float64

	// MaxPacket is the largest packet; frames beyond are dropped. Zero: no
	// limit.
	MaxPacket int
	// Down drops everything, frames on the way included.
	Down bool
}

const (
	// defaultQueue is Impairment.Queue if that is zero.
	defaultQueue = 256 << 10
	// maxInFlight bounds the bytes on a wire.
	maxInFlight = 64 << 20
	// minHold is the least time for which a reordered frame is held back.
	minHold = time.Millisecond
)

// WireCounters are what a Wire did so far.
type WireCounters struct {
	Sent, Delivered           uint64 // frames
	BytesSent, BytesDelivered uint64
	Lost                      uint64 // by Loss
	LostDown                  uint64 // by Down
	LostQueue                 uint64 // the queue was full
	LostTooBig                uint64 // by MaxPacket
	Reordered, Duplicated     uint64
	Corrupted                 uint64
	MaxPacketLen              int // the longest packet delivered
}

// A Wire is one direction. All methods are safe for concurrent use.
type Wire struct {
	deliver func(*frame.Frame)

	mu       sync.Mutex
	imp      Impairment
	rand     *rand.Rand
	flight   flight
	bytes    int // in flight
	seq      uint64
	free     time.Time // when the rate limit has sent all that waits
	last     time.Time // when the latest frame that keeps order arrives
	timer    *time.Timer
	timerAt  time.Time
	running  bool // the timer's function delivers
	closed   bool
	idle     *sync.Cond // signalled when running ends
	counters WireCounters
}

// NewWire returns a wire that hands each frame that arrives, and its ownership,
// to deliver, one at a time. deliver must neither block nor call Close.
func NewWire(imp Impairment, seed uint64, deliver func(*frame.Frame)) *Wire {
	w := &Wire{imp: imp, rand: rand.New(rand.NewPCG(seed, 0x77656674)), deliver: deliver}
	w.idle = sync.NewCond(&w.mu)
	return w
}

// Set changes what happens to frames that are sent from now on, and with Down
// also to those on the way.
func (w *Wire) Set(imp Impairment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.imp = imp
}

// Impairment returns what Set set.
func (w *Wire) Impairment() Impairment {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.imp
}

// Counters returns a snapshot.
func (w *Wire) Counters() WireCounters {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counters
}

// Send takes ownership of f and puts it on the wire. It never blocks.
func (w *Wire) Send(f *frame.Frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counters.Sent++
	w.counters.BytesSent += uint64(len(f.Bytes()))
	// The same draws for every frame, so that a changed probability does not
	// change the fate of all later frames.
	loss, reorder, duplicate, corrupt := w.rand.Float64(), w.rand.Float64(), w.rand.Float64(), w.rand.Float64()
	jitter, bit := w.rand.Float64(), w.rand.Uint32()
	if w.droppedLocked(f, loss) {
		f.Release()
		return
	}
	now := time.Now()
	if w.free.Before(now) {
		w.free = now
	}
	if w.imp.Rate > 0 {
		w.free = w.free.Add(w.airtime(len(f.Bytes())))
	}
	at := w.free.Add(w.imp.Delay + time.Duration(jitter*float64(w.imp.Jitter)))
	if at.Before(w.last) {
		at = w.last
	}
	if reorder < w.imp.Reorder {
		w.counters.Reordered++
		at = at.Add(max(w.imp.Delay/4, w.imp.Jitter, minHold))
	} else {
		w.last = at
	}
	if n := len(f.Packet()); corrupt < w.imp.Corrupt && n > 0 {
		w.counters.Corrupted++
		f.Packet()[int(bit>>3)%n] ^= 1 << (bit & 7)
	}
	if duplicate < w.imp.Duplicate {
		w.counters.Duplicated++
		w.pushLocked(f.Clone(), at)
	}
	w.pushLocked(f, at)
	w.armLocked(now)
}

// droppedLocked decides whether f gets onto the wire at all, and counts why
// not.
func (w *Wire) droppedLocked(f *frame.Frame, loss float64) bool {
	switch {
	case w.closed || w.imp.Down:
		w.counters.LostDown++
	case w.imp.MaxPacket > 0 && len(f.Packet()) > w.imp.MaxPacket:
		w.counters.LostTooBig++
	case loss < w.imp.Loss:
		w.counters.Lost++
	case w.roomLocked(len(f.Bytes())) > 0 && !w.imp.Backpressure, w.bytes >= maxInFlight:
		w.counters.LostQueue++
	default:
		return false
	}
	return true
}

// roomLocked returns how long it takes until the queue has room for n bytes.
func (w *Wire) roomLocked(n int) time.Duration {
	if w.imp.Rate <= 0 {
		return 0
	}
	queue := w.imp.Queue
	if queue == 0 {
		queue = defaultQueue
	}
	waiting := time.Until(w.free)
	if waiting <= 0 {
		return 0 // an idle wire takes a frame of any size
	}
	return waiting + w.airtime(n) - w.airtime(queue)
}

func (w *Wire) airtime(n int) time.Duration {
	return time.Duration(float64(n) / float64(w.imp.Rate) * float64(time.Second))
}

func (w *Wire) pushLocked(f *frame.Frame, at time.Time) {
	w.seq++
	w.bytes += len(f.Bytes())
	heap.Push(&w.flight, arrival{f: f, at: at, seq: w.seq})
}

// call has fn called at the other end behind all frames that keep their order.
// Only a wire that is down or closed loses it.
func (w *Wire) call(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.imp.Down {
		return
	}
	now := time.Now()
	at := now.Add(w.imp.Delay)
	if at.Before(w.last) {
		at = w.last
	}
	w.last = at
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
	if a.f != nil {
		w.bytes -= len(a.f.Bytes())
	}
	if w.imp.Down {
		w.loseLocked(a)
		return
	}
	if a.f != nil {
		w.counters.Delivered++
		w.counters.BytesDelivered += uint64(len(a.f.Bytes()))
		w.counters.MaxPacketLen = max(w.counters.MaxPacketLen, len(a.f.Packet()))
	}
	w.mu.Unlock()
	defer w.mu.Lock()
	if a.fn != nil {
		a.fn()
		return
	}
	w.deliver(a.f)
}

func (w *Wire) loseLocked(a arrival) {
	if a.f != nil {
		w.counters.LostDown++
		a.f.Release()
	}
}

// Close throws away what is on the wire; nothing is delivered any more when it
// returns.
func (w *Wire) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
	}
	for _, a := range w.flight {
		w.loseLocked(a)
	}
	w.flight, w.bytes = nil, 0
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
