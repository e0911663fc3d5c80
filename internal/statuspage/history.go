package statuspage

import (
	"context"
	"sync"
	"time"
)

const (
	// sampleEvery is the time between two samples of the traffic.
	sampleEvery = time.Second
	// maxSamples is how many are kept: ten minutes, 20 KB.
	maxSamples = 600
	// recordFor is how long samples are taken after somebody has asked last, so that
	// nothing is done for a page that nobody looks at.
	recordFor = 10 * time.Minute
)

// A Sample is the traffic in the time since the sample before.
type Sample struct {
	Time      int64  `json:"t"` // when it was taken, in milliseconds since 1970
	Sent      uint64 `json:"sent"`
	Received  uint64 `json:"received"`
	Forwarded uint64 `json:"forwarded"`
}

// A History is the traffic of the last minutes, oldest first: the answer to GET
// api/history. It begins when somebody asks for the first time.
type History struct {
	Interval float64  `json:"interval_ms"` // between two samples
	Samples  []Sample `json:"samples"`
}

// A recorder takes samples while somebody wants them. It has no goroutine: a timer calls
// tick, until ctx ends.
type recorder struct {
	ctx     context.Context // of what is recorded
	traffic func() Traffic

	mu      sync.Mutex
	wanted  time.Time // when somebody asked last
	timer   *time.Timer
	unwatch func() bool // lets ctx end without stop
	last    Traffic
	ring    []Sample
	next    int // where in ring the oldest is, once it is full
}

// want keeps the recorder going, or starts it.
func (r *recorder) want() {
	now := r.traffic()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = time.Now()
	if r.timer != nil || r.ctx.Err() != nil {
		return
	}
	r.last = now
	r.timer = time.AfterFunc(sampleEvery, r.tick)
	r.unwatch = context.AfterFunc(r.ctx, r.stop)
}

// tick takes a sample.
func (r *recorder) tick() {
	now := r.traffic()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer == nil {
		return // stopped meanwhile
	}
	if time.Since(r.wanted) > recordFor {
		r.endLocked()
		return
	}
	r.addLocked(Sample{
		Time: time.Now().UnixMilli(),
		Sent: grown(r.last.Sent, now.Sent), Received: grown(r.last.Received, now.Received), Forwarded: grown(r.last.Forwarded, now.Forwarded),
	})
	r.last = now
	r.timer.Reset(sampleEvery)
}

// grown is how much more a counter has, nothing if it has fallen.
func grown(from, to uint64) uint64 {
	if to < from {
		return 0
	}
	return to - from
}

func (r *recorder) addLocked(s Sample) {
	if len(r.ring) < maxSamples {
		r.ring = append(r.ring, s)
		return
	}
	r.ring[r.next] = s
	r.next = (r.next + 1) % maxSamples
}

// stop ends the recorder.
func (r *recorder) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endLocked()
}

// endLocked stops the timer and forgets the samples, which would have a gap.
func (r *recorder) endLocked() {
	if r.timer == nil {
		return
	}
	r.timer.Stop()
	r.unwatch()
	r.timer, r.ring, r.next = nil, nil, 0
}

// history returns a copy of what was recorded.
func (r *recorder) history() History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := History{Interval: Milliseconds(sampleEvery), Samples: make([]Sample, 0, len(r.ring))}
	h.Samples = append(append(h.Samples, r.ring[r.next:]...), r.ring[:r.next]...)
	return h
}
