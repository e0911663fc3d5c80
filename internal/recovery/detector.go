package recovery

import (
	"errors"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

// ErrNeverSent says that an ACK frame names a packet that was never sent. The
// peer breaks the protocol (RFC 9000 section 13.1).
var ErrNeverSent = errors.New("recovery: the peer acknowledges a packet that was never sent; close the session")

// A Handler is told what became of packets. A packet is valid until the call
// returns, then it is recycled. A handler must not call the Detector back,
// except for NewPacket.
type Handler interface {
	PacketAcked(p *Packet)
	PacketLost(p *Packet)
}

// Config configures a Detector.
type Config struct {
	// Client makes the detector ask for probes while nothing is in flight and
	// the handshake is not confirmed, because the server may be waiting for
	// this side (RFC 9002 section 6.2.2.1).
	Client bool
	// NewController makes the congestion controller of a path whose packets
	// have at most maxPacket bytes. Nil: NewBBR up to 9216 bytes, NewCUBIC beyond.
	NewController func(maxPacket int) Controller
	// InitialRTT is assumed until there is a sample. Zero: 333 ms.
	InitialRTT time.Duration
}

// Stats count since the detector was made, path changes included.
type Stats struct {
	Sent        uint64 // packets
	Acked       uint64 // packets
	Lost        uint64 // packets declared lost; acknowledgements alone do not count
	Spurious    uint64 // packets declared lost and acknowledged later
	Forgotten   uint64 // packets without need of an ACK, no longer tracked because there were many
	Timeouts    uint64 // probe timeouts
	Congestions uint64 // recovery periods
	Undone      uint64 // recovery periods without a real loss, taken back
	Collapses   uint64 // times of persistent congestion
}

// A Detector is loss recovery and congestion control of one session. It must
// be owned by one goroutine.
type Detector struct {
	cfg         Config
	maxPacket   int // bytes
	maxAckDelay time.Duration
	confirmed   bool
	stats       Stats
	pool        packetPool
	spaces      [wire.NumSpaces]space

	// State of probing, see timer.go.
	timeouts  int       // in a row
	probeFrom time.Time // timeouts count from here at the earliest
	lastEvent time.Time // when something was sent or acknowledged

	// State of the present path.
	path          uint32 // counts path changes
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
}

// New returns a Detector for a path whose packets have at most maxPacket bytes.
func New(cfg Config, maxPacket int) *Detector {
	if cfg.NewController == nil {
		cfg.NewController = forPath
	}
	if cfg.InitialRTT <= 0 {
		cfg.InitialRTT = defaultRTT
	}
	d := &Detector{cfg: cfg, maxAckDelay: defaultAckWait}
	d.resetPath(maxPacket)
	return d
}

// NewPacket returns an empty packet with recycled storage.
func (d *Detector) NewPacket() *Packet { return d.pool.get() }

// Discard recycles a packet from NewPacket that was not sent after all.
func (d *Detector) Discard(p *Packet) { d.pool.put(p) }

// Sent takes ownership of a packet that is on its way. Within a space, numbers must rise.
func (d *Detector) Sent(now time.Time, p *Packet) {
	s := &d.spaces[p.Space]
	p.Sent, p.path = now, d.path
	p.InFlight = p.InFlight || p.AckEliciting
	s.next = max(s.next, p.Number+1)
	d.stats.Sent++
	if s.dropped || !p.AckEliciting && !d.makeRoom(s) {
		d.stats.Forgotten++
		d.pool.put(p)
		return
	}
	s.track(p)
	if p.InFlight {
		if d.model != nil {
			d.model.PacketSent(now, p, d.inFlight)
		}
		d.inFlight += p.Size
		d.pacer.take(float64(p.Size), d.burst)
	}
	if p.AckEliciting {
		s.lastEliciting, d.lastEvent = now, now
	}
}

// Oldest returns the packet of a space that has waited longest for the ACK it
// elicits, or nil: what a probe had best repeat (RFC 9002 section 6.2.4). The
// packet remains the Detector's and is valid until the next call.
func (d *Detector) Oldest(id wire.Space) *Packet {
	q := &d.spaces[id].q
	for i := range q.n {
		if p := q.at(i).p; p != nil && p.AckEliciting {
			return p
		}
	}
	return nil
}

// CanSend reports whether a packet of size bytes that elicits an ACK may be
// sent now: the congestion window has room and the pacer (RFC 9002 section 7.7)
// agrees. If only the pacer objects, when says until when. A zero when with ok
// false means that the window is full: wait for ACKs. Probes need no permission.
func (d *Detector) CanSend(now time.Time, size int) (ok bool, when time.Time) {
	if d.inFlight > 0 && d.inFlight+size > d.cc.Window() {
		d.blocked = true
		if d.model != nil {
			d.model.WindowFull()
		}
		return false, time.Time{}
	}
	if !d.rtt.has {
		return true, time.Time{}
	}
	rate := d.pacingRate()
	depth := max(d.burst, rate*burstTime.Seconds())
	d.pacer.refill(now, rate, depth)
	if wait := d.pacer.wait(float64(size), rate, depth); wait > 0 {
		d.blocked = true
		return false, now.Add(wait)
	}
	return true, time.Time{}
}

// pacingRate is in bytes a second.
func (d *Detector) pacingRate() float64 {
	if d.model != nil {
		if rate := d.model.PacingRate(); rate > 0 {
			return rate
		}
	}
	gain := pacingGain
	if d.cc.SlowStart() {
		gain = slowStartGain
	}
	return gain * float64(d.cc.Window()) / max(d.rtt.smoothed, minSample).Seconds()
}

// AppLimited tells that the sender stopped for another reason than CanSend: it
// ran out of data or of the peer's credit, or the local queue is full. Until
// CanSend refuses again the window does not grow (RFC 9002 section 7.8).
func (d *Detector) AppLimited() {
	d.blocked = false
	if d.model != nil {
		d.model.AppLimited(d.inFlight)
	}
}

// SetMaxAckDelay sets how long the peer may hold an ACK back. The default is 25 ms.
func (d *Detector) SetMaxAckDelay(v time.Duration) { d.maxAckDelay = max(v, 0) }

// HandshakeConfirmed tells that the handshake is confirmed (RFC 9001 section
// 4.1.2). Before, packets of SpaceApp are not probed for.
func (d *Detector) HandshakeConfirmed() { d.confirmed = true }

// DropSpace forgets the packets of a space whose keys are discarded (RFC 9002
// section 6.4). They leave flight; no handler is called.
func (d *Detector) DropSpace(id wire.Space) {
	s := &d.spaces[id]
	for ; s.q.n > 0; s.q.pop() {
		if p := s.q.at(0).p; p != nil {
			d.leaveFlight(p)
			d.pool.put(p)
		}
	}
	*s = space{next: s.next, dropped: true}
	d.timeouts = 0
}

// PathChanged tells that packets take another path from now on, with packets
// of at most maxPacket bytes. RTT and congestion state start anew (RFC 9000
// section 9.4). Packets sent before are still acknowledged or lost through the
// handler, but they are not in flight any more and do not change the window.
func (d *Detector) PathChanged(now time.Time, maxPacket int) {
	d.path++
	d.timeouts, d.probeFrom = 0, now
	for i := range d.spaces {
		d.spaces[i].lost = d.spaces[i].lost[:0]
		d.spaces[i].runStart = time.Time{}
	}
	d.resetPath(maxPacket)
}

func (d *Detector) resetPath(maxPacket int) {
	d.cc, d.maxPacket = d.cfg.NewController(maxPacket), maxPacket
	d.model, _ = d.cc.(Modeller)
	d.pacer = pacer{}
	d.burst = d.burstSize()
	d.rtt = newEstimator(d.cfg.InitialRTT)
	d.tolerance = newTolerance()
	d.blackHole = blackHole{}
	d.inFlight = 0
	d.blocked = false
	d.recoveryStart = time.Time{}
	d.episode.lost, d.episode.spurious = 0, 0
}

// SetMaxPacket sets the largest size of packets on the present path, in bytes.
func (d *Detector) SetMaxPacket(n int) {
	d.maxPacket = n
	d.cc.SetMaxPacket(n)
	d.burst = d.burstSize()
	d.blackHole = blackHole{}
}

func (d *Detector) burstSize() float64 {
	if d.model != nil {
		return float64(d.model.Burst())
	}
	return float64(initialWindow(d.maxPacket))
}

// Window is the congestion window in bytes.
func (d *Detector) Window() int { return d.cc.Window() }

// InFlight is how many bytes were sent on the present path and are neither acknowledged nor lost.
func (d *Detector) InFlight() int { return d.inFlight }

// HasRTT reports whether the round-trip time of the present path was measured.
func (d *Detector) HasRTT() bool { return d.rtt.has }

// SmoothedRTT is the smoothed round-trip time of the path; zero before a sample.
func (d *Detector) SmoothedRTT() time.Duration {
	if !d.rtt.has {
		return 0
	}
	return d.rtt.smoothed
}

// MinRTT is the lowest round-trip time of the path; zero before a sample.
func (d *Detector) MinRTT() time.Duration { return d.rtt.min }

// LatestRTT is the latest sample; zero before a sample.
func (d *Detector) LatestRTT() time.Duration { return d.rtt.latest }

// Stats returns the counters.
func (d *Detector) Stats() Stats { return d.stats }

// LargeLost counts round trips in which a packet of more than [SmallPacket] bytes was lost
// and a smaller, later one arrived, since a large one last arrived. From
// [BlackHoleLosses] on the path is taken to swallow large packets.
func (d *Detector) LargeLost() int { return d.blackHole.losses }
