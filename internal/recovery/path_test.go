package recovery

import (
	"slices"
	"testing"

	"github.com/weftnet/weft/internal/wire"
)

func TestPathThatIsUsedAgainGoesOn(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	b.measure(100 * ms)
	slow := b.Path
	fast := b.NewPath(1200)
	fast.Seed(b.now, 10*ms)
	b.sendN(5) // 1 to 5 on the slow path
	b.Use(b.now, fast)
	if b.SmoothedRTT() != 10*ms || b.InFlight() != 0 || slow.InFlight() != 5*SmallPacket {
		t.Fatalf("round trip %v, %d and %d bytes in flight", b.SmoothedRTT(), b.InFlight(), slow.InFlight())
	}
	b.sleep(ms)
	b.sendN(20) // 6 to 25
	b.sleep(10 * ms)
	b.ack(6, 25)
	if len(b.lost) != 0 {
		t.Errorf("%v are lost, although they may be on their way", b.lost)
	}
	window := slow.Window()
	b.sleep(89 * ms)
	b.ack(1, 3)
	if slow.Window() != window || slow.InFlight() != 2*SmallPacket || b.SmoothedRTT() > 11*ms {
		t.Errorf("window %d, %d in flight, round trip %v: old packets count", slow.Window(), slow.InFlight(), b.SmoothedRTT())
	}
	b.wantDeadline("loss by 9/8 of the slow round trip", 112500*ms/1000+25*ms-100*ms)
	b.Use(b.now, slow)
	if b.SmoothedRTT() != 100*ms || b.InFlight() != 2*SmallPacket {
		t.Errorf("round trip %v, %d bytes in flight, want what was known", b.SmoothedRTT(), b.InFlight())
	}
	b.sendN(2) // 26, 27
	b.sleep(50 * ms)
	b.Expired(b.now, b)
	if !slices.Equal(b.lost, []uint64{4, 5}) || b.Stats().Congestions != 0 {
		t.Errorf("lost %v, %d congestions; want the two that were late, and none", b.lost, b.Stats().Congestions)
	}
	b.sleep(50 * ms)
	b.ack(26, 27)
	if b.InFlight() != 0 || fast.InFlight() != 0 {
		t.Errorf("%d and %d bytes in flight", b.InFlight(), fast.InFlight())
	}
	if c := slow.Counts(); c.Sent != 8 || c.Lost != 2 {
		t.Errorf("counted %+v, want 8 sent and 2 lost", c)
	}
}

func TestUntrackedPacketsChangeNothing(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	b.measure(20 * ms)
	b.sendN(1) // 1
	for range 10 {
		b.Untracked(wire.SpaceApp, b.next[wire.SpaceApp])
		b.next[wire.SpaceApp]++
	}
	in, deadline := b.InFlight(), b.Deadline()
	b.sleep(ms)
	b.ack(2, 11)
	if b.InFlight() != in || b.Deadline() != deadline || len(b.lost)+len(b.acked) != 0 {
		t.Errorf("%d in flight, acked %v, lost %v: an ACK of untracked packets counts", b.InFlight(), b.acked, b.lost)
	}
	if err := b.Acked(b.now, wire.SpaceApp, []wire.AckRange{{Low: 12, High: 12}}, 0, b); err != ErrNeverSent {
		t.Errorf("an ACK of the next packet: %v", err)
	}
	b.ack(1, 11)
	if !slices.Equal(b.acked, []uint64{1}) {
		t.Errorf("acked %v, want the one that is tracked", b.acked)
	}
}

func TestUnansweredSince(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	want := func(what string, since bool) {
		t.Helper()
		if got := b.Unanswered(); got.IsZero() == since {
			t.Errorf("%s: unanswered since %v", what, got)
		}
	}
	want("nothing sent", false)
	b.sendN(2)
	first := b.now
	b.sleep(10 * ms)
	b.sendN(1)
	if b.Unanswered() != first {
		t.Errorf("unanswered since %v, want the first packet", b.Unanswered())
	}
	b.ack(0, 1)
	if b.Unanswered() != b.now {
		t.Errorf("unanswered since %v, want the latest sign of life", b.Unanswered())
	}
	b.sleep(10 * ms)
	b.ack(2, 2)
	want("all acknowledged", false)
	b.sendN(1)
	b.sleep(10 * ms)
	b.Alive(b.now)
	if b.Unanswered() != b.now {
		t.Errorf("unanswered since %v, want the latest sign of life", b.Unanswered())
	}
	old := b.Path
	b.PathChanged(b.now, 1200)
	want("another path", false)
	b.sendN(1)
	b.ack(4, 4)
	b.Use(b.now, old)
	want("the first path again", false)
}
