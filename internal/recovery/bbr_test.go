package recovery

import (
	"testing"
	"time"

	"github.com/weftnet/weft/internal/times"
)

// reach runs s in small steps until its controller is in a state.
func reach(t *testing.T, s *sim, state bbrState, within time.Duration) {
	t.Helper()
	for end := s.now.Add(within); bbrOf(s).state != state; {
		at := times.Later(s.now, epoch).Add(ms)
		if s.run(at); !s.now.Before(end) || s.err != nil {
			t.Fatalf("state %d and not %d after %v, error %v", bbrOf(s).state, state, within, s.err)
		}
		s.now = at
	}
}

func TestBBRGoesThroughItsStates(t *testing.T) {
	s := newSim(Config{NewController: seededBBR(1)}, far(1), -1)
	c := bbrOf(s)
	if !s.cc.SlowStart() || c.Window() != initialWindow(1400) || c.PacingRate() != 0 {
		t.Errorf("a new controller has window %d and rate %.0f", c.Window(), c.PacingRate())
	}
	reach(t, s, bbrDrain, time.Second)
	if bw := c.maxBW / s.link.rate; bw < 0.98 || bw > 1.02 {
		t.Errorf("Startup found %.2f of the bandwidth", bw)
	}
	if s.InFlight() <= c.inflight(1) {
		t.Error("Startup left nothing to drain")
	}
	reach(t, s, bbrProbeCruise, time.Second)
	if s.InFlight() > c.inflight(1)+10*1400 {
		t.Errorf("%d bytes in flight after Drain, want %d", s.InFlight(), c.inflight(1))
	}
	reach(t, s, bbrProbeRefill, 10*time.Second)
	reach(t, s, bbrProbeUp, time.Second)
	if c.pacingRate < 1.2*c.bw {
		t.Errorf("a probe is paced at %.2f of the bandwidth", c.pacingRate/c.bw)
	}
	reach(t, s, bbrProbeDown, 2*time.Second)
	reach(t, s, bbrProbeRTT, bbrMinRTTFilterLen+time.Second)
	if c.probeRTTCwnd > int(0.55*s.link.bdp()) {
		t.Errorf("ProbeRTT aims at %d bytes, want half of %.0f", c.probeRTTCwnd, s.link.bdp())
	}
	entered := s.now
	reach(t, s, bbrProbeCruise, time.Second)
	if took := s.now.Sub(entered); took < bbrProbeRTTDuration || took > 2*bbrProbeRTTDuration {
		t.Errorf("ProbeRTT took %v", took)
	}
}

func TestBBRLeavesStartupAfterHighLoss(t *testing.T) {
	link := far(1)
	link.loss = 0.06
	s := newSim(Config{NewController: seededBBR(1)}, link, 0)
	var offer func()
	offer = func() { // three quarters of the link: the application is the limit
		s.backlog = 6
		s.after(900*time.Microsecond, offer)
	}
	offer()
	s.run(epoch.Add(5 * time.Second))
	if c := bbrOf(s); !c.fullBWReached || c.inflightLongterm == noBound {
		t.Errorf("state %d, bound %d after much loss", c.state, c.inflightLongterm)
	}
}

func TestBBRReturnsToStartupAfterLateLosses(t *testing.T) {
	c := NewBBR(1200).(*bbr)
	c.Congestion(epoch)
	c.undo.state, c.undo.left = bbrStartup, true // checkStartupHighLoss
	c.fullBWReached, c.inflightLongterm, c.bwShortterm = true, 5000, 1
	c.checkStartupDone()
	if c.state != bbrDrain {
		t.Fatalf("state %d", c.state)
	}
	c.Undo()
	if c.state != bbrStartup || c.fullBWReached || c.inflightLongterm != noBound || c.bwShortterm != unbounded {
		t.Errorf("state %d, full %v, bounds %d and %f after all losses proved late", c.state, c.fullBWReached, c.inflightLongterm, c.bwShortterm)
	}
	c.Undo()
	if c.state != bbrStartup {
		t.Errorf("a second undo went to state %d", c.state)
	}
}

