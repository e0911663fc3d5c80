package recovery

import (
	"time"

	"github.com/weftnet/weft/internal/times"
	"github.com/weftnet/weft/internal/wire"
)

const (
	// maxProbeInterval ends the exponential back-off of probes, so that a path
	// that heals is found within that time. RFC 9002 has no such limit; two
	// small packets every five seconds congest nothing.
	maxProbeInterval = 5 * time.Second
	maxBackOff       = 16 // doublings, so that the shift cannot overflow

	probesPerTimeout = 2 // RFC 9002 section 6.2.4: one more, in case the first is lost too
)

// PTO is the probe timeout without back-off, the peer's acknowledgement delay included.
func (d *Detector) PTO() time.Duration { return d.rtt.pto() + d.maxAckDelay }

// PTOCount is how many probe timeouts there were since the last acknowledgement.
func (d *Detector) PTOCount() int { return d.timeouts }

// PeerAlive tells that an authenticated packet came after silence. Probing starts again
// from now, without back-off.
func (d *Detector) PeerAlive(now time.Time) {
	if d.timeouts > 0 {
		d.timeouts, d.probeFrom = 0, now
	}
}

// Deadline is when Expired must be called; zero: there is nothing to wait for.
// It changes with each call of another method.
func (d *Detector) Deadline() time.Time {
	if t := d.lossDeadline(); !t.IsZero() {
		return t
	}
	t, _, _ := d.probeDeadline()
	return t
}

// Expired is called at or after Deadline. It declares losses whose time has
// come through h, or says that probes packets (zero to two) of the space must be sent
// although the congestion window may be full. Called too early it does nothing.
func (d *Detector) Expired(now time.Time, h Handler) (id wire.Space, probes int) {
	if t := d.lossDeadline(); !t.IsZero() {
		for i := range d.spaces {
			s := &d.spaces[i]
			if !s.lossTime.IsZero() && !s.lossTime.After(now) {
				d.detectLost(now, s, h)
			}
		}
		return 0, 0
	}
	t, id, probes := d.probeDeadline()
	if t.IsZero() || t.After(now) {
		return 0, 0
	}
	d.timeouts++
	d.probeFrom = now // the sender may be unable to probe; the next deadline still lies ahead
	d.stats.Timeouts++
	return id, probes
}

// lossDeadline is the earliest time at which a packet is lost by time threshold.
func (d *Detector) lossDeadline() (t time.Time) {
	for i := range d.spaces {
		t = times.Earliest(t, d.spaces[i].lossTime)
	}
	return t
}

// probeDeadline is when which space must be probed, RFC 9002 section 6.2.
func (d *Detector) probeDeadline() (t time.Time, id wire.Space, probes int) {
	for i := range wire.NumSpaces {
		s := &d.spaces[i]
		if s.eliciting == 0 || i == wire.SpaceApp && !d.confirmed {
			continue
		}
		wait := d.rtt.pto()
		if i == wire.SpaceApp {
			wait += d.maxAckDelay
		}
		due := times.Later(s.lastEliciting, d.probeFrom).Add(d.backedOff(wait))
		if t.IsZero() || due.Before(t) {
			t, id = due, i
		}
	}
	if !t.IsZero() {
		return t, id, probesPerTimeout
	}
	if !d.cfg.Client || d.confirmed || d.lastEvent.IsZero() {
		return time.Time{}, 0, 0
	}
	id = wire.SpaceInitial
	if d.spaces[wire.SpaceInitial].dropped || d.spaces[wire.SpaceHandshake].next > 0 {
		id = wire.SpaceHandshake
	}
	return times.Later(d.lastEvent, d.probeFrom).Add(d.backedOff(d.rtt.pto())), id, 1
}

// backedOff doubles wait for each timeout in a row, up to maxProbeInterval.
func (d *Detector) backedOff(wait time.Duration) time.Duration {
	doubled := min(wait, time.Minute) << min(d.timeouts, maxBackOff)
	return max(min(doubled, maxProbeInterval), wait)
}
