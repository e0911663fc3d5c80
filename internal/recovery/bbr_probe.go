package recovery

import (
	"math"
	"time"
)

// Steady state, draft-ietf-ccwg-bbr section 5.3.3: the sender probes for more
// bandwidth (UP), drains what that queued (DOWN), sends at the rate it found
// (CRUISE), and fills the pipe (REFILL) before the next probe.

func (c *bbr) isInAProbeBWState() bool { return c.state >= bbrProbeDown && c.state <= bbrProbeUp }

func (c *bbr) isProbingBW() bool {
	return c.state == bbrStartup || c.state == bbrProbeRefill || c.state == bbrProbeUp
}

func (c *bbr) startProbeBWDown() {
	c.resetCongestionSignals()
	c.probeUpAckedPerInc = noBound
	c.pickProbeWait()
	c.cycleStamp = c.now
	c.ackPhase = acksProbeStopping
	c.startRound()
	c.state = bbrProbeDown
	c.pacingGain, c.cwndGain = bbrDownPacingGain, bbrCwndGain
}

func (c *bbr) startProbeBWCruise() {
	c.state = bbrProbeCruise
	c.pacingGain, c.cwndGain = 1, bbrCwndGain
}

func (c *bbr) startProbeBWRefill() {
	c.resetShortTermModel()
	c.bwProbeUpRounds, c.bwProbeUpAcked = 0, 0
	c.prevProbePrecautionary = false
	c.ackPhase = acksRefilling
	c.startRound()
	c.state = bbrProbeRefill
	c.pacingGain, c.cwndGain = 1, bbrCwndGain
}

func (c *bbr) startProbeBWUp() {
	c.ackPhase = acksProbeStarting
	c.startRound()
	c.resetFullBW()
	c.fullBW = c.rs.rate
	c.state = bbrProbeUp
	c.pacingGain, c.cwndGain = bbrUpPacingGain, bbrUpCwndGain
	c.raiseInflightLongtermSlope()
}

// updateProbeBWCyclePhase is section 5.3.3.6.
func (c *bbr) updateProbeBWCyclePhase() {
	if !c.fullBWReached || c.adaptLongTermModel() {
		return
	}
	switch c.state {
	case bbrProbeDown:
		if !c.isTimeToProbeBW() && c.isTimeToCruise() {
			c.startProbeBWCruise()
		}
	case bbrProbeCruise:
		c.isTimeToProbeBW()
	case bbrProbeRefill:
		if c.roundStart {
			c.isBWProbeSample = true
			c.startProbeBWUp()
		}
	case bbrProbeUp:
		if c.isTimeToGoDown() {
			c.prevProbeTooHigh = false
			c.startProbeBWDown()
		}
	}
}

// adaptLongTermModel moves the bounds and filters by what a probe showed. It
// reports whether it changed the state.
func (c *bbr) adaptLongTermModel() bool {
	if c.ackPhase == acksProbeStarting && c.roundStart {
		c.ackPhase = acksProbeFeedback
	}
	if c.ackPhase == acksProbeStopping && c.roundStart {
		c.isBWProbeSample = false
		c.ackPhase = acksInit
		if c.isInAProbeBWState() {
			if !c.rs.appLimited {
				c.advanceMaxBWFilter()
			}
			if c.prevProbePrecautionary && !c.prevProbeTooHigh {
				c.startProbeBWRefill()
				return true
			}
		}
	}
	if c.inflightLongterm != noBound && !c.isInflightTooHigh(c.rs.lost, c.rs.txInFlight) {
		c.inflightLongterm = max(c.inflightLongterm, c.rs.txInFlight)
		if c.state == bbrProbeUp {
			c.probeInflightLongtermUpward()
		}
	}
	return false
}

// raiseInflightLongtermSlope doubles the growth of inflight_longterm with each round.
func (c *bbr) raiseInflightLongtermSlope() {
	growth := 1 << c.bwProbeUpRounds
	c.bwProbeUpRounds = min(c.bwProbeUpRounds+1, bbrMaxUpRounds)
	c.probeUpAckedPerInc = max(c.cwnd/growth, c.maxPacket)
}

func (c *bbr) probeInflightLongtermUpward() {
	if !c.isCwndLimited() || c.cwnd < c.inflightLongterm {
		return
	}
	c.bwProbeUpAcked += c.rs.newlyAcked
	if delta := c.bwProbeUpAcked / c.probeUpAckedPerInc; delta > 0 {
		c.bwProbeUpAcked -= delta * c.probeUpAckedPerInc
		c.inflightLongterm = min(c.inflightLongterm+delta*c.maxPacket, maxWindow)
	}
	if c.roundStart {
		c.raiseInflightLongtermSlope()
	}
}

// isTimeToProbeBW begins a probe after two to three seconds, or as many rounds as
// Reno would need for as much (section 5.3.3.5.3).
func (c *bbr) isTimeToProbeBW() bool {
	if c.now.After(c.cycleStamp.Add(c.bwProbeWait)) || c.isRenoCoexistenceProbeTime() {
		c.startProbeBWRefill()
		return true
	}
	return false
}

func (c *bbr) pickProbeWait() {
	c.roundsSinceProbeUp = int(c.rng.Uint64() & 1)
	c.bwProbeWait = bbrMinProbeWait + time.Duration(c.rng.Uint64()%uint64(bbrProbeWaitSpread))
	c.awaitsCUBIC = false
}

func (c *bbr) isRenoCoexistenceProbeTime() bool {
	return !c.awaitsCUBIC && c.roundsSinceProbeUp >= min(c.targetInflight()/c.maxPacket, bbrMaxRenoRounds)
}

// waitForCUBIC puts the next probe off after one that lost too much, for as long
// as a CUBIC flow with this window needs to come back from the same loss (K of RFC 9438
// section 4.2). The draft's two to three seconds never let one grow above some twenty packets.
func (c *bbr) waitForCUBIC() {
	window := float64(min(c.inflightLongterm, maxWindow)) / float64(c.maxPacket)
	k := math.Cbrt(window * (1 - cubicBeta) / cubicC)
	c.bwProbeWait = max(c.bwProbeWait, min(time.Duration(k*float64(time.Second)), bbrMaxProbeWait))
	c.awaitsCUBIC = true
}

// targetInflight is what should be in flight unless losses cut the window.
func (c *bbr) targetInflight() int { return min(c.bdpMultiple(1), c.cwnd) }

func (c *bbr) isTimeToCruise() bool {
	return c.inFlight <= c.inflightWithHeadroom() && c.inFlight <= c.inflight(1)
}

func (c *bbr) isTimeToGoDown() bool {
	if c.prevProbeTooHigh && c.inFlight >= c.inflightLongterm {
		c.prevProbePrecautionary = true
		return true
	}
	if c.isCwndLimited() && c.cwnd >= c.inflightLongterm {
		c.resetFullBW() // what limits the rate is the bound, not the path
		c.fullBW = c.rs.rate
		return false
	}
	return c.fullBWNow
}

// inflightWithHeadroom leaves room for other flows.
func (c *bbr) inflightWithHeadroom() int {
	if c.inflightLongterm == noBound {
		return noBound
	}
	headroom := max(c.maxPacket, int(bbrHeadroom*float64(c.inflightLongterm)))
	return max(c.inflightLongterm-headroom, c.minPipeCwnd())
}
