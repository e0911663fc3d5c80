package main

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/overlay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServeAndCall(t *testing.T) {
	cfg := testnet.Start(t)
	ctx, stop := context.WithCancel(t.Context())
	node := testnet.Named(t, cfg, "kv-1")
	served := make(chan error, 1)
	up := &firstLine{up: make(chan struct{})}
	go func() { served <- serve(ctx, node, up) }()
	<-up.up

	testnet.Setenv(t, cfg)
	t.Setenv(overlay.EnvName, "kv-2")
	var out strings.Builder
	if err := run(testnet.Context(t), []string{"call", "kv-1"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`grid: handler 1: "hello", <nil>`, `grid: handler 3: "hello", <nil>`, "grid: not allowed: secret: wrong token", "unknown handler: 4711",
		"the stream says 0\n", "the stream says 2\n", `connect: "hello", <nil>`, "permission_denied: wrong token",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if n := strings.Count(out.String(), `connect: "hello"`); n != 2 {
		t.Errorf("%d protocols of Connect", n)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// firstLine closes up when something is written.
type firstLine struct {
	up   chan struct{}
	once bool
}

func (f *firstLine) Write(p []byte) (int, error) {
	if !f.once {
		f.once = true
		close(f.up)
	}
	return len(p), nil
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"serve", "x"}, {"call"}, {"bench", "-rounds", "0"}, {"bench", "-time", "never"}} {
		if err := run(t.Context(), args, new(strings.Builder)); err == nil {
			t.Errorf("%v is fine", args)
		}
	}
	testnet.Setenv(t, overlay.Config{})
	if err := run(t.Context(), []string{"serve"}, nil); err == nil || !strings.Contains(err.Error(), "set WEFT_SECRET") {
		t.Error(err)
	}
}

func TestBench(t *testing.T) {
	var out strings.Builder
	if err := bench(testnet.Context(t), []string{"-rounds", "1", "-time", "10ms"}, &out); err != nil {
		t.Fatal(err)
	}
	if strings.Count(out.String(), "\n") != 12 || strings.Contains(out.String(), "NaN") {
		t.Errorf("%s", &out)
	}
}

// BenchmarkCalls is bench for `go test -bench`, with profiles: -bench Calls/grid_weft/64
func BenchmarkCalls(b *testing.B) {
	p, err := startPair(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	for _, t := range targets(p) {
		for _, n := range callers {
			b.Run(strings.ReplaceAll(t.name, " ", "_")+"/"+strconv.Itoa(n), func(b *testing.B) {
				call, stop, err := t.start(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				defer stop()
				before, calls := cpuTime(), 0
				for b.Loop() {
					_, took, err := load(b.Context(), call.echo, n, payloadSize, 100*time.Millisecond)
					if err != nil {
						b.Fatal(err)
					}
					calls += len(took)
				}
				b.ReportMetric(float64(calls)/b.Elapsed().Seconds(), "calls/s")
				b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(calls), "cpu-ns/call")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
