package recovery

import "time"

const (
	pacingGain = 1.25 // of window per smoothed round trip, RFC 9002 section 7.7
	// slowStartGain lets the window double every round trip; at the usual gain
	// pacing would be what limits slow start.
	slowStartGain = 2

	burstTime = 2 * time.Millisecond // of the rate, sent at once; twice what Go's timers resolve
	batchTime = time.Millisecond     // of the rate, for which a paced sender waits before it wakes
)

// A pacer is a token bucket. Its rate and depth are arguments because they
// follow the congestion window and the round-trip time.
type pacer struct {
	tokens float64 // bytes; negative after probes
	last   time.Time
}

// refill adds what came in since the last call. rate is in bytes a second, depth in bytes.
func (p *pacer) refill(now time.Time, rate, depth float64) {
	if p.last.IsZero() {
		p.tokens = depth
	} else {
		p.tokens = min(p.tokens+rate*now.Sub(p.last).Seconds(), depth)
	}
	p.last = now
}

// wait returns how long size bytes must wait; zero: they may go now.
func (p *pacer) wait(size, rate, depth float64) time.Duration {
	size = min(size, depth)
	if p.tokens >= size {
		return 0
	}
	goal := max(size, min(rate*batchTime.Seconds(), depth))
	return max(time.Duration((goal-p.tokens)/rate*float64(time.Second)), time.Microsecond)
}

// take counts size bytes as sent. Probes may overdraw the bucket, but only so
// far, so that they do not silence the sender for long.
func (p *pacer) take(size, overdraft float64) { p.tokens = max(p.tokens-size, -overdraft) }
