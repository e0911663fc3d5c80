package recovery

import (
	"sync"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

// A Packet is a sent packet that was neither acknowledged nor declared lost.
// [Detector.NewPacket] makes one, the sender fills it in, and [Detector.Sent]
// takes it over.
type Packet struct {
	Number       uint64           // higher than that of every earlier packet of its space
	Space        wire.Space       // packet number space
	Size         int              // bytes on the wire
	Sent         time.Time        // set by Detector.Sent
	AckEliciting bool             // the peer owes an acknowledgement for it
	InFlight     bool             // it counts against the congestion window; true for all that elicit ACKs
	Frames       []wire.SentFrame // what it carried; the storage is reused

	path *Path    // that it was sent on
	rate snapshot // for a Modeller
}

const (
	maxFreePackets = 256 // recycled packets a detector keeps
	maxFreeFrames  = 64  // frames for which a recycled packet keeps storage
)

// A packetPool is the free list of one detector. What is beyond it goes to
// sparePackets, from which a detector with thousands of packets in flight lives.
type packetPool struct{ free []*Packet }

var sparePackets = sync.Pool{New: func() any { return new(Packet) }}

func (l *packetPool) get() *Packet {
	n := len(l.free)
	if n == 0 {
		return sparePackets.Get().(*Packet)
	}
	p := l.free[n-1]
	l.free[n-1] = nil
	l.free = l.free[:n-1]
	return p
}

func (l *packetPool) put(p *Packet) {
	frames := p.Frames[:0]
	if cap(frames) > maxFreeFrames {
		frames = nil
	}
	*p = Packet{Frames: frames}
	if len(l.free) >= maxFreePackets {
		sparePackets.Put(p)
		return
	}
	l.free = append(l.free, p)
}
