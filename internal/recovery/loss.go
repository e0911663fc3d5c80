package recovery

import (
	"time"

	"github.com/weftnet/weft/internal/times"
	"github.com/weftnet/weft/internal/wire"
)

// persistentFactor times the probe timeout is the time of nothing but losses
// that makes congestion persistent (kPersistentCongestionThreshold).
const persistentFactor = 3

// lossDelay is how long after a packet was sent the acknowledgement of a later one means its loss.
func (p *Path) lossDelay() time.Duration {
	return p.tolerance.delay(max(p.rtt.smoothed, p.rtt.latest))
}

// detectLost declares losses by packet and by time threshold (RFC 9002 section
// 6.1), and reports whether a recovery period begins. Numbers and send
// times rise together, so losses are always a run at the front of the queue.
func (d *Detector) detectLost(now time.Time, s *space, h Handler) (congested bool) {
	s.lossTime = time.Time{}
	if !s.acked {
		return false
	}
	d.loseFormer(now, s, h)
	delay := d.lossDelay()
	persistent := false
	for s.q.n > 0 {
		e := s.q.at(0)
		p := e.p
		if p == nil {
			s.runStart = time.Time{}
			s.q.pop()
			continue
		}
		if e.number > s.largest {
			break
		}
		byTime := s.largest-e.number < d.tolerance.packets
		if byTime && now.Sub(p.Sent) < delay {
			s.lossTime = times.Earliest(s.lossTime, p.Sent.Add(delay))
			break
		}
		s.q.pop()
		p.leaveFlight()
		if p.InFlight {
			congested = d.losePacket(now, s, p, byTime) || congested
			persistent = d.extendRun(s, p) || persistent
		}
		d.lose(s, p, h)
	}
	if persistent {
		d.recoveryStart = time.Time{}
		d.stats.Collapses++
		d.rtt.forgetMin()
		d.cc.PersistentCongestion()
	}
	return congested
}

// loseFormer declares losses among the packets from before the path changed.
// Their acknowledgements may take the slower way, and those of later packets
// the faster one.
func (d *Detector) loseFormer(now time.Time, s *space, h Handler) {
	for s.former.n > 0 {
		e := s.former.at(0)
		p := e.p
		if p == nil {
			s.former.pop()
			continue
		}
		if e.number > s.largest {
			return
		}
		due := p.Sent.Add(max(p.path.lossDelay(), d.lossDelay()) + d.maxAckDelay)
		if now.Before(due) {
			s.lossTime = due
			return
		}
		s.former.pop()
		p.leaveFlight()
		d.lose(s, p, h)
	}
}

// lose ends a packet that has left its queue and its flight.
func (d *Detector) lose(s *space, p *Packet, h Handler) {
	s.untrack(p)
	if p.InFlight {
		d.stats.Lost++
		p.path.counts.Lost++
	}
	h.PacketLost(p)
	d.pool.put(p)
}

// losePacket takes note of a loss on the present path. It begins a recovery
// period if the packet was sent after the latest one began.
func (d *Detector) losePacket(now time.Time, s *space, p *Packet, byTime bool) (congested bool) {
	if p.Sent.After(d.recoveryStart) {
		congested = true
		d.recoveryStart = now
		d.episode.lost, d.episode.spurious = 0, 0
		d.stats.Congestions++
		d.tolerance.congested()
		d.cc.Congestion(now)
	}
	if d.model != nil {
		d.model.PacketLost(now, p, d.inFlight)
	}
	d.episode.lost++
	s.lost.add(lostPacket{number: p.Number, size: p.Size, sent: p.Sent, episode: d.stats.Congestions, byTime: byTime})
	if p.Space == wire.SpaceApp {
		d.blackHole.lost(now, p)
	}
	return congested
}

// extendRun adds p to the run of lost packets with no acknowledged one in between,
// and reports whether the run has become persistent congestion (RFC 9002 section 7.6.2).
func (d *Detector) extendRun(s *space, p *Packet) bool {
	if !p.AckEliciting || !d.rtt.has || !p.Sent.After(d.rtt.first) {
		return false
	}
	if s.runStart.IsZero() {
		s.runStart = p.Sent
		return false
	}
	if p.Sent.Sub(s.runStart) <= persistentFactor*d.PTO() {
		return false
	}
	s.runStart = p.Sent // the next collapse needs as long again
	return true
}

// recogniseLate looks among the latest losses for packets that this ACK frame
// proves to be late only. A congestion response to nothing but such is undone.
func (d *Detector) recogniseLate(now time.Time, s *space, ranges []wire.AckRange) {
	if len(s.lost) == 0 {
		return
	}
	horizon := now.Add(-2 * d.PTO()) // what is not acknowledged by then is taken for lost
	kept := s.lost[:0]
	r := len(ranges) - 1
	for _, l := range s.lost {
		for r >= 0 && ranges[r].High < l.number {
			r--
		}
		switch {
		case r >= 0 && ranges[r].Low <= l.number:
			d.spurious(s, l)
		case l.sent.After(horizon):
			kept = append(kept, l)
		}
	}
	s.lost = kept
}

func (d *Detector) spurious(s *space, l lostPacket) {
	d.stats.Spurious++
	d.tolerance.late(s.largest-l.number, l.byTime)
	if d.model != nil {
		d.model.PacketLate(l.size)
	}
	if l.episode != d.stats.Congestions {
		return
	}
	d.episode.spurious++
	if d.episode.spurious == d.episode.lost {
		d.recoveryStart = time.Time{}
		d.stats.Undone++
		d.cc.Undo()
	}
}
