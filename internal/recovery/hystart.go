package recovery

import "time"

// HyStart++ constants, RFC 9406 section 4.3. The growth of one ACK is not
// limited (its L is infinite) because the sender paces.
const (
	hystartMinStep   = 4 * time.Millisecond
	hystartMaxStep   = 16 * time.Millisecond
	hystartDivisor   = 8
	hystartSamples   = 8
	hystartCSSGrowth = 4
	hystartCSSRounds = 5
)

// A hystart finds the moment to leave slow start: when the round-trip time
// rises, it slows the growth down (conservative slow start), and if the rise
// lasts for some rounds, slow start is over. The zero value is ready.
type hystart struct {
	roundStart  time.Time
	prior, low  time.Duration // lowest RTT of the previous and of this round; zero: unknown
	samples     int           // in this round
	baseline    time.Duration // RTT at which conservative slow start began; zero: not in it
	cautiousFor int           // rounds of conservative slow start
}

// acked returns by how many bytes the window grows, and whether slow start is over.
func (h *hystart) acked(a Ack) (growth int, over bool) {
	if a.Sent.After(h.roundStart) {
		h.roundStart = a.Now
		h.prior, h.low, h.samples = h.low, 0, 0
		if h.baseline > 0 {
			h.cautiousFor++
		}
	}
	if a.RTT > 0 {
		h.samples++
		if h.low == 0 || a.RTT < h.low {
			h.low = a.RTT
		}
	}
	h.judge()
	if h.baseline == 0 {
		return a.Bytes, false
	}
	return a.Bytes / hystartCSSGrowth, h.cautiousFor >= hystartCSSRounds
}

// judge enters conservative slow start when the RTT has risen, and leaves it
// when the rise turns out to have been a passing one.
func (h *hystart) judge() {
	if h.samples < hystartSamples {
		return
	}
	if h.baseline > 0 {
		if h.low < h.baseline {
			h.baseline, h.cautiousFor = 0, 0
		}
		return
	}
	step := min(max(h.prior/hystartDivisor, hystartMinStep), hystartMaxStep)
	if h.prior > 0 && h.low >= h.prior+step {
		h.baseline, h.cautiousFor = h.low, 0
	}
}
