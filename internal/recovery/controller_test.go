package recovery

import (
	"math"
	"testing"
	"time"
)

func TestInitialWindow(t *testing.T) {
	tests := []struct {
		name            string
		maxPacket, want int
	}{
		{"ten small packets", 1200, 12000},
		{"ten of Ethernet's", 1452, 14520},
		{"at most 14720 bytes", 1500, 14720},
		{"but at least two packets", 9000, 18000},
		{"path of stream-like links", 65535, 512 << 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, newController := range controllers {
				if got := newController(tt.maxPacket).Window(); got != tt.want {
					t.Errorf("%s: %d, want %d", name, got, tt.want)
				}
			}
		})
	}
}

var controllers = map[string]func(int) Controller{"NewReno": NewReno, "CUBIC": NewCUBIC}

func TestControllersObeyTheCommonRules(t *testing.T) {
	for name, newController := range controllers {
		t.Run(name, func(t *testing.T) {
			const size = 1200
			c := newController(size)
			start := c.Window()
			c.Acked(Ack{Now: epoch, Sent: epoch, Bytes: size, AppLimited: true})
			if c.Window() != start {
				t.Error("an unused window grew")
			}
			c.Acked(Ack{Now: epoch, Sent: epoch, Bytes: start})
			if c.Window() != 2*start || !c.SlowStart() {
				t.Errorf("window %d after a round of slow start at %d, want double", c.Window(), start)
			}
			c.Congestion(epoch)
			if c.Window() >= 2*start || c.SlowStart() {
				t.Errorf("window %d, slow start %v after congestion", c.Window(), c.SlowStart())
			}
			c.Undo()
			if c.Window() != 2*start || !c.SlowStart() {
				t.Errorf("window %d, slow start %v after undoing it", c.Window(), c.SlowStart())
			}
			for range 100 {
				c.Congestion(epoch)
			}
			if c.Window() != minWindowPackets*size {
				t.Errorf("window %d after much congestion, want two packets", c.Window())
			}
			c.SetMaxPacket(65535)
			if c.Window() != minWindowPackets*65535 {
				t.Errorf("window %d, want two of the larger packets", c.Window())
			}
			c.PersistentCongestion()
			now := epoch
			for range 20_000 {
				now = now.Add(time.Millisecond)
				c.Acked(Ack{Now: now, Sent: now, Bytes: c.Window(), SmoothedRTT: time.Millisecond})
			}
			if c.Window() != maxWindow {
				t.Errorf("window %d without any loss, want the limit", c.Window())
			}
		})
	}
}

func TestNewRenoGrowsByOnePacketARound(t *testing.T) {
	c := NewReno(1000)
	c.Congestion(epoch)
	c.Congestion(epoch)
	before := c.Window()
	c.Acked(Ack{Now: epoch, Bytes: before})
	if got := c.Window() - before; got < 999 || got > 1000 {
		t.Errorf("grew by %d, want one packet", got)
	}
}

// cubicAfterLoss returns a controller at a given window of 1000-byte packets just after a reduction.
func cubicAfterLoss(packets float64) *cubic {
	c := NewCUBIC(1000).(*cubic)
	c.window = packets * 1000
	c.Congestion(epoch)
	return c
}

// run acknowledges a window each round trip for d.
func (c *cubic) run(now time.Time, d, rtt time.Duration, limited bool) time.Time {
	for end := now.Add(d); now.Before(end); {
		now = now.Add(rtt)
		c.Acked(Ack{Now: now, Sent: now, Bytes: c.Window(), SmoothedRTT: rtt, AppLimited: limited})
	}
	return now
}

