package recovery

import (
	"math"
	"math/rand/v2"
	"time"
)

// BBR constants, draft-ietf-ccwg-bbr section 2.
const (
	bbrLossThresh     = 0.02 // share of a flight lost that says it was too large
	bbrDeviations     = 2    // by which chance may exceed it
	bbrBeta           = 0.7  // smallest factor of a response to loss, that of CUBIC
	bbrHeadroom       = 0.15 // share of inflight_longterm left to others while cruising
	bbrPacingMargin   = 0.01 // share by which the sender stays below the bandwidth
	bbrMinPipePackets = 4    // MinPipeCwnd

	bbrStartupPacingGain = 2.77
	bbrDrainPacingGain   = 0.5
	bbrDownPacingGain    = 0.9
	bbrUpPacingGain      = 1.25
	bbrCwndGain          = 2
	bbrUpCwndGain        = 2.25
	bbrProbeRTTCwndGain  = 0.5

	bbrFullBWRounds     = 3 // rounds without growth that say the pipe is full
	bbrFullBWGrowth     = 1.25
	bbrFullLossCount    = 6 // runs of lost packets in a round that may end Startup
	bbrDrainRounds      = 3
	bbrMaxRenoRounds    = 63
	bbrMaxUpRounds      = 30
	bbrExtraAckedRounds = 5 // of each of the two slots of the filter

	bbrMinRTTFilterLen  = 10 * time.Second
	bbrProbeRTTDuration = 200 * time.Millisecond
	bbrMinProbeWait     = 2 * time.Second
	bbrProbeWaitSpread  = time.Second
	bbrMaxProbeWait     = 10 * time.Second // after a probe that lost too much

	bbrMaxQuantum = 64 << 10 // bytes, SetSendQuantum
	// bbrAckThreshold is how many packets a peer may leave without an ACK (SPEC.md 5.5).
	bbrAckThreshold = 8
)

// A bbrState is a state of section 5.1.1.
type bbrState uint8

const (
	bbrStartup bbrState = iota
	bbrDrain
	bbrProbeDown
	bbrProbeCruise
	bbrProbeRefill
	bbrProbeUp
	bbrProbeRTT
)

// An ackPhase says what the ACKs that come in tell about: ack_phase.
type ackPhase uint8

const (
	acksInit ackPhase = iota
	acksRefilling
	acksProbeStarting
	acksProbeFeedback
	acksProbeStopping
)

const noBound = math.MaxInt // of inflight_longterm and inflight_shortterm

// bbr is the controller of draft-ietf-ccwg-bbr, BBR version 3. Fields and
// methods have the names of the draft. Rates are in bytes a second.
type bbr struct {
	sampler
	maxPacket int // C.SMSS
	rng       rand.PCG
	now       time.Time
	inFlight  int

	// Output, section 5.6.
	cwnd, priorCwnd      int
	pacingRate           float64
	pacingGain, cwndGain float64

	state    bbrState
	ackPhase ackPhase

	// Rounds, section 5.5.1.
	nextRoundDelivered int64
	roundCount         int
	roundStart         bool
	limited            [2]bool // the window was full in the previous and in this round

	// Bandwidth, sections 5.5.2 to 5.5.6.
	maxBWFilter   [2]float64 // of the previous and of this cycle
	maxBW         float64
	bwShortterm   float64
	bw            float64
	fullBW        float64
	fullBWCount   int
	fullBWNow     bool
	fullBWReached bool

	// Round trip, sections 5.3.4 and 5.5.7.
	minRTT            time.Duration // zero: unknown
	minRTTStamp       time.Time
	minRTTExpired     bool
	probeRTTDone      time.Time
	probeRTTRoundDone bool
	probeRTTCwnd      int
	idleRestart       bool

	// Volume, sections 5.5.9 and 5.5.10.
	extraAckedStart     time.Time
	extraAckedDelivered float64
	extraAcked          [2]int // the larger counts
	extraAckedRound     int    // round in which the latter began
	inflightLongterm    int
	inflightShortterm   int

	// Signals of this round, section 5.5.10.
	lossRoundDelivered int64
	lossRoundStart     bool
	lossInRound        bool
	lossRuns           int    // runs of lost packets in the round
	lastLost           uint64 // number of the last lost packet
	roundLost          int64  // sampler's count when the round began
	roundDelivered     int64
	bwLatest           float64
	inflightLatest     int

	drainStartRound int

	// Probing for bandwidth, section 5.3.3.
	cycleStamp             time.Time
	bwProbeWait            time.Duration
	awaitsCUBIC            bool
	roundsSinceProbeUp     int
	bwProbeUpRounds        int
	bwProbeUpAcked         int
	probeUpAckedPerInc     int
	isBWProbeSample        bool
	prevProbeTooHigh       bool
	prevProbePrecautionary bool

	// Loss recovery, sections 5.5.11 and 5.6.4.4.
	inRecovery     bool
	recoveryStart  time.Time
	recoveryRounds int // since it began
	undo           bbrUndo
}

// A bbrUndo is what a response to losses changed, should they prove late packets.
type bbrUndo struct {
	state             bbrState
	left              bool // that state was left because of them
	bwShortterm       float64
	inflightShortterm int
	inflightLongterm  int
}

