// Command bench compares weft with what stands below it, bare TCP and TLS over
// TCP, and with its peers: yamux over TLS, quic-go, pion/sctp, and go-libp2p over
// each of its transports, direct and through a relay without limits. Both ends run in this process on loopback; the transports take turns, so
// that a busy moment of the machine hits all of them, and the table shows the
// medians of the rounds.
//
//	go run . [-rounds 3] [-bytes N] [-time D] [-transports tcp,tls] [-far] [-json]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures what the arguments ask for and writes the report to out;
// progress goes to progress.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(progress)
	rounds := flags.Int("rounds", 3, "how often each transport is measured")
	bytes := flags.Int64("bytes", 1<<30, "end a transfer after this many bytes")
	limit := flags.Duration("time", time.Second, "end a measurement after this time")
	far := flags.Bool("far", false, "measure weft's layers over a simulated path of 100 Mbit/s and 50 ms, without and with loss")
	only := flags.String("transports", "", "comma-separated names; empty measures all")
	asJSON := flags.Bool("json", false, "write JSON instead of a table")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 || *bytes < manyStreams*writeSize || *limit <= 0 {
		return fmt.Errorf("-rounds must be at least 1, -bytes at least %d and -time positive", manyStreams*writeSize)
	}
	all := transports()
	if *far {
		all = farTransports()
	}
	chosen, err := choose(all, *only)
	if err != nil {
		return err
	}
	rows, err := measureAll(ctx, chosen, *rounds, budget{*bytes, *limit}, progress)
	if err != nil {
		return err
	}
	if *asJSON {
		return writeJSON(out, rows, *rounds)
	}
	return writeTable(out, rows)
}

// choose picks the transports named in a comma-separated list; all if it is
// empty.
func choose(all []Transport, names string) ([]Transport, error) {
	if names == "" {
		return all, nil
	}
	var chosen []Transport
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(t Transport) bool { return t.Name() == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no transport %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// measureAll measures the transports in turn, round by round.
func measureAll(ctx context.Context, ts []Transport, rounds int, b budget, progress io.Writer) ([]row, error) {
	samples := make([][]sample, len(ts))
	for r := range rounds {
		for i, t := range ts {
			fmt.Fprintf(progress, "round %d of %d: %s\n", r+1, rounds, t.Name())
			s, err := measure(ctx, t, b)
			if err != nil {
				return nil, err
			}
			samples[i] = append(samples[i], s)
			if err := ctx.Err(); err != nil {
				return nil, context.Cause(ctx)
			}
		}
	}
	rows := make([]row, len(ts))
	for i, t := range ts {
		rows[i].name = t.Name()
		rows[i].median, rows[i].spread = medians(samples[i])
	}
	return rows, nil
}
