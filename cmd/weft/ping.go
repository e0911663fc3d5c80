package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/localapi"
	"github.com/weftnet/weft/overlay"
)

// The defaults of weft ping.
const (
	pingCount    = 4
	pingInterval = time.Second
	pingTimeout  = 10 * time.Second
)

// A pingCommand is the command line of weft ping.
type pingCommand struct {
	guest
	count             int
	interval, timeout time.Duration
	asJSON            bool
}

// A pingReport is what became of one round trip.
type pingReport struct {
	Seq   int      `json:"seq"`
	RTT   float64  `json:"rtt_ms,omitempty"`
	Node  string   `json:"node,omitempty"`
	Names []string `json:"names,omitempty"`
	Path  string   `json:"path,omitempty"`
	Layer string   `json:"layer,omitempty"`
	Error string   `json:"error,omitempty"`
}

func newPing() *cobra.Command {
	p := pingCommand{guest: guest{membership: membership{short: true}}}
	cmd := &cobra.Command{
		Use:   "ping NODE[:PORT]",
		Short: "Measure round trips to a node",
		Long: `Says which relay is this node's home, over which others reach it. Then asks a
node, by name, ID or key, for signs of life, and shows how long each took, which
way it went, when that changes, and which reliability layer the node speaks.
Making a session first is not counted, and goes over a relay; a direct path is
looked for meanwhile. With a port, it opens and closes a conn to that port each time,
which tells whether somebody listens there.

It fails if nothing was answered.`,
		Example: `  weft ping files
  weft ping -n 1 files:80
  weft ping --json files | jq .rtt_ms`,
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: completeNodes(""),
		RunE:              func(cmd *cobra.Command, args []string) error { return p.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.IntVarP(&p.count, "count", "n", pingCount, "how often; 0 is until interrupted")
	f.DurationVarP(&p.interval, "interval", "i", pingInterval, "the pause between two")
	f.DurationVar(&p.timeout, "timeout", pingTimeout, "how long to wait for a relay, and then for each answer")
	f.BoolVar(&p.asJSON, "json", false, "print JSON, one object a line for each round trip")
	p.flags(cmd)
	return cmd
}

func (p *pingCommand) run(cmd *cobra.Command, target string) error {
	if p.count < 0 || p.interval < 0 {
		return usage(cmd, errors.New("how often? --count and --interval cannot be negative"))
	}
	node, err := p.node(cmd, logrus.ErrorLevel)
	if err != nil {
		return err
	}
	defer node.Close()
	if err := waitReady(cmd.Context(), node, p.timeout); err != nil {
		return err
	}
	st, err := node.status(cmd.Context())
	if err != nil {
		return err
	}
	if !p.asJSON {
		fmt.Fprintln(cmd.OutOrStdout(), st.relaysInUse())
	}
	var once pinger = node.Ping
	if _, _, err := net.SplitHostPort(target); err == nil {
		once = knock(node, st.Layer)
	}
	return p.repeat(cmd, target, once)
}

// relaysInUse says which relays a node uses.
func (r report) relaysInUse() string {
	home, rest := "no home relay", ""
	for _, x := range r.Relays {
		switch name := "relay " + x.Addr + " (" + x.ID + ")"; {
		case x.Home:
			home = "home is " + name
		case x.Up:
			rest += ", spare is " + name
		}
	}
	return home + rest
}

// A pinger measures one round trip.
type pinger func(ctx context.Context, target string) (overlay.PingResult, error)

// repeat pings until it is enough, and sums up.
func (p *pingCommand) repeat(cmd *cobra.Command, target string, once pinger) error {
	var sum summary
	path := ""
	for p.pause(cmd.Context(), sum.asked) {
		ctx, cancel := context.WithTimeout(cmd.Context(), p.timeout)
		result, err := once(ctx, target)
		cancel()
		if err != nil && cmd.Context().Err() != nil {
			break // told to stop
		}
		sum.add(result.RTT, err)
		if p.asJSON {
			if err := printLine(cmd.OutOrStdout(), reportPing(sum.asked, result, err)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "%d: %v\n", sum.asked, err)
			continue
		}
		if path != "" && result.Path != path {
			fmt.Fprintf(cmd.OutOrStdout(), "the path is now %s, before it was %s\n", result.Path, path)
		}
		path = result.Path
		fmt.Fprintf(cmd.OutOrStdout(), "%d: %v from %s, layer %s\n", sum.asked, readable(result.RTT), describe(result.Peer, result.Path), result.Layer)
	}
	if !p.asJSON {
		fmt.Fprintln(cmd.OutOrStdout(), &sum)
	}
	if sum.answered == 0 && sum.asked > 0 {
		return &silenceError{target, sum.last}
	}
	return nil
}

// reportPing says what became of a round trip.
func reportPing(seq int, r overlay.PingResult, err error) pingReport {
	if err != nil {
		return pingReport{Seq: seq, Error: err.Error()}
	}
	return pingReport{
		Seq: seq, RTT: milliseconds(r.RTT), Node: r.Peer.ID.String(), Names: r.Peer.Names,
		Path: fmt.Sprint(r.Path), Layer: r.Layer,
	}
}

// A silenceError means that nothing was answered. Why was said before.
type silenceError struct {
	target string
	last   error
}

func (e *silenceError) Error() string { return "no answer from " + e.target }
func (e *silenceError) Unwrap() error { return e.last }

// pause waits until it is time for the next of the round trips, if there is
// one.
func (p *pingCommand) pause(ctx context.Context, done int) bool {
	if p.count > 0 && done == p.count {
		return false
	}
	if done == 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(p.interval)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// knock returns what pings a port: it opens a conn and closes it.
func knock(node localapi.Node, layer string) pinger {
	return func(ctx context.Context, addr string) (overlay.PingResult, error) {
		var result overlay.PingResult
		begun := time.Now()
		conn, err := node.Dial(ctx, addr)
		if err != nil {
			return result, err
		}
		result.RTT = time.Since(begun)
		result.Peer, _ = overlay.PeerOf(conn)
		result.Path, _ = localapi.PathOf(conn)
		result.Layer = layer // there is no conn between different ones
		return result, conn.Close()
	}
}

// A summary sums up round trips.
type summary struct {
	asked, answered          int
	shortest, longest, total time.Duration
	last                     error // why the last one failed
}

func (s *summary) add(rtt time.Duration, err error) {
	s.asked++
	if err != nil {
		s.last = err
		return
	}
	if s.answered == 0 {
		s.shortest = rtt
	}
	s.answered++
	s.total += rtt
	s.shortest, s.longest = min(s.shortest, rtt), max(s.longest, rtt)
}

// String is the summary.
func (s *summary) String() string {
	text := fmt.Sprintf("%d of %d answered", s.answered, s.asked)
	if s.answered == 0 {
		return text
	}
	return text + fmt.Sprintf("; round trip min %v, avg %v, max %v",
		readable(s.shortest), readable(s.total/time.Duration(s.answered)), readable(s.longest))
}

// readable leaves of a duration what matters.
func readable(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(10 * time.Microsecond)
}
