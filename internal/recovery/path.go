package recovery

import "time"

// A Path is what a Detector knows of one path: its round trip, congestion,
// pacing and reordering. [Detector.NewPath] makes one, and [Detector.Use] makes
// it the one that packets take. It belongs to its Detector's goroutine.
type Path struct {
	maxPacket     int // bytes
	cc            Controller
	model         Modeller // cc, if that is one; or nil
	pacer         pacer
	burst         float64 // bytes that the pacer always lets go at once
	rtt           estimator
	tolerance     tolerance
	blackHole     blackHole
	inFlight      int
	blocked       bool      // what limited the sender last was the window or the pacer
	recoveryStart time.Time // packets sent until then do not change the window
	episode       struct{ lost, spurious int }
	waiting       time.Time // see Unanswered
	counts        PathCounts
}

// PathCounts count the packets of one path that count as in flight.
type PathCounts struct {
	Sent, Lost uint64
	LargeAcked uint64 // of more than SmallPacket bytes, while the path was in use
}

// NewPath returns the state of a path of which nothing is known but that its
// packets have at most maxPacket bytes.
func (d *Detector) NewPath(maxPacket int) *Path {
	p := &Path{
		cc: d.cfg.NewController(maxPacket), maxPacket: maxPacket,
		rtt: newEstimator(d.cfg.InitialRTT), tolerance: newTolerance(),
	}
	p.model, _ = p.cc.(Modeller)
	p.burst = p.burstSize()
	return p
}

// Use makes packets take p from now on. Those sent before are still
// acknowledged or lost through the handler, and leave the flight of the path
// that they took, but change nothing else of any path. They are lost by time
// alone: a faster path overtakes them by any number of packets.
func (d *Detector) Use(now time.Time, p *Path) {
	if p == d.Path {
		return
	}
	d.pause()
	d.timeouts, d.probeFrom = 0, now
	for i := range d.spaces {
		d.spaces[i].leavePath()
	}
	d.Path = p
	p.waiting, p.blocked = time.Time{}, false
	if p.counts.Sent > 0 {
		d.pause()
	}
}

// pause tells a model of the present path that the sender leaves it alone.
func (d *Detector) pause() {
	if d.model != nil {
		d.model.AppLimited(d.inFlight)
	}
}

// PathChanged is Use with a path of which nothing is known (RFC 9000 section 9.4).
func (d *Detector) PathChanged(now time.Time, maxPacket int) { d.Use(now, d.NewPath(maxPacket)) }

// Seed gives a path of which no round trip is known a first one, measured
// otherwise.
func (p *Path) Seed(now time.Time, rtt time.Duration) {
	if !p.rtt.has && rtt > 0 {
		p.rtt.sample(now, rtt, 0)
	}
}

// SetMaxPacket sets the largest size of packets on the path, in bytes.
func (p *Path) SetMaxPacket(n int) {
	p.maxPacket = n
	p.cc.SetMaxPacket(n)
	p.burst = p.burstSize()
	p.blackHole = blackHole{}
}

func (p *Path) burstSize() float64 {
	if p.model != nil {
		return float64(p.model.Burst())
	}
	return float64(initialWindow(p.maxPacket))
}

// Window is the congestion window in bytes.
func (p *Path) Window() int { return p.cc.Window() }

// InFlight is how many bytes were sent on the path and are neither acknowledged nor lost.
func (p *Path) InFlight() int { return p.inFlight }

// HasRTT reports whether the round-trip time of the path was measured.
func (p *Path) HasRTT() bool { return p.rtt.has }

// SmoothedRTT is the smoothed round-trip time of the path; zero before a sample.
func (p *Path) SmoothedRTT() time.Duration {
	if !p.rtt.has {
		return 0
	}
	return p.rtt.smoothed
}

// MinRTT is the lowest round-trip time of the path; zero before a sample.
func (p *Path) MinRTT() time.Duration { return p.rtt.min }

// LatestRTT is the latest sample; zero before a sample.
func (p *Path) LatestRTT() time.Duration { return p.rtt.latest }

// LargeLost counts round trips in which a packet of more than [SmallPacket] bytes was lost
// and a smaller, later one arrived, since one as large last arrived. From
// [BlackHoleLosses] on the path is taken to swallow large packets.
func (p *Path) LargeLost() int { return p.blackHole.losses }

// Unanswered is since when packets on the path have waited for any
// acknowledgement of one of them; zero: none waits. A path that is used again
// begins anew.
func (p *Path) Unanswered() time.Time { return p.waiting }

// Alive tells that the path was found to work otherwise than by an acknowledgement.
func (p *Path) Alive(now time.Time) {
	if !p.waiting.IsZero() {
		p.waiting = now
	}
}

// Counts returns the path's counters.
func (p *Path) Counts() PathCounts { return p.counts }

// enter takes note of a packet on the path.
func (p *Path) enter(now time.Time, k *Packet) {
	k.path = p
	if !k.InFlight {
		return
	}
	p.counts.Sent++
	if k.AckEliciting && p.waiting.IsZero() {
		p.waiting = now
	}
}

// leaveFlight takes a packet out of the bytes in flight on the path that it took.
func (k *Packet) leaveFlight() {
	if !k.InFlight {
		return
	}
	k.path.inFlight -= k.Size
	if k.path.inFlight == 0 {
		k.path.waiting = time.Time{}
	}
}
