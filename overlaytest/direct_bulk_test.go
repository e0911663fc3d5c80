package overlaytest

import (
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// What is sent in bulk uses the direct path, and as much of it as there is.
func TestBulkOnDirectPaths(t *testing.T) {
	for _, test := range []struct {
		name  string
		way   Impairment
		total int
		most  time.Duration
	}{
		{"wide", Impairment{Latency: latency}, 10_000_000, 10 * time.Second},
		{"1 MB/s", Impairment{Latency: latency, Bandwidth: 1_000_000}, 10_000_000, 14 * time.Second},
		{"losses", Impairment{Latency: latency, Bandwidth: 1_000_000, Loss: 0.01}, 10_000_000, 16 * time.Second},
		{"reordering", Impairment{Latency: latency, Bandwidth: 1_000_000, Reorder: 0.1, Jitter: 2 * time.Millisecond}, 10_000_000, 16 * time.Second},
		{"all at once", Impairment{
			Latency: latency, Jitter: 2 * time.Millisecond, Bandwidth: 1_000_000,
			Loss: 0.005, Reorder: 0.05, Duplicate: 0.05, Corrupt: 0.005,
		}, 10_000_000, 18 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachSeed(t, 2, func(t *testing.T, seed uint64) {
				l := New(t, Config{Seed: seed, Link: Impairment{Latency: latency}})
				l.Impair("a", "b", test.way)
				d := newDuo(t, l, [2]NAT{}, overlay.Config{Reliability: layerOf(seed)})
				d.settle()
				x, y := connect(t, d.a, d.b)
				defer x.Close()
				defer y.Close()
				d.wantDirect(directSoon)
				time.Sleep(3 * time.Second)
				before := d.Traffic("relay")
				began := time.Now()
				f := newFlow()
				go f.pace(x, 50_000, 0, test.total, nil)
				f.take(y)
				took := time.Since(began)
				if err := f.complete(); err != nil {
					t.Error(err)
				}
				relayed := d.Traffic("relay").BytesReceived - before.BytesReceived
				t.Logf("%d bytes took %v, %d bytes over a relay", test.total, took, relayed)
				if took > test.most {
					t.Errorf("it took %v, want %v at most:\n%s", took, test.most, paths(d.a, d.b))
				}
				if relayed > uint64(test.total)/20 {
					t.Errorf("%d bytes went over the relay", relayed)
				}
				if moves := d.journal.moves("a", began); len(moves) > 0 {
					t.Errorf("the path changed %d times:\n%v", len(moves), d.journal)
				}
			})
		})
	}
}
