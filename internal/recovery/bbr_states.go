package recovery

import "time"

// The states before steady state and ProbeRTT, draft-ietf-ccwg-bbr sections 5.3.1, 5.3.2 and 5.3.4.

func (c *bbr) enterStartup() {
	c.state = bbrStartup
	c.pacingGain, c.cwndGain = bbrStartupPacingGain, bbrCwndGain
}

func (c *bbr) resetFullBW() { c.fullBW, c.fullBWCount, c.fullBWNow = 0, 0, false }

// checkFullBWReached finds the plateau of the delivery rate (section 5.3.1.2).
func (c *bbr) checkFullBWReached() {
	if c.fullBWNow || !c.roundStart || c.rs.appLimited {
		return
	}
	if c.rs.rate >= bbrFullBWGrowth*c.fullBW {
		c.resetFullBW()
		c.fullBW = c.rs.rate
		return
	}
	c.fullBWCount++
	c.fullBWNow = c.fullBWCount >= bbrFullBWRounds
	c.fullBWReached = c.fullBWReached || c.fullBWNow
}

// checkStartupHighLoss ends Startup when a whole round of recovery lost much in many places (section 5.3.1.3).
func (c *bbr) checkStartupHighLoss() {
	if c.state != bbrStartup || c.fullBWReached || !c.inRecovery || c.recoveryRounds < 1 ||
		c.lossRuns < bbrFullLossCount || !c.roundLossIsHigh() {
		return
	}
	c.undo.state, c.undo.left = bbrStartup, true
	c.fullBWReached = true
	c.inflightLongterm = max(c.bdpMultiple(1), c.inflightLatest)
}

func (c *bbr) checkStartupDone() {
	if c.state == bbrStartup && c.fullBWReached {
		c.state = bbrDrain
		c.pacingGain, c.cwndGain = bbrDrainPacingGain, bbrCwndGain
		c.drainStartRound = c.roundCount
	}
}

// checkDrainDone leaves Drain when the queue of Startup must be gone (section 5.3.2).
func (c *bbr) checkDrainDone() {
	if c.state == bbrDrain && (c.inFlight <= c.inflight(1) || c.roundCount > c.drainStartRound+bbrDrainRounds) {
		c.startProbeBWDown()
	}
}

// checkProbeRTT drains the path when the shortest round trip has not been seen for long (section 5.3.4.3).
func (c *bbr) checkProbeRTT() {
	if c.state != bbrProbeRTT && c.minRTTExpired && !c.idleRestart {
		c.saveCwnd()
		c.state = bbrProbeRTT
		c.pacingGain, c.cwndGain = 1, bbrProbeRTTCwndGain
		c.probeRTTDone = time.Time{}
		c.ackPhase = acksProbeStopping
		c.startRound()
	}
	if c.state == bbrProbeRTT {
		c.handleProbeRTT()
	}
	if c.rs.delivered > 0 {
		c.idleRestart = false
	}
}

func (c *bbr) handleProbeRTT() {
	c.markAppLimited(c.inFlight) // the low rate says nothing of the path
	switch {
	case !c.probeRTTDone.IsZero():
		c.probeRTTRoundDone = c.probeRTTRoundDone || c.roundStart
		if c.probeRTTRoundDone {
			c.checkProbeRTTDone()
		}
	case c.inFlight <= c.probeRTTCwnd:
		c.probeRTTDone = c.now.Add(bbrProbeRTTDuration)
		c.probeRTTRoundDone = false
		c.startRound()
	}
}

func (c *bbr) checkProbeRTTDone() {
	if c.probeRTTDone.IsZero() || !c.now.After(c.probeRTTDone) {
		return
	}
	c.minRTTStamp = c.now
	c.restoreCwnd()
	c.exitProbeRTT()
}

// exitProbeRTT goes on where nothing is queued (section 5.3.4.4).
func (c *bbr) exitProbeRTT() {
	c.resetShortTermModel()
	if !c.fullBWReached {
		c.enterStartup()
		return
	}
	c.startProbeBWDown()
	c.startProbeBWCruise()
}
