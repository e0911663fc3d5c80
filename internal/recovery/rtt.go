package recovery

import "time"

const (
	granularity    = time.Millisecond // RFC 9002 section 6.1.2: what timers resolve
	defaultRTT     = 333 * time.Millisecond
	minSample      = time.Microsecond // keeps rates finite where clocks are coarse
	defaultAckWait = 25 * time.Millisecond
)

// An estimator is the round-trip time of a path, RFC 9002 section 5.
type estimator struct {
	has                           bool
	first                         time.Time // when the first sample was taken
	latest, min, smoothed, varied time.Duration
}

func newEstimator(initial time.Duration) estimator {
	return estimator{smoothed: initial, varied: initial / 2}
}

// sample adds a measurement and returns it without the peer's own delay.
func (e *estimator) sample(now time.Time, rtt, ackDelay time.Duration) time.Duration {
	rtt = max(rtt, minSample)
	e.latest = rtt
	if !e.has {
		e.has, e.first = true, now
		e.min, e.smoothed, e.varied = rtt, rtt, rtt/2
		return rtt
	}
	if e.min == 0 || rtt < e.min {
		e.min = rtt
	}
	// A peer that exaggerates its delay must not push the estimate below the minimum.
	if ackDelay > 0 && rtt-e.min >= ackDelay {
		rtt -= ackDelay
	}
	e.varied = (3*e.varied + (e.smoothed - rtt).Abs()) / 4
	e.smoothed = (7*e.smoothed + rtt) / 8
	return rtt
}

// forgetMin makes the next sample the new minimum: after persistent
// congestion the route may be another one (RFC 9002 section 5.2).
func (e *estimator) forgetMin() { e.min = 0 }

// pto is the probe timeout without back-off and without the peer's delay.
func (e *estimator) pto() time.Duration {
	return e.smoothed + max(4*e.varied, granularity)
}
