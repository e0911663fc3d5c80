package recovery

import (
	"math"
	"time"
)

// The model of the path, draft-ietf-ccwg-bbr section 5.5.

// startRound begins a round: it ends when a packet sent from now on is acknowledged (section 5.5.1).
func (c *bbr) startRound() { c.nextRoundDelivered = c.delivered }

func (c *bbr) updateRound() {
	c.roundStart = c.rs.priorDelivered >= c.nextRoundDelivered
	if !c.roundStart {
		return
	}
	c.startRound()
	c.roundCount++
	c.roundsSinceProbeUp++
	c.recoveryRounds++
	c.limited[0], c.limited[1] = c.limited[1], false
}

// isCwndLimited reports whether the window kept the sender from sending within the last round.
func (c *bbr) isCwndLimited() bool { return c.limited[0] || c.limited[1] }

// updateMaxBW keeps the largest sample of this and the previous cycle (section 5.5.5).
func (c *bbr) updateMaxBW() {
	c.updateRound()
	if c.rs.rate > 0 && (c.rs.rate >= c.maxBW || !c.rs.appLimited) {
		c.maxBWFilter[1] = max(c.maxBWFilter[1], c.rs.rate)
		c.maxBW = max(c.maxBWFilter[0], c.maxBWFilter[1])
	}
}

// advanceMaxBWFilter begins a cycle (section 5.5.6). One without any sample does not end.
func (c *bbr) advanceMaxBWFilter() {
	if c.maxBWFilter[1] > 0 {
		c.maxBWFilter[0], c.maxBWFilter[1] = c.maxBWFilter[1], 0
		c.maxBW = c.maxBWFilter[0]
	}
}

// updateLatestDeliverySignals and advanceLatestDeliverySignals keep what the
// path delivered within the latest round (section 5.5.10.3).
func (c *bbr) updateLatestDeliverySignals() {
	c.lossRoundStart = false
	c.bwLatest = max(c.bwLatest, c.rs.rate)
	c.inflightLatest = max(c.inflightLatest, int(c.rs.delivered))
	if c.rs.priorDelivered >= c.lossRoundDelivered {
		c.lossRoundDelivered = c.delivered
		c.lossRoundStart = true
	}
}

func (c *bbr) advanceLatestDeliverySignals() {
	if c.lossRoundStart {
		c.bwLatest, c.inflightLatest = c.rs.rate, int(c.rs.delivered)
	}
}

func (c *bbr) resetCongestionSignals() {
	c.lossInRound, c.lossRuns = false, 0
	c.bwLatest, c.inflightLatest = 0, 0
}

func (c *bbr) updateCongestionSignals() {
	c.updateMaxBW()
	if !c.lossRoundStart {
		return
	}
	c.checkStartupHighLoss()
	if c.lossInRound && !c.isProbingBW() && c.roundLossIsHigh() {
		c.adaptLowerBounds()
	}
	c.lossInRound, c.lossRuns = false, 0
	c.roundLost, c.roundDelivered = c.lost, c.delivered
}

// roundLossIsHigh reports whether LossThresh was exceeded in the round. The
// draft slows down for every loss outside of probes: by as much as is lost in
// each round, so that one percent of loss costs a seventh of the rate.
func (c *bbr) roundLossIsHigh() bool {
	lost, delivered := c.lost-c.roundLost, c.delivered-c.roundDelivered
	return c.isInflightTooHigh(lost, int(lost+delivered))
}

// adaptLowerBounds is AdaptLowerBoundsFromCongestion: the sender slows down to what was delivered.
func (c *bbr) adaptLowerBounds() {
	c.bwShortterm = max(c.bwLatest, bbrBeta*min(c.bwShortterm, c.maxBW))
	c.inflightShortterm = max(c.inflightLatest, int(bbrBeta*float64(min(c.inflightShortterm, c.cwnd))))
}

func (c *bbr) resetShortTermModel() {
	c.bwShortterm, c.inflightShortterm = unbounded, noBound
}

