package session

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/wire"
)

// datagramMTU is what a path of UDP datagrams takes.
const datagramMTU = 1400

// A counter counts what is written to it.
type counter struct{ atomic.Int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.Add(int64(len(b)))
	return len(b), nil
}

// flood writes from x to y until stop, and returns the count of what has arrived.
func flood(x, y *Stream) (arrived *counter, stop func()) {
	arrived = new(counter)
	var wg sync.WaitGroup
	var done atomic.Bool
	wg.Go(func() {
		b := make([]byte, 32<<10)
		for !done.Load() {
			if _, err := x.Write(b); err != nil {
				return
			}
		}
	})
	wg.Go(func() { _, _ = io.Copy(arrived, y) })
	return arrived, func() {
		done.Store(true)
		_ = x.Reset(1)
		_ = y.Reset(1)
		wg.Wait()
	}
}

// usable is how many bytes of a stream a wire carries in a second: its rate
// without what is lost and without headers.
func usable(imp simnet.Impairment, mtu int) float64 {
	headers := wire.ShortHeaderLen + 16 + wire.StreamOverhead
	return float64(imp.Rate) * (1 - imp.Loss) * float64(mtu-headers) / float64(mtu+frame.HeaderLen)
}

func TestOneStreamUsesADatagramPath(t *testing.T) {
	const mbit = 1_000_000 / 8
	tests := []struct {
		name   string
		rate   int // bytes a second
		rtt    time.Duration
		loss   float64
		warmUp time.Duration
		runs   int     // whose median counts: losses may hit a probe of BBR
		want   float64 // of the usable rate
	}{
		{"100 Mbit/s, 50 ms", 100 * mbit, 50 * time.Millisecond, 0, 2 * time.Second, 1, 0.95},
		{"100 Mbit/s, 50 ms, 1 % lost", 100 * mbit, 50 * time.Millisecond, 0.01, 2 * time.Second, 5, 0.9},
		{"500 Mbit/s, 100 ms, 0.1 % lost", 500 * mbit, 100 * time.Millisecond, 0.001, 3 * time.Second, 1, 0.85},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			imp := simnet.Impairment{Delay: tt.rtt / 2, Rate: tt.rate, Loss: tt.loss}
			imp.Queue = int(float64(tt.rate) * tt.rtt.Seconds())
			var shares []float64
			for seed := range uint64(tt.runs) {
				synctest.Test(t, func(t *testing.T) { shares = append(shares, rateShare(t, imp, seed+1, tt.warmUp)) })
			}
			slices.Sort(shares)
			// What waited behind a gap when the measurement began counts, too.
			if got := shares[len(shares)/2]; got < tt.want || got > 1.05 {
				t.Errorf("%.3f of the usable rate, want %.2f", got, tt.want)
			}
		})
	}
}

// rateShare measures which share of the usable rate one stream takes.
func rateShare(t *testing.T, imp simnet.Impairment, seed uint64, warmUp time.Duration) float64 {
	p := newPair(t, imp, imp, seed, datagramMTU)
	defer p.close()
	a, b := p.dial(t)
	x, y := open(t, a, b)
	arrived, stop := flood(x, y)
	time.Sleep(warmUp)
	const measured = 3 * time.Second
	before := arrived.Load()
	time.Sleep(measured)
	got := float64(arrived.Load()-before) / measured.Seconds() / usable(imp, datagramMTU)
	stop()
	t.Logf("%.3f of the usable rate, %+v", got, a.Stats())
	return got
}

func TestCongestionControlFollowsThePath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		imp := simnet.Impairment{Delay: 25 * time.Millisecond, Rate: 12_500_000, Queue: 625_000, Loss: 0.01}
		p := newPair(t, imp, imp, 1, frame.MaxPacket)
		defer p.close()
		a, b := p.dial(t)
		x, y := open(t, a, b)
		arrived, stop := flood(x, y)
		const measured = 3 * time.Second
		time.Sleep(2 * time.Second)
		for _, s := range []*Session{a, b} {
			s.SetPath(&wirePath{name: "datagrams", self: s.LocalID(), mtu: datagramMTU, wire: p.wireOf(s)})
		}
		time.Sleep(2 * time.Second)
		before := arrived.Load()
		time.Sleep(measured)
		if got := float64(arrived.Load()-before) / measured.Seconds() / usable(imp, datagramMTU); got < 0.9 {
			t.Errorf("%.2f of the usable rate of a path of datagrams: CUBIC reaches 0.03", got)
		}
		stop()
	})
}

// Requests leave no timer behind that pacing or the model would need.
func TestIdleSessionOnADatagramPathSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		imp := simnet.Impairment{Delay: 25 * time.Millisecond, Rate: 12_500_000}
		p := newPair(t, imp, imp, 1, datagramMTU)
		defer p.close()
		a, b := p.dial(t)
		x, y := open(t, a, b)
		transfer(t, x, y, 300_000, 1)
		time.Sleep(5 * time.Second)
		before := a.Stats().Turns + b.Stats().Turns
		time.Sleep(4 * time.Minute)
		if n := a.Stats().Turns + b.Stats().Turns - before; n > 2 {
			t.Errorf("two idle sessions woke up %d times in four minutes", n)
		}
	})
}