func TestCUBICReturnsToThePlateauAfterK(t *testing.T) {
	const packets = 1000
	c := cubicAfterLoss(packets)
	if got := c.Window(); got != packets*700 {
		t.Errorf("window %d after a loss, want 0.7 of it", got)
	}
	k := math.Cbrt(packets * (1 - cubicBeta) / cubicC)
	const rtt = 100 * ms
	now := c.run(epoch, time.Duration(k*float64(time.Second)), rtt, false)
	if got := c.window / (packets * 1000); got < 0.99 || got > 1.01 {
		t.Errorf("window is %.3f of the plateau after K=%.1fs", got, k)
	}
	c.run(now, 3*time.Second, rtt, false)
	if got, want := c.window/1000, packets+cubicC*27; got < want*0.98 || got > want*1.02 {
		t.Errorf("window %.0f packets three seconds past the plateau, want about %.0f", got, want)
	}
}

func TestCUBICStandsStillWhileTheApplicationIdles(t *testing.T) {
	c, twin := cubicAfterLoss(1000), cubicAfterLoss(1000)
	now := c.run(epoch, 2*time.Second, 100*ms, false)
	twin.run(epoch, 2*time.Second, 100*ms, false)
	later := c.run(now, time.Minute, 100*ms, true)
	if c.window != twin.window {
		t.Errorf("window went from %.0f to %.0f while it was not used", twin.window, c.window)
	}
	c.run(later, 2*time.Second, 100*ms, false)
	twin.run(now, 2*time.Second, 100*ms, false)
	if math.Abs(c.window/twin.window-1) > 0.01 {
		t.Errorf("window %.0f after the pause, %.0f without one", c.window, twin.window)
	}
}

func TestCUBICConvergesFastWhenTheWindowShrinks(t *testing.T) {
	c := cubicAfterLoss(1000)
	c.Congestion(epoch) // at 700, below the plateau of 1000
	if got, want := c.curve.top, 700_000*(1+cubicBeta)/2; got != want {
		t.Errorf("plateau %.0f, want %.0f", got, want)
	}
}

func TestCUBICIsNoSlowerThanRenoOnShortPaths(t *testing.T) {
	c := cubicAfterLoss(20)
	const rtt = 5 * ms
	before := c.window
	c.run(epoch, 100*rtt, rtt, false)
	if grown := (c.window - before) / 1000; grown < 100*cubicAlpha*0.9 {
		t.Errorf("grew by %.1f packets in 100 round trips, want what Reno would: %.1f", grown, 100*cubicAlpha)
	}
}

// A round of slow start in which every ACK reports rtt.
func (h *hystart) round(now time.Time, rtt time.Duration) (growth int, over bool) {
	sent := now.Add(-rtt)
	if !h.roundStart.IsZero() {
		sent = h.roundStart.Add(1)
	}
	for range 2 * hystartSamples {
		growth, over = h.acked(Ack{Now: now, Sent: sent, Bytes: 1000, RTT: rtt})
		sent = now.Add(-rtt)
	}
	return growth, over
}

func TestHyStartLeavesSlowStartWhenTheRTTRises(t *testing.T) {
	var h hystart
	now := epoch
	step := func(rtt time.Duration) (int, bool) {
		now = now.Add(time.Second)
		return h.round(now, rtt)
	}
	for range 5 {
		if growth, over := step(50 * ms); growth != 1000 || over {
			t.Fatalf("growth %d, over %v on a steady path", growth, over)
		}
	}
	if growth, _ := step(56 * ms); growth != 1000 {
		t.Errorf("growth %d after a rise below the threshold", growth)
	}
	if growth, over := step(70 * ms); growth != 250 || over {
		t.Errorf("growth %d, over %v after a rise, want a quarter", growth, over)
	}
	if growth, _ := step(60 * ms); growth != 1000 {
		t.Errorf("growth %d after the rise proved a passing one, want all", growth)
	}
	step(80 * ms)
	for i := range hystartCSSRounds {
		if _, over := step(80 * ms); over != (i == hystartCSSRounds-1) {
			t.Errorf("round %d of conservative slow start: over %v", i+1, over)
		}
	}
}
