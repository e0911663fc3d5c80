package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/diag"
	"github.com/weftnet/weft/cmd/weft/internal/progress"
	"github.com/weftnet/weft/overlay"
)

// benchTime is how long weft bench measures each direction if nobody says.
const benchTime = 5 * time.Second

// A benchCommand is the command line of weft bench.
type benchCommand struct {
	guest
	asJSON                bool
	time, timeout, direct time.Duration
	streams               int
	rate                  int64
}

func newBench() *cobra.Command {
	b := benchCommand{guest: guest{membership: membership{short: true}}}
	cmd := &cobra.Command{
		Use:   "bench NODE",
		Short: "Measure how fast the way to a node is",
		Long: `Measures round trips, lost packets, and throughput in both directions to a node that
runs weft up, on the path that is in use. It waits some seconds for a direct path first.
The other node grants one bench at a time, and at most 30 s for each direction.

Throughput is as the receiver sees it. Round trips are measured on a stream with nothing
else under way; packets are 500 of 1000 bytes, which the other node sends back.`,
		Example: `  weft bench kv-1
  weft bench kv-1 --time 20s --streams 4 --json
  weft bench kv-1 --rate 1000000       # a MB a second, for who must not disturb others`,
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: completeNodes(""),
		RunE:              func(cmd *cobra.Command, args []string) error { return b.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.BoolVar(&b.asJSON, "json", false, "print JSON")
	f.DurationVar(&b.time, "time", benchTime, "how long to measure each direction, at most 30s")
	f.IntVar(&b.streams, "streams", 1, "how many streams carry it at once, at most 16")
	f.Int64Var(&b.rate, "rate", 0, "`bytes` a second in each direction; 0 is as fast as it goes")
	f.DurationVar(&b.timeout, "timeout", defaultTimeout, "how long to wait for a relay, and then for the node")
	f.DurationVar(&b.direct, "direct", directPatience, "how long to wait for a direct path")
	b.flags(cmd)
	return cmd
}

func (b *benchCommand) run(cmd *cobra.Command, target string) error {
	opt := diag.Options{Time: b.time, Streams: b.streams, Rate: b.rate}
	if err := opt.Check(); err != nil {
		return usage(cmd, err)
	}
	if host, _, err := net.SplitHostPort(target); err == nil {
		return usage(cmd, fmt.Errorf("say the node alone, %s: its port for benches is always the same", host))
	}
	node, err := b.node(cmd, logrus.ErrorLevel)
	if err != nil {
		return err
	}
	defer node.Close()
	if err := waitReady(cmd.Context(), node, b.timeout); err != nil {
		return err
	}
	answered, err := ping(cmd.Context(), node, target, b.timeout)
	if err != nil {
		return err
	}
	if err := awaitDirect(cmd.Context(), node, answered.Peer.ID, b.direct, func(peerReport) {}); err != nil {
		return err
	}
	bar := newBenchBar(cmd.ErrOrStderr(), opt)
	opt.Progress = bar.progress
	result, err := diag.Bench(cmd.Context(), node, answered.Peer.ID.String(), opt)
	bar.bar.Clear()
	if err != nil {
		return explainBench(cmd.Context(), target, err)
	}
	if r, err := pathTo(cmd.Context(), node, answered.Peer.ID); err == nil && r != "" {
		result.Path = r // a stream knows only the path that it began on
	}
	if b.asJSON {
		return printJSON(cmd, result)
	}
	writeBench(cmd.OutOrStdout(), target, result)
	return nil
}

// explainBench says of a refusal what it means here.
func explainBench(ctx context.Context, target string, err error) error {
	if ctx.Err() == nil && errors.Is(err, overlay.ErrRefused) {
		return fmt.Errorf("%s does not answer weft bench: it does not run weft up, does with --no-doctor, or does not allow this node: %w", target, err)
	}
	return err
}

// pathTo is the path that packets to a peer take now.
func pathTo(ctx context.Context, node *host, id overlay.NodeID) (string, error) {
	r, err := node.status(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range r.Peers {
		if p.Node == id.String() {
			return p.Path, nil
		}
	}
	return "", nil
}

// A benchBar shows how far a bench is: by time, since nobody knows how much goes.
type benchBar struct {
	bar   *progress.Bar
	begun time.Time
}

func newBenchBar(w io.Writer, opt diag.Options) *benchBar {
	total := 2*opt.Time + 2*time.Second // and round trips and packets, a second each
	return &benchBar{progress.New(w, "measuring", total.Milliseconds(), false), time.Now()}
}

func (b *benchBar) progress(phase string, _ int) {
	b.bar.Describe(phase)
	b.bar.Set(time.Since(b.begun).Milliseconds())
}

// writeBench writes a result for people.
func writeBench(w io.Writer, target string, r *diag.Result) {
	fmt.Fprintf(w, "%s by %s\n", named(r.Node, target), r.Path)
	t := r.Trips
	fmt.Fprintf(w, "round trip  p50 %s, p99 %s, min %s, max %s, of %d\n", tripTime(t.P50), tripTime(t.P99), tripTime(t.Min), tripTime(t.Max), t.Count)
	sent, back := uint64(max(r.Packets.Sent, 0)), uint64(max(r.Packets.Returned, 0))
	arrived := min(max(r.Packets.Arrived, back), sent)
	fmt.Fprintf(w, "packets     lost %s on the way there, %s on the way back, of %d\n", share(sent-arrived, sent), share(arrived-min(back, arrived), arrived), sent)
	for _, d := range []struct {
		name string
		diag.Direction
	}{{"sending", r.Send}, {"receiving", r.Receive}} {
		fmt.Fprintf(w, "%-11s %s/s (%.4g Mbit/s), %s in %.1f s\n", d.name, bytesOf(uint64(d.PerSecond())), d.PerSecond()*8/1e6, bytesOf(d.Bytes), d.Seconds)
	}
}