func TestBBRReturnsToTheProbeAfterLateLosses(t *testing.T) {
	s := newSim(Config{NewController: seededBBR(1)}, far(1), -1)
	reach(t, s, bbrProbeUp, 10*time.Second)
	c := bbrOf(s)
	c.Congestion(s.now)
	bound := c.inflightLongterm
	c.handleInflightTooHigh(2*int(s.link.bdp()), false)
	if c.state != bbrProbeDown || c.inflightLongterm >= 2*int(s.link.bdp()) {
		t.Fatalf("state %d, bound %d after a probe that lost much", c.state, c.inflightLongterm)
	}
	if c.bwProbeWait < 5*time.Second || c.isRenoCoexistenceProbeTime() {
		t.Errorf("the next probe comes in %v, want the time that CUBIC needs", c.bwProbeWait)
	}
	c.Undo()
	if c.state != bbrProbeRefill || c.inflightLongterm < bound {
		t.Errorf("state %d, bound %d after the undo", c.state, c.inflightLongterm)
	}
}

func TestBBRKeepsItsLimits(t *testing.T) {
	c := NewBBR(1200).(*bbr)
	c.PersistentCongestion()
	if c.Window() != bbrMinPipePackets*1200 {
		t.Errorf("window %d after persistent congestion", c.Window())
	}
	c.SetMaxPacket(9000)
	if c.Window() != bbrMinPipePackets*9000 {
		t.Errorf("window %d, want four of the larger packets", c.Window())
	}
	c.minRTT, c.bw = time.Minute, 1e12
	c.fullBWReached = true
	for range 1000 {
		c.rs.newlyAcked = maxWindow / 100
		c.setCwnd()
	}
	if c.Window() != maxWindow {
		t.Errorf("window %d, want the limit", c.Window())
	}
}

func TestLossesByChanceDoNotBoundTheVolume(t *testing.T) {
	c := NewBBR(1000).(*bbr)
	tests := []struct {
		flight, lost int // packets
		want         bool
	}{
		{4, 1, true}, {10, 1, false}, {10, 2, true},
		{500, 10, false}, {500, 16, false}, {500, 17, true},
		{10_000, 200, false}, {10_000, 230, true},
	}
	for _, tt := range tests {
		if got := c.isInflightTooHigh(int64(tt.lost)*1000, tt.flight*1000); got != tt.want {
			t.Errorf("%d of %d packets lost: too high %v", tt.lost, tt.flight, got)
		}
	}
}

func TestControllerSuitsThePath(t *testing.T) {
	b := &bench{t: t, Detector: New(Config{}, 65535), now: epoch}
	kind := func(want string) {
		t.Helper()
		got := "BBR"
		if _, ok := b.cc.(*cubic); ok {
			got = "CUBIC"
		}
		if got != want || (b.model != nil) != (want == "BBR") {
			t.Errorf("%s, want %s", got, want)
		}
	}
	kind("CUBIC")
	b.HandshakeConfirmed()
	b.sendN(3)
	b.PathChanged(b.now, 1200)
	kind("BBR")
	b.sendN(3)
	b.sleep(10 * ms)
	b.ack(0, 4) // of both paths
	if c := b.cc.(*bbr); c.delivered != 2*SmallPacket || b.InFlight() != SmallPacket {
		t.Errorf("%d bytes delivered, %d in flight: packets of the old path count", c.delivered, b.InFlight())
	}
	b.SetMaxPacket(1400)
	kind("BBR")
	b.PathChanged(b.now, 9216)
	kind("BBR")
	b.PathChanged(b.now, 65535)
	kind("CUBIC")
	b.SetMaxPacket(1200) // a black hole: the path is what it was
	kind("CUBIC")
	b.ack(0, 5)
	if b.InFlight() != 0 {
		t.Errorf("%d bytes in flight", b.InFlight())
	}
}
