package recovery

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

func TestAckOfAPacketNeverSentIsAnError(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	ranges := []wire.AckRange{{Low: 0, High: 0}}
	if err := b.Acked(b.now, wire.SpaceApp, ranges, 0, b); !errors.Is(err, ErrNeverSent) {
		t.Errorf("before anything was sent: %v, want ErrNeverSent", err)
	}
	b.sendN(3)
	ranges = []wire.AckRange{{Low: 0, High: 3}}
	if err := b.Acked(b.now, wire.SpaceApp, ranges, 0, b); !errors.Is(err, ErrNeverSent) {
		t.Errorf("one number too high: %v, want ErrNeverSent", err)
	}
	if len(b.acked) != 0 || b.InFlight() != 3*1200 {
		t.Errorf("the bad ACK changed something: acked %v, %d bytes in flight", b.acked, b.InFlight())
	}
	if err := b.Acked(b.now, wire.SpaceHandshake, ranges[:1], 0, b); !errors.Is(err, ErrNeverSent) {
		t.Errorf("in another space: %v, want ErrNeverSent", err)
	}
}

func TestAckOfANumberLeftOutIsAnError(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	b.sendN(3)
	b.leaveOut()
	b.sendN(3) // 4 to 6
	for range 2 * maxTraps {
		b.leaveOut()
		b.sendN(1)
	}
	b.sleep(10 * ms)
	newest := b.next[wire.SpaceApp] - 1
	oldest := newest + 1 - 2*maxTraps // the oldest trap that is remembered
	for name, ranges := range map[string][]wire.AckRange{
		"alone":                  {{Low: oldest, High: oldest}},
		"the newest":             {{Low: newest - 1, High: newest}},
		"in a range":             {{Low: 0, High: newest}},
		"in a lower range":       {{Low: newest, High: newest}, {Low: oldest, High: oldest + 1}},
		"between honest numbers": {{Low: newest, High: newest}, {Low: oldest - 1, High: oldest}, {Low: 0, High: 2}},
	} {
		if err := b.Acked(b.now, wire.SpaceApp, ranges, 0, b); !errors.Is(err, ErrNeverSent) {
			t.Errorf("%s: %v, want ErrNeverSent", name, err)
		}
	}
	if len(b.acked) != 0 {
		t.Errorf("a bad ACK changed something: acked %v", b.acked)
	}
	var honest []wire.AckRange
	for n := newest; n > oldest; n -= 2 {
		honest = append(honest, wire.AckRange{Low: n, High: n})
	}
	honest = append(honest, wire.AckRange{Low: 4, High: 6}, wire.AckRange{Low: 0, High: 2})
	if err := b.Acked(b.now, wire.SpaceApp, honest, 0, b); err != nil {
		t.Errorf("what was sent: %v", err)
	}
	if n := testing.AllocsPerRun(100, func() { b.leaveOut() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAckOfAPacketLongGoneIsNoError(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	b.sendN(10)
	b.sleep(10 * ms)
	b.ack(5, 9)
	b.ack(0, 9)
	b.ack(0, 4)
	if want := []uint64{5, 6, 7, 8, 9, 0, 1, 2, 3, 4}; len(b.acked)+len(b.lost) != len(want) {
		t.Errorf("acked %v lost %v, want each packet once", b.acked, b.lost)
	}
}

func TestPacketsAreLostByThresholds(t *testing.T) {
	tests := []struct {
		name string
		sent int
		// one ACK of the last packet, rtt after all were sent
		wantLost []uint64
		wantWait time.Duration // from the ACK to the loss by time; zero: none
	}{
		{"one behind waits for the time threshold", 2, nil, 25 * ms / 2},
		{"two behind wait for the time threshold", 3, nil, 25 * ms / 2},
		{"three behind is lost by the packet threshold", 4, []uint64{1}, 25 * ms / 2},
		{"all further behind are lost", 8, []uint64{1, 2, 3, 4, 5}, 25 * ms / 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{}, 1200)
			b.measure(100 * ms)
			b.sendN(tt.sent)
			b.sleep(100 * ms)
			b.ack(uint64(tt.sent), uint64(tt.sent))
			if !slices.Equal(b.lost, tt.wantLost) {
				t.Errorf("lost %v, want %v", b.lost, tt.wantLost)
			}
			b.wantDeadline("9/8 of a round trip after sending", tt.wantWait)
			b.now = b.Deadline()
			if _, probes := b.Expired(b.now, b); probes != 0 {
				t.Errorf("%d probes, want losses instead", probes)
			}
			if got := len(b.lost) + len(b.acked); got != tt.sent {
				t.Errorf("%d packets are decided, want all %d", got, tt.sent)
			}
			if b.InFlight() != 0 {
				t.Errorf("%d bytes in flight, want none", b.InFlight())
			}
			b.wantDeadline("nothing is outstanding", 0)
		})
	}
}

func TestExpiredTooEarlyDoesNothing(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	b.sendN(1)
	if _, probes := b.Expired(b.now, b); probes != 0 || b.PTOCount() != 0 {
		t.Errorf("%d probes, %d timeouts, want none", probes, b.PTOCount())
	}
}

func TestRTTFollowsSection5(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	if b.HasRTT() || b.SmoothedRTT() != 0 {
		t.Error("there is an RTT before a sample")
	}
	step := func(rtt, ackDelay, wantSmoothed, wantMin time.Duration) {
		t.Helper()
		n := b.send(wire.SpaceApp, 1200)
		b.sleep(rtt)
		if err := b.Acked(b.now, wire.SpaceApp, []wire.AckRange{{Low: n, High: n}}, ackDelay, b); err != nil {
			t.Fatal(err)
		}
		if b.SmoothedRTT() != wantSmoothed || b.MinRTT() != wantMin || b.LatestRTT() != rtt {
			t.Errorf("after a sample of %v: smoothed %v min %v latest %v, want %v %v %v",
				rtt, b.SmoothedRTT(), b.MinRTT(), b.LatestRTT(), wantSmoothed, wantMin, rtt)
		}
	}
	step(80*ms, 20*ms, 80*ms, 80*ms)         // the first sample is taken as it is
	step(100*ms, 20*ms, 80*ms, 80*ms)        // less the peer's delay
	step(100*ms, 24*ms, 82500000, 80*ms)     // not below the minimum: delay not believed
	step(160*ms, time.Hour, 89062500, 80*ms) // delay limited to 25 ms
}

func TestRTTIsNotTakenFromPacketsThatElicitNoACK(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	p := b.NewPacket()
	p.Number, p.Space, p.Size = 0, wire.SpaceApp, 50
	b.Sent(b.now, p)
	if b.InFlight() != 0 {
		t.Errorf("%d bytes in flight, want none", b.InFlight())
	}
	b.wantDeadline("nobody owes an ACK", 0)
	b.sleep(time.Second)
	b.ack(0, 0)
	if b.HasRTT() || len(b.acked) != 1 {
		t.Errorf("has RTT %v, acked %v, want an acknowledgement without a sample", b.HasRTT(), b.acked)
	}
}

func TestOldAcknowledgementPacketsAreForgotten(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	first := b.send(wire.SpaceApp, 1200)
	for i := range uint64(10 * maxAckOnly) {
		p := b.NewPacket()
		p.Number, p.Space, p.Size = first+1+i, wire.SpaceApp, 50
		b.Sent(b.now, p)
		if i == 5*maxAckOnly {
			b.sleep(10 * ms)
			b.ack(first, first)
		}
	}
	if n := b.spaces[wire.SpaceApp].q.n; n > maxAckOnly+1 {
		t.Errorf("%d packets are tracked, want at most %d", n, maxAckOnly+1)
	}
	if got, want := b.Stats().Forgotten, uint64(9*maxAckOnly); got != want {
		t.Errorf("%d packets forgotten, want %d", got, want)
	}
	b.ack(0, 10*maxAckOnly)
	if n := b.spaces[wire.SpaceApp].q.n; n != 0 {
		t.Errorf("%d packets are tracked after an ACK of all", n)
	}
}

func TestDroppedSpaceLeavesFlightWithoutCalls(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	b.send(wire.SpaceInitial, 1000)
	b.send(wire.SpaceHandshake, 500)
	b.DropSpace(wire.SpaceInitial)
	if b.InFlight() != 500 {
		t.Errorf("%d bytes in flight, want those of the other space", b.InFlight())
	}
	b.DropSpace(wire.SpaceHandshake)
	if err := b.Acked(b.now, wire.SpaceInitial, []wire.AckRange{{Low: 0, High: 0}}, 0, b); err != nil {
		t.Errorf("a late ACK in a dropped space: %v", err)
	}
	b.send(wire.SpaceInitial, 1000)
	if len(b.acked)+len(b.lost) != 0 || b.InFlight() != 0 {
		t.Errorf("acked %v lost %v, %d in flight, want nothing", b.acked, b.lost, b.InFlight())
	}
	b.wantDeadline("all is dropped", 0)
}

func TestPathChangeStartsAnew(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	b.measure(20 * ms)
	b.sendN(10) // 1 to 10 on the old path
	b.PathChanged(b.now, 65535)
	if b.InFlight() != 0 || b.HasRTT() || b.Window() != streamLinkWindow {
		t.Errorf("%d in flight, has RTT %v, window %d, want a fresh state", b.InFlight(), b.HasRTT(), b.Window())
	}
	b.wantDeadline("old packets are still probed for", 999*ms+25*ms)

	b.sendN(1) // 11
	b.sleep(5 * ms)
	b.ack(3, 4)
	if b.HasRTT() || b.InFlight() != 1200 {
		t.Errorf("has RTT %v, %d in flight after an ACK of old packets", b.HasRTT(), b.InFlight())
	}
	b.ack(11, 11)
	if b.SmoothedRTT() != 5*ms || b.InFlight() != 0 {
		t.Errorf("RTT %v, %d in flight after an ACK of the new packet", b.SmoothedRTT(), b.InFlight())
	}
	b.sleep(time.Second)
	for i := 0; i < 10 && !b.Deadline().IsZero(); i++ {
		b.Expired(b.now, b)
	}
	if len(b.acked)+len(b.lost) != 11 {
		t.Errorf("acked %v lost %v, want all 11", b.acked, b.lost)
	}
	if b.Window() < streamLinkWindow || b.Stats().Congestions != 0 {
		t.Errorf("window %d, losses on the old path changed it", b.Window())
	}
}

func TestPersistentCongestionCollapsesTheWindow(t *testing.T) {
	for _, broken := range []bool{false, true} {
		b := newBench(t, Config{}, 1200)
		b.measure(100 * ms)
		b.sleep(ms)
		limit := persistentFactor * b.PTO()
		b.sendN(1) // 1
		b.sleep(limit / 2)
		b.sendN(1) // 2
		b.sleep(limit/2 + 10*ms)
		b.sendN(2) // 3, 4
		b.sleep(100 * ms)
		if broken {
			b.ack(2, 2)
		}
		b.ack(4, 4)
		b.sleep(time.Second)
		b.Expired(b.now, b)
		if broken {
			if b.Stats().Collapses != 0 {
				t.Error("an acknowledged packet in between did not prevent the collapse")
			}
			continue
		}
		if b.Stats().Collapses != 1 || b.Window() != minWindowPackets*1200 {
			t.Errorf("%d collapses, window %d, want the minimum", b.Stats().Collapses, b.Window())
		}
	}
}

func TestOneReductionForEachRecoveryPeriod(t *testing.T) {
	b := newBench(t, Config{NewController: NewReno}, 1200)
	b.measure(100 * ms)
	before := b.Window()
	b.sendN(20) // 1 to 20
	b.sleep(100 * ms)
	b.ack(5, 5)
	half := b.Window()
	if half != before/2 && half != (before+1200)/2 {
		t.Errorf("window %d after a loss at %d, want half", half, before)
	}
	b.ack(12, 12)
	if b.Window() != half || b.Stats().Congestions != 1 {
		t.Errorf("window %d after more losses from the same time, want still %d", b.Window(), half)
	}
	b.sleep(ms)
	b.sendN(8) // 21 to 28
	b.sleep(100 * ms)
	b.ack(26, 28)
	if b.Stats().Congestions != 2 {
		t.Errorf("%d congestion events, want a second for what was sent later", b.Stats().Congestions)
	}
}

func TestLateAckWidensToleranceAndUndoesTheReduction(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	b.measure(50 * ms)
	b.sendN(10) // 1 to 10
	b.sleep(50 * ms)
	before := b.Window()
	b.ack(4, 8)
	if len(b.lost) == 0 || b.Window() >= before {
		t.Fatalf("lost %v, window %d, want a reduction of %d", b.lost, b.Window(), before)
	}
	lost := uint64(len(b.lost))
	b.sleep(2 * ms)
	b.ack(1, 10)
	st := b.Stats()
	if st.Spurious != lost || st.Undone != 1 {
		t.Errorf("%d spurious, %d undone, want %d and 1", st.Spurious, st.Undone, lost)
	}
	if b.Window() < before {
		t.Errorf("window %d, want the %d of before", b.Window(), before)
	}
	if b.tolerance.packets <= packetThreshold {
		t.Error("the packet threshold has not grown")
	}
	b.sleep(ms)
	b.lost = nil
	b.sendN(10) // 11 to 20
	b.sleep(50 * ms)
	b.ack(14, 18)
	if len(b.lost) != 0 {
		t.Errorf("lost %v although the path is known to reorder like this", b.lost)
	}
}

func TestToleranceIsBoundedAndReturns(t *testing.T) {
	tol := newTolerance()
	for range 1000 {
		tol.late(1<<40, false)
		tol.late(5, true)
	}
	if tol.packets > maxPacketThreshold || tol.eighths > maxTimeThreshold {
		t.Errorf("tolerance %+v exceeds its limits", tol)
	}
	for range calmEpisodes {
		tol.congested()
	}
	if tol != newTolerance() {
		t.Errorf("tolerance %+v after %d real losses, want the standard one", tol, calmEpisodes)
	}
}

func TestBlackHoleShowsAfterThreeRounds(t *testing.T) {
	b := newBench(t, Config{}, 9000)
	b.measure(20 * ms)
	round := func(small, large bool) {
		b.sleep(ms)
		first := b.next[wire.SpaceApp]
		for range 4 {
			b.send(wire.SpaceApp, 9000)
		}
		for range 4 {
			b.send(wire.SpaceApp, 1200)
		}
		b.sleep(20 * ms)
		if large {
			b.ack(first, first+3)
		}
		if small {
			b.ack(first+4, first+7)
		}
		b.sleep(40 * ms)
		b.Expired(b.now, b)
	}
	for want := 1; want <= BlackHoleLosses; want++ {
		round(true, false)
		if b.LargeLost() != want {
			t.Errorf("%d rounds counted, want %d", b.LargeLost(), want)
		}
	}
	round(true, true)
	if b.LargeLost() != 0 {
		t.Errorf("%d rounds counted after a large packet arrived", b.LargeLost())
	}
	round(false, false)
	if b.LargeLost() != 0 {
		t.Errorf("%d rounds counted while nothing arrives at all", b.LargeLost())
	}
	round(true, false)
	b.SetMaxPacket(1200)
	if b.LargeLost() != 0 {
		t.Error("the fallback did not start the count anew")
	}
}

func TestOldestIsTheFirstThatWaitsForAnACK(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	if b.Oldest(wire.SpaceApp) != nil {
		t.Error("there is an oldest packet before any was sent")
	}
	p := b.NewPacket()
	p.Number, p.Space, p.Size = 0, wire.SpaceApp, 50
	b.Sent(b.now, p)
	b.next[wire.SpaceApp] = 1
	b.sendN(3) // 1 to 3
	b.sleep(ms)
	b.ack(1, 1)
	if p := b.Oldest(wire.SpaceApp); p == nil || p.Number != 2 {
		t.Errorf("oldest is %+v, want packet 2", p)
	}
}