// NewBBR returns a BBR controller, version 3 as in draft-ietf-ccwg-bbr, for packets of at
// most maxPacket bytes. The initial window is that of [NewCUBIC]; the window never
// shrinks below four packets nor grows beyond 64 MiB.
func NewBBR(maxPacket int) Controller {
	c := &bbr{
		maxPacket:          maxPacket,
		cwnd:               initialWindow(maxPacket),
		inflightLongterm:   noBound,
		probeUpAckedPerInc: noBound,
	}
	c.rng.Seed(rand.Uint64(), rand.Uint64())
	c.resetShortTermModel()
	c.enterStartup()
	return c
}

func (c *bbr) Window() int         { return c.cwnd }
func (c *bbr) SlowStart() bool     { return c.state == bbrStartup }
func (c *bbr) PacingRate() float64 { return c.pacingRate }

// Burst is the least quantum (section 5.6.3).
func (c *bbr) Burst() int { return 2 * c.maxPacket }

// PacketSent takes note of a packet; inFlight is without it (sections 4.1.2.2 and 5.2.2).
func (c *bbr) PacketSent(now time.Time, p *Packet, inFlight int) {
	c.now, c.inFlight = now, inFlight
	if inFlight == 0 && c.appLimited != 0 {
		c.restartFromIdle()
	}
	c.onSent(now, p, inFlight)
}

// restartFromIdle is HandleRestartFromIdle of section 5.4.1.
func (c *bbr) restartFromIdle() {
	c.idleRestart = true
	c.extraAckedStart = c.now
	switch {
	case c.isInAProbeBWState():
		c.setPacingRateWithGain(1)
	case c.state == bbrProbeRTT:
		c.checkProbeRTTDone()
	}
}

// PacketAcked takes note of one of the packets of an ACK frame, before Acked.
func (c *bbr) PacketAcked(now time.Time, p *Packet) { c.onAcked(now, p) }

// PacketLate takes a loss back.
func (c *bbr) PacketLate(size int) { c.onLate(size) }

// AppLimited tells that nothing is left to send.
func (c *bbr) AppLimited(inFlight int) {
	if inFlight < c.cwnd {
		c.markAppLimited(inFlight)
	}
}

// WindowFull tells that the window is what keeps the sender from sending.
func (c *bbr) WindowFull() { c.limited[1] = true }

// Acked is UpdateOnACK of section 5.2.3.
func (c *bbr) Acked(a Ack) {
	c.now, c.inFlight = a.Now, a.InFlight
	c.generate(a.MinRTT)
	c.rs.rtt = a.RTT
	if c.inRecovery && c.firstSend.After(c.recoveryStart) {
		c.inRecovery = false
		c.restoreCwnd()
	}
	c.updateModelAndState()
	c.setPacingRate()
	c.setCwnd()
	c.rs = sample{}
}

func (c *bbr) updateModelAndState() {
	c.updateLatestDeliverySignals()
	c.updateCongestionSignals()
	c.updateACKAggregation()
	c.checkFullBWReached()
	c.checkStartupDone()
	c.checkDrainDone()
	c.updateProbeBWCyclePhase()
	c.updateMinRTT()
	c.checkProbeRTT()
	c.advanceLatestDeliverySignals()
	c.bw = min(c.maxBW, c.bwShortterm) // BoundBWForModel
}

// Congestion is OnEnterFastRecovery of section 5.6.4.4 with SaveStateUponLoss
// of section 5.5.11.1. What follows from the losses, PacketLost decides.
func (c *bbr) Congestion(now time.Time) {
	c.saveCwnd()
	c.inRecovery, c.recoveryStart, c.recoveryRounds = true, now, 0
	c.undo = bbrUndo{
		bwShortterm:       c.bwShortterm,
		inflightShortterm: c.inflightShortterm,
		inflightLongterm:  c.inflightLongterm,
	}
}

// PersistentCongestion is OnEnterRTO of section 5.6.4.4: QUIC's probe timeouts
// say nothing of the path, a long time without any delivery does. The window
// grows again with what is delivered.
func (c *bbr) PersistentCongestion() {
	c.cwnd, c.priorCwnd = c.minPipeCwnd(), 0
	c.inRecovery = false
}

// Undo is HandleSpuriousLossDetection of section 5.5.11.2.
func (c *bbr) Undo() {
	u := c.undo
	c.undo = bbrUndo{bwShortterm: c.bwShortterm, inflightShortterm: c.inflightShortterm, inflightLongterm: c.inflightLongterm}
	c.restoreCwnd()
	c.inRecovery = false
	c.lossInRound = false
	c.resetFullBW()
	c.bwShortterm = max(c.bwShortterm, u.bwShortterm)
	c.inflightShortterm = max(c.inflightShortterm, u.inflightShortterm)
	c.inflightLongterm = max(c.inflightLongterm, u.inflightLongterm)
	if !u.left || c.state == u.state {
		return
	}
	if u.state == bbrStartup {
		c.fullBWReached = false
	}
	switch {
	case c.state == bbrProbeRTT:
	case u.state == bbrStartup:
		c.enterStartup()
	default:
		c.startProbeBWRefill()
	}
}

func (c *bbr) SetMaxPacket(n int) {
	c.maxPacket = n
	c.cwnd = max(c.cwnd, c.minPipeCwnd())
}
