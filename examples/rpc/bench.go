package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	payloadSize = 512
	smallSize   = 128
	bigSize     = 1 << 20
	bigCallers  = 4
)

var callers = []int{1, 16, 64, 256}

// A result is what one round has measured of one target.
type result struct {
	rate     []float64       // calls a second, by callers
	cpu      []time.Duration // of the process for each call, both ends, by callers
	p50      time.Duration   // with one caller
	beside99 time.Duration   // of small calls beside large ones
	bigRate  float64         // MB/s meanwhile
}

// bench measures all targets in turn, several times, and prints medians.
func bench(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(out)
	rounds := flags.Int("rounds", 3, "how often each target is measured")
	span := flags.Duration("time", time.Second, "how long each measurement takes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 || *span <= 0 {
		return fmt.Errorf("-rounds must be at least 1 and -time positive")
	}
	p, err := startPair(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	all := targets(p)
	results := make(map[string][]result)
	for range *rounds {
		rs, err := round(ctx, all, *span)
		if err != nil {
			return err
		}
		for i, r := range rs {
			results[all[i].name] = append(results[all[i].name], r)
		}
	}
	return report(out, results)
}

// round measures each figure of all targets one right after the other, so that a busy moment of the machine hits all of
// them.
func round(ctx context.Context, all []target, span time.Duration) (rs []result, err error) {
	client := make([]calls, len(all))
	rs = make([]result, len(all))
	for i, t := range all {
		var stop func()
		if client[i], stop, err = t.start(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		defer stop()
	}
	for _, n := range callers {
		for i, t := range all {
			before := cpuTime()
			rate, took, err := load(ctx, client[i].echo, n, payloadSize, span)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
			r := &rs[i]
			r.rate = append(r.rate, rate)
			r.cpu = append(r.cpu, (cpuTime()-before)/time.Duration(len(took)))
			if n == 1 {
				r.p50 = took[len(took)/2]
			}
		}
	}
	for i, t := range all {
		if err := rs[i].beside(ctx, client[i], span); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return rs, nil
}

// beside measures small calls while others carry large payloads.
func (r *result) beside(ctx context.Context, call calls, span time.Duration) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		rate, _, err := load(ctx, call.put, bigCallers, bigSize, span)
		if err == nil {
			r.bigRate = rate * bigSize / 1e6
		}
	})
	_, took, err := load(ctx, call.echo, 1, smallSize, span)
	if err == nil {
		r.beside99 = took[len(took)*99/100]
	}
	return err
}

// load calls from several goroutines for a while. It returns calls a second and the sorted times that they took.
func load(ctx context.Context, call func(context.Context, []byte) error, callers, size int, span time.Duration) (float64, []time.Duration, error) {
	var wg sync.WaitGroup
	took := make([][]time.Duration, callers)
	errs := make([]error, callers)
	began := time.Now()
	end := began.Add(span)
	for i := range callers {
		wg.Go(func() {
			payload := make([]byte, size)
			for now := began; now.Before(end); {
				if errs[i] = call(ctx, payload); errs[i] != nil {
					return
				}
				t := time.Now()
				took[i] = append(took[i], t.Sub(now))
				now = t
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	for _, err := range errs {
		if err != nil {
			return 0, nil, err
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	return float64(len(all)) / elapsed.Seconds(), all, nil
}

// report prints what the README shows.
func report(out io.Writer, results map[string][]result) error {
	w := &errWriter{w: out}
	w.printf("| callers | grid, TCP | grid, weft | ratio | CPU | connect, TCP | connect, weft | ratio | CPU |\n|---|---|---|---|---|---|---|---|---|\n")
	for i, n := range callers {
		w.printf("| %d ", n)
		for _, form := range []string{"grid", "connect"} {
			tcp, weft := results[form+" tcp"], results[form+" weft"]
			rate := func(r result) float64 { return r.rate[i] }
			cpu := func(r result) float64 { return float64(r.cpu[i]) / 1e3 }
			w.printf("| %.0f | %.0f | %.2f | %.1f / %.1f µs ", median(tcp, rate), median(weft, rate), ratio(weft, tcp, rate), median(weft, cpu), median(tcp, cpu))
		}
		w.printf("|\n")
	}
	w.printf("\n| | grid, TCP | grid, weft | connect, TCP | connect, weft |\n|---|---|---|---|---|\n")
	for _, row := range []struct {
		name  string
		value func(result) float64
	}{
		{"p50 at one caller, µs", func(r result) float64 { return float64(r.p50) / 1e3 }},
		{"p99 of 128 bytes beside four times 1 MiB, µs", func(r result) float64 { return float64(r.beside99) / 1e3 }},
		{"those four, MB/s", func(r result) float64 { return r.bigRate }},
	} {
		w.printf("| %s ", row.name)
		for _, name := range []string{"grid tcp", "grid weft", "connect tcp", "connect weft"} {
			w.printf("| %.0f ", median(results[name], row.value))
		}
		w.printf("|\n")
	}
	return w.err
}

// median is that of one figure of all rounds.
func median(rs []result, value func(result) float64) float64 {
	all := make([]float64, len(rs))
	for i, r := range rs {
		all[i] = value(r)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// ratio is the median of the rounds' ratios: what disturbs the machine for a while disturbs both sides of one.
func ratio(a, b []result, value func(result) float64) float64 {
	all := make([]float64, len(a))
	for i := range a {
		all[i] = value(a[i]) / value(b[i])
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// errWriter keeps the first error.
type errWriter struct {
	w   io.Writer
	err error
}

func (w *errWriter) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.w, format, args...)
	}
}
