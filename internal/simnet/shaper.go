package simnet

import (
	"math/rand/v2"
	"time"
)

// An Impairment says what one direction does to frames. The zero value carries
// everything at once.
type Impairment struct {
	Delay  time.Duration // of each frame
	Jitter time.Duration // at most this much more; does not reorder

	// Rate is in bytes a second; zero is no limit. Queue is how many bytes may
	// wait for their turn, frames beyond are dropped; zero: 256 KiB.
	Rate, Queue int
	// Backpressure makes a conn's writer wait for room in the queue, as a TCP
	// socket does, instead of dropping.
	Backpressure bool

	// The probabilities, from 0 to 1, that a frame is lost, held back so that
	// later ones overtake it, delivered twice, or has one bit of its packet
	// flipped.
	Loss, Reorder, Duplicate, Corrupt float64

	// MaxPacket is the largest packet; frames beyond are dropped. Zero: no
	// limit.
	MaxPacket int
	// Down drops everything, frames on the way included.
	Down bool
}

const (
	// defaultQueue is Impairment.Queue if that is zero.
	defaultQueue = 256 << 10
	// maxInFlight bounds the bytes on a wire.
	maxInFlight = 64 << 20
	// minHold is the least time for which a reordered frame is held back.
	minHold = time.Millisecond
)

// WireCounters are what a Wire did so far.
type WireCounters struct {
	Sent, Delivered           uint64 // frames
	BytesSent, BytesDelivered uint64
	Lost                      uint64 // by Loss
	LostDown                  uint64 // by Down
	LostQueue                 uint64 // the queue was full
	LostTooBig                uint64 // by MaxPacket
	Reordered, Duplicated     uint64
	Corrupted                 uint64
	MaxPacketLen              int // the longest packet delivered
}

// A Shaper decides what becomes of packets under an Impairment: the part of a
// Wire that has no clock, queue and lock, for simulations that bring their own.
// It is not safe for concurrent use.
type Shaper struct {
	imp      Impairment
	rand     *rand.Rand
	bytes    int       // in flight
	free     time.Time // when the rate limit has sent all that waits
	last     time.Time // when the latest packet that keeps order arrives
	closed   bool
	counters WireCounters
}

// NewShaper returns a shaper all of whose chance comes from seed.
func NewShaper(imp Impairment, seed uint64) *Shaper {
	return &Shaper{imp: imp, rand: rand.New(rand.NewPCG(seed, 0x77656674))}
}

// Set changes what happens to packets from now on, and with Down also to those
// on the way.
func (s *Shaper) Set(imp Impairment) { s.imp = imp }

// Impairment returns what Set set.
func (s *Shaper) Impairment() Impairment { return s.imp }

// Counters returns a snapshot.
func (s *Shaper) Counters() WireCounters { return s.counters }

// Admit decides about a packet that is sent now and costs size bytes, headers
// included: when it arrives, and how often (0 if it is lost, 1, or 2). It may
// flip a bit of packet. The caller calls Arrive for each copy.
func (s *Shaper) Admit(now time.Time, packet []byte, size int) (at time.Time, copies int) {
	s.counters.Sent++
	s.counters.BytesSent += uint64(size)
	// The same draws for every packet, so that a changed probability does not
	// change the fate of all later packets.
	loss, reorder, duplicate, corrupt := s.rand.Float64(), s.rand.Float64(), s.rand.Float64(), s.rand.Float64()
	jitter, bit := s.rand.Float64(), s.rand.Uint32()
	if s.dropped(now, len(packet), size, loss) {
		return time.Time{}, 0
	}
	if s.free.Before(now) {
		s.free = now
	}
	if s.imp.Rate > 0 {
		s.free = s.free.Add(s.airtime(size))
	}
	at = s.free.Add(s.imp.Delay + time.Duration(jitter*float64(s.imp.Jitter)))
	if reorder < s.imp.Reorder {
		s.counters.Reordered++
		if at.Before(s.last) {
			at = s.last
		}
		at = at.Add(max(s.imp.Delay/4, s.imp.Jitter, minHold))
	} else {
		at = s.inOrder(at)
	}
	if n := len(packet); corrupt < s.imp.Corrupt && n > 0 {
		s.counters.Corrupted++
		packet[int(bit>>3)%n] ^= 1 << (bit & 7)
	}
	copies = 1
	if duplicate < s.imp.Duplicate {
		s.counters.Duplicated++
		copies = 2
	}
	s.bytes += copies * size
	return at, copies
}

// inOrder moves at behind what keeps its order.
func (s *Shaper) inOrder(at time.Time) time.Time {
	if at.Before(s.last) {
		at = s.last
	}
	s.last = at
	return at
}

// Arrive counts a packet at the far end, and reports false if it is lost after
// all because the wire is down.
func (s *Shaper) Arrive(packetLen, size int) bool {
	s.bytes -= size
	if s.closed || s.imp.Down {
		s.counters.LostDown++
		return false
	}
	s.counters.Delivered++
	s.counters.BytesDelivered += uint64(size)
	s.counters.MaxPacketLen = max(s.counters.MaxPacketLen, packetLen)
	return true
}

// dropped decides whether a packet gets onto the wire at all, and counts why
// not.
func (s *Shaper) dropped(now time.Time, packetLen, size int, loss float64) bool {
	switch {
	case s.closed || s.imp.Down:
		s.counters.LostDown++
	case s.imp.MaxPacket > 0 && packetLen > s.imp.MaxPacket:
		s.counters.LostTooBig++
	case loss < s.imp.Loss:
		s.counters.Lost++
	case s.room(now, size) > 0 && !s.imp.Backpressure, s.bytes >= maxInFlight:
		s.counters.LostQueue++
	default:
		return false
	}
	return true
}

// room returns how long it takes until the queue has room for n bytes.
func (s *Shaper) room(now time.Time, n int) time.Duration {
	if s.imp.Rate <= 0 {
		return 0
	}
	queue := s.imp.Queue
	if queue == 0 {
		queue = defaultQueue
	}
	waiting := s.free.Sub(now)
	if waiting <= 0 {
		return 0 // an idle wire takes a packet of any size
	}
	return waiting + s.airtime(n) - s.airtime(queue)
}

func (s *Shaper) airtime(n int) time.Duration {
	return time.Duration(float64(n) / float64(s.imp.Rate) * float64(time.Second))
}
