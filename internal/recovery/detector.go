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
	maxAckDelay time.Duration
	confirmed   bool
	stats       Stats
	pool        packetPool
	spaces      [wire.NumSpaces]space

	// State of probing, see timer.go.
	timeouts  int       // in a row
	probeFrom time.Time // timeouts count from here at the earliest
	lastEvent time.Time // when something was sent or acknowledged

	// The path that packets take. Its methods are the Detector's.
	*Path
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
	d.Path = d.NewPath(maxPacket)
	return d
}

// NewPacket returns an empty packet with recycled storage.
func (d *Detector) NewPacket() *Packet { return d.pool.get() }

// Discard recycles a packet from NewPacket that was not sent after all.
func (d *Detector) Discard(p *Packet) { d.pool.put(p) }

// Sent takes ownership of a packet that is on its way. Within a space, numbers must rise.
func (d *Detector) Sent(now time.Time, p *Packet) {
	s := &d.spaces[p.Space]
	p.Sent = now
	p.InFlight = p.InFlight || p.AckEliciting
	s.next = max(s.next, p.Number+1)
	d.stats.Sent++
	if s.dropped || !p.AckEliciting && !d.makeRoom(s) {
		d.stats.Forgotten++
		d.pool.put(p)
		return
	}
	s.track(p)
	d.enter(now, p)
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

// Untracked tells that a packet of a space was sent of which nobody wants to
// know what becomes of it, such as one that probes another path. An
// acknowledgement of it changes nothing.
func (d *Detector) Untracked(id wire.Space, number uint64) {
	s := &d.spaces[id]
	s.next = max(s.next, number+1)
}

// LeftOut tells that no packet of a space has this number, which is above all
// so far, nor ever will: who acknowledges it guesses, to be sent more than has
// arrived (RFC 9000 section 21.4).
func (d *Detector) LeftOut(id wire.Space, number uint64) {
	s := &d.spaces[id]
	if len(s.traps) == maxTraps {
		s.traps = append(s.traps[:0], s.traps[1:]...)
	}
	s.traps = append(s.traps, number)
	s.next = max(s.next, number+1)
}

// Oldest returns the packet of a space that has waited longest for the ACK it
// elicits, or nil: what a probe had best repeat (RFC 9002 section 6.2.4). The
// packet remains the Detector's and is valid until the next call.
func (d *Detector) Oldest(id wire.Space) *Packet {
	for _, q := range d.spaces[id].queues() {
		for i := range q.n {
			if p := q.at(i).p; p != nil && p.AckEliciting {
				return p
			}
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
	for _, q := range s.queues() {
		for ; q.n > 0; q.pop() {
			if p := q.at(0).p; p != nil {
				p.leaveFlight()
				d.pool.put(p)
			}
		}
	}
	*s = space{next: s.next, dropped: true}
	d.timeouts = 0
}

// Stats returns the counters.
func (d *Detector) Stats() Stats { return d.stats }
