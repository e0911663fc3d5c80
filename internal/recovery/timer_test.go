package recovery

import (
	"testing"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

func TestProbesBackOffUpToTheLimit(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	b.sendN(1)
	// Without a sample: 333 ms + 4*166.5 ms + 25 ms.
	for i, want := range []time.Duration{1024 * ms, 2048 * ms, 4096 * ms, maxProbeInterval, maxProbeInterval} {
		b.wantDeadline("probe", want)
		b.now = b.Deadline()
		space, probes := b.Expired(b.now, b)
		if space != wire.SpaceApp || probes != 2 || b.PTOCount() != i+1 {
			t.Errorf("probe %d: space %v, %d packets, count %d", i, space, probes, b.PTOCount())
		}
		if i%2 == 0 { // the deadline moves on whether or not the sender could probe
			b.sendN(2)
		}
	}
	for range 100 {
		b.now = b.Deadline()
		b.Expired(b.now, b)
	}
	b.wantDeadline("after many timeouts", maxProbeInterval)
	b.PeerAlive(b.now)
	b.wantDeadline("after a sign of life", 1024*ms)
	b.sleep(10 * ms)
	b.PeerAlive(b.now)
	b.wantDeadline("further signs of life do not put probes off", 1014*ms)
	if b.Stats().Lost != 0 {
		t.Error("timeouts alone declared packets lost")
	}
}

func TestAckEndsBackOff(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	b.measure(100 * ms)
	b.sendN(1)
	b.now = b.Deadline()
	b.Expired(b.now, b)
	b.sendN(2)
	b.sleep(100 * ms)
	b.ack(2, 3)
	if b.PTOCount() != 0 {
		t.Errorf("%d timeouts counted after an ACK", b.PTOCount())
	}
}

func TestSlowPathIsProbedNoFasterThanItsRoundTrip(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	b.measure(6 * time.Second)
	b.sendN(1)
	b.wantDeadline("limit of the back-off", b.PTO())
}

func TestAppSpaceIsNotProbedBeforeConfirmation(t *testing.T) {
	b := &bench{t: t, Detector: New(Config{}, 1200), now: epoch}
	b.send(wire.SpaceApp, 100)
	b.wantDeadline("server, handshake running", 0)
	b.send(wire.SpaceHandshake, 100)
	b.wantDeadline("handshake packet", 999*ms)
	b.DropSpace(wire.SpaceHandshake)
	b.HandshakeConfirmed()
	b.wantDeadline("confirmed", 1024*ms)
}

func TestClientProbesWhileTheServerMayWait(t *testing.T) {
	b := &bench{t: t, Detector: New(Config{Client: true}, 1200), now: epoch}
	b.wantDeadline("nothing was sent yet", 0)
	n := b.send(wire.SpaceInitial, 1200)
	b.sleep(50 * ms)
	if err := b.Acked(b.now, wire.SpaceInitial, []wire.AckRange{{Low: n, High: n}}, 0, b); err != nil {
		t.Fatal(err)
	}
	b.wantDeadline("nothing in flight", 150*ms)
	b.now = b.Deadline()
	if space, probes := b.Expired(b.now, b); space != wire.SpaceInitial || probes != 1 {
		t.Errorf("%d probes in space %v, want one in the initial space", probes, space)
	}
	b.DropSpace(wire.SpaceInitial)
	b.now = b.Deadline()
	if space, probes := b.Expired(b.now, b); space != wire.SpaceHandshake || probes != 1 {
		t.Errorf("%d probes in space %v, want one in the handshake space", probes, space)
	}
	b.HandshakeConfirmed()
	b.wantDeadline("confirmed", 0)
}
