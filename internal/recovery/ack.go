package recovery

import (
	"time"

	"github.com/weftnet/weft/internal/wire"
)

// maxAckOnly bounds how many packets that elicit no ACK are tracked in a space:
// a peer that only sends need never acknowledge ours.
const maxAckOnly = 256

// maxTraps bounds how many numbers that were left out are remembered in a space.
const maxTraps = 8

// A space is the state of one packet number space.
type space struct {
	q             queue  // packets on the present path
	former        queue  // packets sent before the path changed, with lower numbers
	next          uint64 // one more than the highest number sent
	acked         bool   // largest is valid
	largest       uint64 // highest number acknowledged of a tracked packet
	eliciting     int    // packets in both queues that elicit an ACK
	ackOnly       int    // packets in both queues that do not
	lastEliciting time.Time
	lossTime      time.Time // when the front of q is lost by time; zero: unknown
	runStart      time.Time // when the first of an unbroken run of lost packets was sent
	lost          lostHistory
	traps         []uint64 // the latest numbers that were left out, ascending
	dropped       bool
}

// queues returns the tracked packets in the order of their numbers.
func (s *space) queues() [2]*queue { return [2]*queue{&s.former, &s.q} }

// leavePath puts aside what is known of the path that packets took so far.
func (s *space) leavePath() {
	for ; s.q.n > 0; s.q.pop() {
		if p := s.q.at(0).p; p != nil {
			s.former.push(p)
		}
	}
	s.lost = s.lost[:0]
	s.runStart = time.Time{}
}

// trapped reports whether descending ranges hold a number that was left out.
func (s *space) trapped(ranges []wire.AckRange) bool {
	n := len(s.traps)
	for _, r := range ranges {
		for n > 0 && s.traps[n-1] > r.High {
			n--
		}
		if n == 0 {
			return false
		}
		if s.traps[n-1] >= r.Low {
			return true
		}
	}
	return false
}

func (s *space) track(p *Packet) {
	s.q.push(p)
	if p.AckEliciting {
		s.eliciting++
	} else {
		s.ackOnly++
	}
}

func (s *space) untrack(p *Packet) {
	if p.AckEliciting {
		s.eliciting--
	} else {
		s.ackOnly--
	}
}

// makeRoom reports whether one more packet that elicits no ACK can be tracked,
// after forgetting old ones at the front if there are many.
func (d *Detector) makeRoom(s *space) bool {
	for s.ackOnly >= maxAckOnly {
		q := &s.q
		if s.former.n > 0 {
			q = &s.former
		}
		if p := q.at(0).p; p != nil {
			if p.AckEliciting {
				return false
			}
			d.stats.Forgotten++
			p.leaveFlight()
			s.untrack(p)
			d.pool.put(p)
		}
		q.pop()
	}
	return true
}

// A harvest is what the newly acknowledged packets of one ACK frame say together.
type harvest struct {
	any       bool
	largest   uint64 // the highest number
	eliciting bool
	onPath    bool      // some were in flight on this path
	bytes     int       // of packets on this path that may grow the window
	sent      time.Time // when the last such packet was sent
}

// Acked handles one ACK frame. ranges are descending and disjoint. It calls h
// for the newly acknowledged packets in the order in which they were sent, then
// for those that are thereby known to be lost. The error is [ErrNeverSent]; then nothing has happened.
func (d *Detector) Acked(now time.Time, id wire.Space, ranges []wire.AckRange, ackDelay time.Duration, h Handler) error {
	s := &d.spaces[id]
	if len(ranges) == 0 || s.dropped {
		return nil
	}
	largest := ranges[0].High
	if largest >= s.next || s.trapped(ranges) {
		return ErrNeverSent
	}
	d.recogniseLate(now, s, ranges)

	sample, sampleSent := d.sampled(s, largest)
	priorInFlight := d.inFlight
	var got harvest
	d.reap(now, s, &s.former, ranges, h, &got)
	d.reap(now, s, &s.q, ranges, h, &got)
	if !got.any {
		return nil
	}
	s.largest = max(s.largest, got.largest)
	s.acked = true
	d.lastEvent = now

	var rtt time.Duration
	if sample && got.eliciting {
		rtt = d.sampleRTT(now, id, now.Sub(sampleSent), ackDelay)
	}
	if d.detectLost(now, s, h) {
		got.bytes = 0 // all of them were sent before this recovery period
	}
	if got.bytes > 0 || d.model != nil && got.onPath {
		d.cc.Acked(Ack{
			Now: now, Sent: got.sent, Bytes: got.bytes,
			RTT: rtt, SmoothedRTT: d.rtt.smoothed, MinRTT: d.rtt.min,
			InFlight:   d.inFlight,
			AppLimited: !d.windowUsed(priorInFlight) || d.standingQueue(),
		})
	}
	// A client's peer may still be unable to send (RFC 9002 section 6.2.1).
	if !d.cfg.Client || d.confirmed || id != wire.SpaceInitial {
		d.timeouts = 0
	}
	return nil
}

