package recovery

import "math"

// Pacing rate and window, draft-ietf-ccwg-bbr section 5.6.

// unbounded is a rate without bound.
var unbounded = math.Inf(1)

// setPacingRate is section 5.6.2. Before there is a bandwidth, the initial window goes out
// within the first round trip measured.
func (c *bbr) setPacingRate() {
	if c.pacingRate == 0 && c.minRTT > 0 {
		c.pacingRate = bbrStartupPacingGain * float64(initialWindow(c.maxPacket)) / c.minRTT.Seconds()
	}
	c.setPacingRateWithGain(c.pacingGain)
}

func (c *bbr) setPacingRateWithGain(gain float64) {
	rate := gain * c.bw * (1 - bbrPacingMargin)
	if rate > 0 && (c.fullBWReached || rate > c.pacingRate) {
		c.pacingRate = rate
	}
}

func (c *bbr) minPipeCwnd() int { return bbrMinPipePackets * c.maxPacket }

// bdpMultiple is gain times the bandwidth-delay product (section 5.6.4.2).
func (c *bbr) bdpMultiple(gain float64) int {
	if c.minRTT == 0 {
		return initialWindow(c.maxPacket)
	}
	return int(min(gain*c.bw*c.minRTT.Seconds(), maxWindow))
}

// quantizationBudget makes room for what leaves at once and for ACKs that wait for company.
func (c *bbr) quantizationBudget(inflight int) int {
	quantum := max(min(int(c.pacingRate/1000), bbrMaxQuantum), 2*c.maxPacket)
	held := min(bbrAckThreshold*c.maxPacket, int(c.maxBW*defaultAckWait.Seconds()))
	inflight = max(inflight, quantum+held, c.minPipeCwnd())
	if c.state == bbrProbeUp {
		inflight += 2 * c.maxPacket
	}
	return inflight
}

func (c *bbr) inflight(gain float64) int { return c.quantizationBudget(c.bdpMultiple(gain)) }

// setCwnd is section 5.6.4.6.
func (c *bbr) setCwnd() {
	maxInflight := c.quantizationBudget(c.bdpMultiple(c.cwndGain) + max(c.extraAcked[0], c.extraAcked[1]))
	switch {
	case c.fullBWReached:
		c.cwnd = min(c.cwnd+c.rs.newlyAcked, maxInflight)
	case c.cwnd < maxInflight || c.delivered < int64(initialWindow(c.maxPacket)):
		c.cwnd += c.rs.newlyAcked
	}
	if c.state == bbrProbeRTT {
		c.cwnd = min(c.cwnd, c.probeRTTCwnd) // BoundCwndForProbeRTT
	}
	c.boundCwndForModel()
}

// boundCwndForModel is section 5.6.4.7.
func (c *bbr) boundCwndForModel() {
	bound := noBound
	switch {
	case c.state == bbrProbeRTT || c.state == bbrProbeCruise:
		bound = c.inflightWithHeadroom()
	case c.isInAProbeBWState():
		bound = c.inflightLongterm
	}
	c.cwnd = max(min(c.cwnd, bound, c.inflightShortterm, maxWindow), c.minPipeCwnd())
}

// saveCwnd and restoreCwnd keep the last good window over recovery and ProbeRTT (section 5.6.4.4).
func (c *bbr) saveCwnd() {
	if c.inRecovery || c.state == bbrProbeRTT {
		c.priorCwnd = max(c.priorCwnd, c.cwnd)
	} else {
		c.priorCwnd = c.cwnd
	}
}

func (c *bbr) restoreCwnd() { c.cwnd = max(c.cwnd, c.priorCwnd) }
