package recovery

import (
	"math"
	"time"
)

// CUBIC constants, RFC 9438 section 5.
const (
	cubicC    = 0.4 // packets a second cubed
	cubicBeta = 0.7
	// cubicAlpha makes the Reno-friendly region as fast as Reno (section 4.3).
	cubicAlpha = 3 * (1 - cubicBeta) / (1 + cubicBeta)
)

// A curve is one congestion avoidance stage of CUBIC: what it aims at, from
// which window and since when. Windows are in bytes.
type curve struct {
	started time.Time // zero: not yet
	top     float64   // the plateau, W_max
	prior   float64   // window before the last reduction
	k       float64   // seconds from the start to the plateau
	reno    float64   // window that Reno would have, W_est
}

// cubic is the controller of RFC 9438 with HyStart++.
type cubic struct {
	maxPacket int
	hystart   hystart
	window    float64
	threshold float64 // slow start below it
	curve     curve
	lastAck   time.Time
	before    struct {
		window, threshold float64
		curve             curve
	}
}

// NewCUBIC returns a CUBIC controller, RFC 9438, for packets of at most maxPacket bytes.
//
// The initial window is that of RFC 9002 section 7.2 (ten packets, about
// 14 kB) where packets fit Ethernet frames. Larger packets exist only on paths of
// stream-like links, on which TCP below already controls congestion; there the window
// starts at 512 KiB. It never shrinks below two packets nor grows beyond 64 MiB.
func NewCUBIC(maxPacket int) Controller {
	return &cubic{
		maxPacket: maxPacket,
		window:    float64(initialWindow(maxPacket)),
		threshold: math.Inf(1),
	}
}

func (c *cubic) Window() int     { return int(c.window) }
func (c *cubic) SlowStart() bool { return c.window < c.threshold }

func (c *cubic) Acked(a Ack) {
	idle := a.Now.Sub(c.lastAck)
	c.lastAck = a.Now
	switch {
	case a.AppLimited:
		// The curve stands still while the window is not used (section 4.2).
		if !c.curve.started.IsZero() {
			c.curve.started = c.curve.started.Add(idle)
		}
	case c.SlowStart():
		growth, over := c.hystart.acked(a)
		c.window = clampWindow(min(c.window+float64(growth), c.threshold), c.maxPacket)
		if over {
			c.threshold = c.window
		}
	default:
		c.avoid(a)
	}
}

// avoid grows the window in congestion avoidance, sections 4.2 to 4.5.
func (c *cubic) avoid(a Ack) {
	v := &c.curve
	if v.started.IsZero() {
		c.startCurve(a.Now)
	}
	bytes, t := float64(a.Bytes), a.Now.Sub(v.started).Seconds()

	alpha := cubicAlpha
	if v.reno >= v.prior {
		alpha = 1
	}
	v.reno += alpha * bytes / c.window * float64(c.maxPacket)

	window := v.reno
	if c.at(t) >= v.reno {
		target := min(max(c.at(t+a.SmoothedRTT.Seconds()), c.window), 1.5*c.window)
		window = c.window + (target-c.window)/c.window*bytes
	}
	c.window = clampWindow(max(c.window, window), c.maxPacket)
}

func (c *cubic) startCurve(now time.Time) {
	v := &c.curve
	v.started, v.reno = now, c.window
	v.top = max(v.top, c.window)
	v.k = math.Cbrt((v.top - c.window) / float64(c.maxPacket) / cubicC)
}

// at is W_cubic(t), in bytes.
func (c *cubic) at(t float64) float64 {
	d := t - c.curve.k
	return c.curve.top + cubicC*d*d*d*float64(c.maxPacket)
}

func (c *cubic) Congestion(time.Time) {
	c.before.window, c.before.threshold, c.before.curve = c.window, c.threshold, c.curve
	top := c.window
	if top < c.curve.top {
		top *= (1 + cubicBeta) / 2 // fast convergence, section 4.7
	}
	c.curve = curve{top: top, prior: c.window}
	c.window = clampWindow(c.window*cubicBeta, c.maxPacket)
	c.threshold = c.window
}

func (c *cubic) PersistentCongestion() {
	c.window = clampWindow(0, c.maxPacket)
	c.curve = curve{}
	c.hystart = hystart{}
}

func (c *cubic) Undo() {
	if c.before.window > c.window {
		c.window, c.threshold, c.curve = c.before.window, c.before.threshold, c.before.curve
	}
}

func (c *cubic) SetMaxPacket(n int) {
	c.maxPacket = n
	c.window = clampWindow(c.window, n)
	c.curve.started = time.Time{} // the curve's unit is a packet
}
