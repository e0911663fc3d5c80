package recovery

import "time"

// Delivery rate samples, draft-ietf-ccwg-bbr section 4.1: how fast the path
// delivered the latest flight of packets, and whether the sender had enough to
// send for that to tell anything of the path.

// A snapshot is what a packet remembers of the sampler when it was sent
// (section 4.1.2.1, P).
type snapshot struct {
	delivered, lost     int64
	deliveredTime       time.Time
	firstSend           time.Time
	txInFlight          int // bytes in flight, this packet included
	appLimited, stamped bool
}

// A sampler counts what one path delivered and lost, in bytes (section 4.1.2.1, C).
type sampler struct {
	delivered, lost int64
	deliveredTime   time.Time // when delivered last grew
	firstSend       time.Time // when the flight that is being measured began
	appLimited      int64     // value of delivered from which on samples count again; zero: they do
	lastNumber      uint64    // of the latest packet that was delivered
	rs              sample
}

// A sample is what one ACK frame says (section 4.1.2.1, RS).
type sample struct {
	hasData        bool
	rate           float64 // bytes a second; zero: unknown
	delivered      int64   // bytes since the newest packet was sent
	priorDelivered int64   // sampler's count then
	lost           int64   // bytes since the newest packet was sent
	txInFlight     int
	newlyAcked     int
	rtt            time.Duration // zero: unknown
	appLimited     bool
	sendElapsed    time.Duration
	ackElapsed     time.Duration
}

// onSent stamps a packet (section 4.1.2.2). inFlight is without it.
func (s *sampler) onSent(now time.Time, p *Packet, inFlight int) {
	if inFlight == 0 {
		s.firstSend, s.deliveredTime = now, now
	}
	p.rate = snapshot{
		delivered: s.delivered, lost: s.lost,
		deliveredTime: s.deliveredTime, firstSend: s.firstSend,
		txInFlight: inFlight + p.Size,
		appLimited: s.appLimited != 0,
		stamped:    true,
	}
}

// onAcked is UpdateRateSample of section 4.1.2.3.
func (s *sampler) onAcked(now time.Time, p *Packet) {
	v := &p.rate
	if !v.stamped {
		return
	}
	s.delivered += int64(p.Size)
	s.deliveredTime = now
	rs := &s.rs
	rs.newlyAcked += p.Size
	newest := p.Sent.After(s.firstSend) || p.Sent.Equal(s.firstSend) && p.Number > s.lastNumber
	if rs.hasData && !newest {
		return
	}
	rs.hasData = true
	rs.priorDelivered, rs.appLimited, rs.txInFlight = v.delivered, v.appLimited, v.txInFlight
	rs.lost = v.lost // until generate
	rs.sendElapsed, rs.ackElapsed = p.Sent.Sub(v.firstSend), now.Sub(v.deliveredTime)
	s.firstSend, s.lastNumber = p.Sent, p.Number
}

// generate is GenerateRateSample of section 4.1.2.3.
func (s *sampler) generate(minRTT time.Duration) {
	if s.appLimited != 0 && s.delivered > s.appLimited {
		s.appLimited = 0 // the gap has left the path
	}
	rs := &s.rs
	if !rs.hasData {
		return
	}
	rs.delivered = s.delivered - rs.priorDelivered
	rs.lost = s.lost - rs.lost
	if interval := max(rs.sendElapsed, rs.ackElapsed); interval > 0 && interval >= minRTT {
		rs.rate = float64(rs.delivered) / interval.Seconds()
	}
}

// markAppLimited is MarkConnectionAppLimited of section 4.1.2.4.
func (s *sampler) markAppLimited(inFlight int) {
	s.appLimited = max(s.delivered+int64(inFlight), 1)
}

// onLate takes a loss back: the packet was delivered after all.
func (s *sampler) onLate(size int) {
	s.lost -= int64(size)
	s.delivered += int64(size)
}
