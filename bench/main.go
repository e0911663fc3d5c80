// Command bench compares weft with what stands below it, bare TCP and TLS over
// TCP, and with its peers: yamux over TLS, quic-go, pion/sctp, go-libp2p over each
// of its transports, direct and through a relay without limits, yamux over
// weaveworks/mesh, and quic-go over ironwood. Everything runs on loopback, both
// ends in this process, or the server's in one of its own (then without pion/sctp,
// whose ends share a pipe). The transports take turns, so that a busy moment of the
// machine hits all of them; the tables show the medians of the rounds, the medians
// of the ratios to TCP and TLS of the same round, and what weft is to reach.
//
// Not here are nebula's service, which can be built but whose user-space TCP stands
// still for minutes on loopback when packets are lost, and tailscale.com/tsnet, which
// takes two minutes of processor time to build and needs a control server that is made
// for its own tests. (The newest versions of both want a newer Go than weft.)
//
//	go run . [-rounds 3] [-bytes N] [-time D] [-idle N] [-transports tcp,weft*] [-processes|-both] [-far] [-out DIR] [-json]
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
	if os.Getenv(childEnv) != "" {
		if err := obey(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench: server:", err)
			os.Exit(1)
		}
		return
	}
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
	o := options{budget: budget{crowd: 6}}
	flags.IntVar(&o.rounds, "rounds", 3, "how often each transport is measured")
	flags.Int64Var(&o.budget.bytes, "bytes", 1<<30, "end a transfer after this many bytes")
	flags.DurationVar(&o.budget.time, "time", time.Second, "end a measurement after this time")
	flags.IntVar(&o.budget.idle, "idle", 200, "how many streams are open to measure what an idle one takes; libp2p over QUIC allows 256")
	flags.BoolVar(&o.processes, "processes", false, "run the server's side, and the relay, in a process of its own")
	both := flags.Bool("both", false, "measure both in one process and in two")
	dir := flags.String("out", "", "also write bench.md, and pictures/bench-*.svg, into this folder")
	far := flags.Bool("far", false, "measure weft's layers over a simulated path of 100 Mbit/s and 50 ms, without and with loss")
	only := flags.String("transports", "", "comma-separated names, or beginnings of names that end in *; empty measures all")
	asJSON := flags.Bool("json", false, "write JSON instead of a table")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.rounds < 1 || o.budget.idle < 1 || o.budget.bytes < manyStreams*writeSize || o.budget.time <= 0 {
		return fmt.Errorf("-rounds and -idle must be at least 1, -bytes at least %d and -time positive", manyStreams*writeSize)
	}
	all := transports()
	if *far {
		if *both || o.processes || *dir != "" {
			return errors.New("-far is for one process and the table on the terminal")
		}
		all, o.budget.idle = farTransports(), idleBatch // each takes a round trip
	}
	forms, err := measureForms(ctx, all, *only, *both, o, progress)
	if err != nil && len(forms) == 0 {
		return err
	}
	if *dir != "" {
		err = errors.Join(err, writeFiles(*dir, forms, o))
	}
	if *asJSON {
		return errors.Join(err, writeJSON(out, forms, o.rounds))
	}
	for _, f := range forms {
		fmt.Fprintf(out, "\nBoth ends in %s:\n\n", f.name)
		err = errors.Join(err, writeTable(out, f.rows))
	}
	return err
}

// measureForms measures the chosen transports in one process, in two, or in both
// forms. What went well is returned also with an error.
func measureForms(ctx context.Context, all []Transport, only string, both bool, o options, progress io.Writer) (forms []form, err error) {
	if both || !o.processes {
		chosen, err := choose(all, only)
		if err != nil {
			return nil, err
		}
		one := o
		one.processes = false
		rows, err := measureAll(ctx, chosen, one, progress)
		forms = append(forms, form{"one process", rows})
		if err != nil {
			return forms, err
		}
	}
	if both || o.processes {
		all = slices.DeleteFunc(all, func(t Transport) bool { _, ok := t.(apart); return !ok })
		if both && only != "" {
			// Some of what was asked for may need one process.
			only = strings.Join(slices.DeleteFunc(strings.Split(only, ","), func(name string) bool { _, err := choose(all, name); return err != nil }), ",")
		}
		chosen, err := choose(all, only)
		if err != nil {
			return forms, err
		}
		two := o
		two.processes = true
		rows, err := measureAll(ctx, chosen, two, progress)
		return append(forms, form{"two processes", rows}), err
	}
	return forms, nil
}

// options are what the arguments say of how to measure.
type options struct {
	rounds    int
	budget    budget
	processes bool
}

// choose picks the transports named in a comma-separated list, in the list's
// order; all if it is empty.
func choose(all []Transport, names string) ([]Transport, error) {
	if names == "" {
		return all, nil
	}
	var chosen []Transport
	for name := range strings.SplitSeq(names, ",") {
		before := len(chosen)
		prefix, many := strings.CutSuffix(name, "*")
		for _, t := range all {
			if t.Name() == name || many && strings.HasPrefix(t.Name(), prefix) {
				chosen = append(chosen, t)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("there is no transport %q here", name)
		}
	}
	return chosen, nil
}

// measureAll measures the transports in turn, round by round. One that fails in a
// round lacks that round; what went well is returned also with an error.
func measureAll(ctx context.Context, ts []Transport, o options, progress io.Writer) (rows []row, err error) {
	all := make([]row, len(ts))
	for r := range o.rounds {
		for i, t := range ts {
			fmt.Fprintf(progress, "round %d of %d: %s\n", r+1, o.rounds, t.Name())
			s, failure := measureOnce(ctx, t, o, progress)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			all[i].name = t.Name()
			if failure != nil {
				fmt.Fprintln(progress, failure)
				err = errors.Join(err, failure)
				s = failed()
			} else {
				all[i].good++
			}
			all[i].rounds = append(all[i].rounds, s)
		}
	}
	for _, r := range all {
		if r.good > 0 {
			r.median, r.spread = medians(r.rounds)
			rows = append(rows, r)
		}
	}
	return rows, err
}

// measureOnce takes one sample, with a new process if there are to be two.
func measureOnce(ctx context.Context, t Transport, o options, stderr io.Writer) (s sample, err error) {
	if !o.processes {
		return measure(ctx, t, nil, o.budget)
	}
	other, err := startChild(ctx, stderr)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, other.Close()) }()
	return measure(ctx, t, other, o.budget)
}
