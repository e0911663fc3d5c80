package recovery

import (
	"testing"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

func TestNoPacingBeforeAnRTT(t *testing.T) {
	b := newBench(t, Config{}, 65535)
	for b.InFlight()+65535 <= b.Window() {
		if ok, when := b.CanSend(b.now, 65535); !ok {
			t.Fatalf("refused until %v with %d in flight", when, b.InFlight())
		}
		b.send(wire.SpaceApp, 65535)
	}
	if ok, when := b.CanSend(b.now, 65535); ok || !when.IsZero() {
		t.Errorf("ok %v, when %v with a full window, want to wait for ACKs", ok, when)
	}
}

func TestPacerSpreadsTheWindowOverTheRoundTrip(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	b.measure(100 * ms)
	c := b.cc.(*cubic)
	c.window, c.threshold = 1_200_000, 0 // 12 MB/s, paced at 15 MB/s
	b.sleep(time.Second)

	const rate = 1.25 * 12_000_000
	wakes, start := 0, b.now
	for {
		ok, when := b.CanSend(b.now, 1200)
		if !ok && when.IsZero() {
			break
		}
		if ok {
			b.send(wire.SpaceApp, 1200)
			continue
		}
		wakes++
		b.now = when
	}
	took := b.now.Sub(start).Seconds()
	if want := (1_200_000 - burstTime.Seconds()*rate) / rate; took < 0.95*want || took > 1.05*want {
		t.Errorf("the window took %.1f ms, want about %.1f", 1000*took, 1000*want)
	}
	if most := int(1.1*took/batchTime.Seconds()) + 1; wakes > most {
		t.Errorf("%d wake-ups, want at most %d", wakes, most)
	}
}

func TestPacerNeverThrottlesAFastPath(t *testing.T) {
	b := newBench(t, Config{}, 65535)
	b.measure(100 * time.Microsecond)
	for range 100 {
		for {
			ok, when := b.CanSend(b.now, 65535)
			if !ok {
				if !when.IsZero() {
					t.Fatalf("paced with %d of %d in flight", b.InFlight(), b.Window())
				}
				break
			}
			b.send(wire.SpaceApp, 65535)
		}
		b.sleep(100 * time.Microsecond)
		b.ack(0, b.next[wire.SpaceApp]-1)
	}
}

func TestProbesOverdrawThePacerOnlySoFar(t *testing.T) {
	b := newBench(t, Config{}, 1200)
	b.measure(100 * ms)
	b.sendN(1000)
	if b.pacer.tokens < -b.burst {
		t.Errorf("%.0f tokens, want at least %.0f", b.pacer.tokens, -b.burst)
	}
}
