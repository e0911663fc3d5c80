//go:build !race

package main

import (
	"context"
	"slices"
	"testing"
	"time"
)

// What a gigabyte may cost weft beside TLS over TCP, in processor time of both ends.
// Unlike what passes in a second, that hardly depends on what else the machine does.
// Slack: weft takes 1.1 to 1.3 times as much over a link, and about twice as much through a
// relay, which reads and writes all of it once more.
func TestProcessorTimeBudget(t *testing.T) {
	const rounds = 5
	slack := map[string]float64{"weft": 1.8, "weft-relay": 3}
	chosen, err := choose(transports(), "tls,weft,weft-relay")
	if err != nil {
		t.Fatal(err)
	}
	ratios := make(map[string][]float64)
	for range rounds {
		var tls float64
		for _, tr := range chosen {
			cpu := processorTime(t, tr)
			if tr.Name() == "tls" {
				tls = cpu
			} else {
				ratios[tr.Name()] = append(ratios[tr.Name()], cpu/tls)
			}
		}
	}
	for name, limit := range slack {
		got := quantile(slices.Sorted(slices.Values(ratios[name])), 0.5)
		t.Logf("%s takes %.2f times the processor time of TLS", name, got)
		if !(got <= limit) {
			t.Errorf("%s takes %.2f times the processor time of TLS, want %v at most", name, got, limit)
		}
	}
}

// processorTime measures the seconds that a gigabyte takes.
func processorTime(t *testing.T, tr Transport) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := connect(ctx, tr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := firstByte(ctx, e); err != nil {
		t.Fatal(err)
	}
	var s sample
	if err := measureBulk(ctx, e, budget{bytes: 256 << 20, time: 10 * time.Second}, &s); err != nil {
		t.Fatal(err)
	}
	return s[bulkCPU]
}
