package recovery

import "time"

const (
	// SmallPacket is the size in bytes that every path carries.
	SmallPacket = 1200
	// BlackHoleLosses is the value of [Detector.LargeLost] from which a path
	// is taken to swallow large packets (MAX_PROBES of RFC 8899).
	BlackHoleLosses = 3
)

// A blackHole watches for a path that carries small packets and swallows
// large ones, RFC 8899 section 4.3. The loss of a large packet is evidence only if
// none as large and later arrived; as a loss shows by a later packet that did
// arrive, that packet then was smaller.
type blackHole struct {
	arrived uint64    // 1 + the highest number of a packet as large that was acknowledged
	losses  int       // rounds of losses since then
	size    int       // of the smallest of them
	last    time.Time // when the latest round was counted
}

func (b *blackHole) acked(p *Packet) {
	if p.Size > SmallPacket && p.Number >= b.arrived && (b.losses == 0 || p.Size >= b.size) {
		b.arrived, b.losses = p.Number+1, 0
	}
}

// lost counts at most one loss a round trip: a burst lost together is one event.
func (b *blackHole) lost(now time.Time, p *Packet) {
	if p.Size <= SmallPacket || p.Number < b.arrived {
		return
	}
	if b.losses == 0 || p.Size < b.size {
		b.size = p.Size
	}
	if b.losses == 0 || p.Sent.After(b.last) {
		b.losses++
		b.last = now
	}
}
