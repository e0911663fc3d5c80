package recovery

import (
	"math"
	"time"
)

// newReno is the controller of RFC 9002 section 7 with HyStart++.
type newReno struct {
	maxPacket int
	hystart   hystart
	window    float64
	threshold float64 // slow start below it
	before    struct{ window, threshold float64 }
}

// NewReno returns a NewReno controller, RFC 9002 section 7, for packets of at most maxPacket
// bytes, with the same initial window as [NewCUBIC].
func NewReno(maxPacket int) Controller {
	return &newReno{
		maxPacket: maxPacket,
		window:    float64(initialWindow(maxPacket)),
		threshold: math.Inf(1),
	}
}

func (c *newReno) Window() int     { return int(c.window) }
func (c *newReno) SlowStart() bool { return c.window < c.threshold }

func (c *newReno) Acked(a Ack) {
	if a.AppLimited {
		return
	}
	if !c.SlowStart() {
		c.window = clampWindow(c.window+float64(a.Bytes)*float64(c.maxPacket)/c.window, c.maxPacket)
		return
	}
	growth, over := c.hystart.acked(a)
	c.window = clampWindow(min(c.window+float64(growth), c.threshold), c.maxPacket)
	if over {
		c.threshold = c.window
	}
}

func (c *newReno) Congestion(time.Time) {
	c.before.window, c.before.threshold = c.window, c.threshold
	c.window = clampWindow(c.window/2, c.maxPacket)
	c.threshold = c.window
}

func (c *newReno) PersistentCongestion() {
	c.window = clampWindow(0, c.maxPacket)
	c.hystart = hystart{}
}

func (c *newReno) Undo() {
	c.window = max(c.window, c.before.window)
	c.threshold = max(c.threshold, c.before.threshold)
}

func (c *newReno) SetMaxPacket(n int) {
	c.maxPacket = n
	c.window = clampWindow(c.window, n)
}