// standingQueue reports whether a large window on a path of stream-like links
// only makes a queue longer. TCP below repairs every loss, so that delay is the
// one sign of congestion there (as for TCP Vegas, Brakmo and Peterson 1995): the
// window stops growing until the queue is shorter. Below queueWindow it is left
// to grow, lest it starve where others keep the queue full.
func (d *Detector) standingQueue() bool {
	return d.maxPacket > largestEthernet && d.cc.Window() >= queueWindow &&
		d.rtt.smoothed > d.rtt.min+d.rtt.min/4+queueDelay
}

// sampled reports whether the packet with the largest number is newly
// acknowledged and was sent on this path, and when.
func (d *Detector) sampled(s *space, largest uint64) (ok bool, sent time.Time) {
	if i := s.q.search(largest); i < s.q.n {
		if e := s.q.at(i); e.number == largest && e.p != nil {
			return true, e.p.Sent
		}
	}
	return false, time.Time{}
}

func (d *Detector) sampleRTT(now time.Time, id wire.Space, rtt, ackDelay time.Duration) time.Duration {
	if id == wire.SpaceInitial {
		ackDelay = 0 // an ACK in this space is never held back on purpose
	}
	if d.confirmed {
		ackDelay = min(ackDelay, d.maxAckDelay)
	}
	return d.rtt.sample(now, rtt, ackDelay)
}

// windowUsed reports whether the window was what limited the sender. In slow
// start it is enough that half of it was in flight: it doubles from there.
func (d *Detector) windowUsed(inFlight int) bool {
	return d.blocked || d.cc.SlowStart() && 2*inFlight >= d.cc.Window()
}

// reap takes the packets that ranges name out of a queue. Packets of the present path that are
// further than the packet threshold below the largest number are all decided already, so this
// passes over few slots more than it empties.
func (d *Detector) reap(now time.Time, s *space, q *queue, ranges []wire.AckRange, h Handler, got *harvest) {
	if q.n == 0 {
		return
	}
	for r := len(ranges) - 1; r >= 0; r-- {
		for i := q.search(ranges[r].Low); i < q.n; i++ {
			e := q.at(i)
			if e.number > ranges[r].High {
				break
			}
			if p := e.p; p != nil {
				e.p = nil
				s.untrack(p)
				d.ackPacket(now, p, q == &s.q, got)
				h.PacketAcked(p)
				d.pool.put(p)
			}
		}
	}
}

// ackPacket takes note of an acknowledgement. One of a packet from before the
// path changed says nothing of the present path, even if that is the same
// again.
func (d *Detector) ackPacket(now time.Time, p *Packet, present bool, got *harvest) {
	d.stats.Acked++
	p.leaveFlight()
	got.any = true
	got.largest = max(got.largest, p.Number)
	got.eliciting = got.eliciting || p.AckEliciting
	if !present || !p.InFlight {
		return
	}
	got.onPath = true
	if p.Size > SmallPacket {
		d.counts.LargeAcked++
	}
	d.Alive(now)
	if d.model != nil {
		d.model.PacketAcked(now, p)
	}
	if p.Space == wire.SpaceApp {
		d.blackHole.acked(p)
	}
	if p.Sent.After(d.recoveryStart) {
		got.bytes += p.Size
		got.sent = p.Sent
	}
}