// updateACKAggregation measures by how much ACKs run ahead of the rate (section 5.5.9).
func (c *bbr) updateACKAggregation() {
	expected := c.bw * c.now.Sub(c.extraAckedStart).Seconds()
	if c.extraAckedDelivered <= expected {
		c.extraAckedDelivered, c.extraAckedStart, expected = 0, c.now, 0
	}
	c.extraAckedDelivered += float64(c.rs.newlyAcked)
	extra := min(int(c.extraAckedDelivered-expected), c.cwnd)
	rounds := bbrExtraAckedRounds
	if !c.fullBWReached {
		rounds = 1
	}
	if c.roundStart && c.roundCount-c.extraAckedRound >= rounds {
		c.extraAckedRound = c.roundCount
		c.extraAcked[0], c.extraAcked[1] = c.extraAcked[1], 0
	}
	c.extraAcked[1] = max(c.extraAcked[1], extra)
}

// updateMinRTT keeps the lowest round trip of ten seconds, and the volume
// that ProbeRTT aims at from before that estimate expired (section 5.3.4.3).
func (c *bbr) updateMinRTT() {
	c.minRTTExpired = c.minRTT > 0 && c.now.After(c.minRTTStamp.Add(bbrMinRTTFilterLen))
	if c.minRTTExpired && c.state != bbrProbeRTT {
		c.probeRTTCwnd = max(c.bdpMultiple(bbrProbeRTTCwndGain), c.minPipeCwnd())
	}
	if c.rs.rtt > 0 && (c.minRTT == 0 || c.rs.rtt < c.minRTT || c.minRTTExpired) {
		c.minRTT, c.minRTTStamp = c.rs.rtt, c.now
	}
}

// isInflightTooHigh reports whether so much of a flight was lost that it was
// too large (section 5.5.10.2). Random losses of one percent exceed two percent of some
// flights by chance, and one such bounds the volume for long; so what counts is
// two percent and two standard deviations of that.
func (c *bbr) isInflightTooHigh(lost int64, txInFlight int) bool {
	expected := bbrLossThresh * float64(txInFlight)
	return float64(lost) > expected+bbrDeviations*math.Sqrt(expected*float64(c.maxPacket))
}

// PacketLost is HandleLostPacket of section 5.5.10.2.
func (c *bbr) PacketLost(now time.Time, p *Packet, inFlight int) {
	v := &p.rate
	if !v.stamped {
		return
	}
	c.now, c.inFlight = now, inFlight
	c.noteLoss(p)
	if !c.isBWProbeSample {
		return
	}
	if lost := c.lost - v.lost; c.isInflightTooHigh(lost, v.txInFlight) {
		c.handleInflightTooHigh(inflightAtLoss(p, lost), v.appLimited)
	}
}

func (c *bbr) noteLoss(p *Packet) {
	if !c.lossInRound {
		c.lossRoundDelivered = c.delivered
		c.lossInRound = true
	}
	if c.lossRuns == 0 || p.Number != c.lastLost+1 {
		c.lossRuns++
	}
	c.lastLost = p.Number
	c.lost += int64(p.Size)
}

// inflightAtLoss is how much was in flight when the share of losses crossed
// LossThresh, which may be in the middle of p.
func inflightAtLoss(p *Packet, lost int64) int {
	inflight, before := float64(p.rate.txInFlight-p.Size), float64(lost-int64(p.Size))
	prefix := (bbrLossThresh*inflight - before) / (1 - bbrLossThresh)
	return int(inflight + max(prefix, 0))
}

// handleInflightTooHigh bounds the volume after a probe that lost too much. The
// draft keeps to what was in flight at the loss, and so leaves a full queue to CUBIC flows;
// here the queue is given up as CUBIC does, though not the bandwidth.
func (c *bbr) handleInflightTooHigh(txInFlight int, appLimited bool) {
	c.prevProbeTooHigh = true
	c.isBWProbeSample = false // one response to each probe
	if !appLimited {
		c.inflightLongterm = max(int(bbrBeta*float64(txInFlight)), c.targetInflight())
	}
	halved := 2*c.bwLatest < c.maxBW
	if c.state == bbrProbeUp {
		c.undo.state, c.undo.left = bbrProbeUp, true
		c.startProbeBWDown()
	}
	if !halved { // else the path has changed, which the next two probes will learn
		c.waitForCUBIC()
	}
}
