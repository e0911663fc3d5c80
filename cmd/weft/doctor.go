package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/checkup"
	"github.com/weftnet/weft/cmd/weft/internal/diag"
	"github.com/weftnet/weft/overlay"
)

const (
	// doctorTimeout is how long each step of weft doctor may take.
	doctorTimeout = 10 * time.Second
	// directPatience is how long two nodes may take to find a direct path: some rounds
	// of punching.
	directPatience = 5 * time.Second
)

// A doctorCommand is the command line of weft doctor.
type doctorCommand struct {
	guest
	asJSON          bool
	ports           []uint
	timeout, direct time.Duration
}

func newDoctor() *cobra.Command {
	d := doctorCommand{guest: guest{membership: membership{short: true}}}
	cmd := &cobra.Command{
		Use:   "doctor NODE",
		Short: "Find out why a node is not reached, or not directly",
		Long: `Goes through what a dial of a node does, one step after the other, and explains
each: who this node is, its relays, the look-up, the session, the ports that --port
names, the direct path with what was tried and why it did not work. A node that runs
weft up tells what it sees from its side. Below each problem stands what to do, and
at the end a verdict.

It uses the node of weft up if there is one of the same network; --socket none asks from
a node of its own, on the paths of which nothing is known yet.

It fails if the node, or one of the ports, is not reached.`,
		Example: `  weft doctor kv-1
  weft doctor kv-1 --port 22 --port 80
  weft doctor kv-1 --json`,
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: completeNodes(""),
		RunE:              func(cmd *cobra.Command, args []string) error { return d.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.BoolVar(&d.asJSON, "json", false, "print JSON: what was seen, and the steps with their verdicts")
	f.UintSliceVar(&d.ports, "port", nil, "`port` of the node to dial, too; may be repeated")
	f.DurationVar(&d.timeout, "timeout", doctorTimeout, "how long each step may take")
	f.DurationVar(&d.direct, "direct", directPatience, "how long to wait for a direct path")
	d.flags(cmd)
	return cmd
}

func (d *doctorCommand) run(cmd *cobra.Command, target string) error {
	if host, _, err := net.SplitHostPort(target); err == nil {
		return usage(cmd, fmt.Errorf("say the node alone, %s, and its port as --port", host))
	}
	if slices.ContainsFunc(d.ports, func(p uint) bool { return p == 0 || p > 65535 }) {
		return usage(cmd, errors.New("which port? --port takes numbers from 1 to 65535"))
	}
	node, err := d.node(cmd, logrus.PanicLevel)
	if err != nil {
		return err
	}
	defer node.Close()
	_ = waitReady(cmd.Context(), node, d.timeout) // the steps say why there is no relay
	v, err := d.visit(cmd.Context(), node, target)
	if err != nil {
		return err
	}
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	steps := v.Judge()
	if d.asJSON {
		err = printJSON(cmd, struct {
			*checkup.Visit
			Steps   checkup.Steps   `json:"steps"`
			Verdict checkup.Verdict `json:"verdict"`
		}{v, steps, steps.Worst()})
	} else {
		steps.Write(cmd.OutOrStdout())
	}
	if err == nil && steps.Worst() == checkup.Failure {
		err = fmt.Errorf("%s is not reached as it should be; why stands above", target)
	}
	return err
}

// visit takes the steps.
func (d *doctorCommand) visit(ctx context.Context, node *host, target string) (*checkup.Visit, error) {
	v := &checkup.Visit{Target: target, Version: version()}
	result, err := ping(ctx, node, target, d.timeout)
	if err != nil {
		v.PingErr = err
	} else {
		v.Ping = &checkup.Ping{Node: result.Peer.ID.String(), Names: result.Peer.Names, Path: result.Path, Layer: result.Layer, RTT: milliseconds(result.RTT)}
		for _, p := range d.ports {
			v.Ports = append(v.Ports, checkup.Port{Port: uint16(p), Err: d.knock(ctx, node, target, p)}) //nolint:gosec // run has checked it
		}
		if err := awaitDirect(ctx, node, result.Peer.ID, d.direct, func(p peerReport) { notePaths(v, p) }); err != nil {
			return nil, err
		}
		view, cancel := context.WithTimeout(ctx, d.timeout)
		v.View, v.ViewErr = diag.AskView(view, node, v.Ping.Node)
		cancel()
	}
	r, err := node.status(ctx)
	if err != nil {
		return nil, err
	}
	v.Now, v.From = time.Now(), r.Node
	v.Member = checkup.Member{Network: r.Network, Name: r.Name, Key: r.Key}
	if in := r.Invite; in != nil {
		v.Member.Invite, v.Member.Expires, v.Member.Expired = in.ID, in.Expires, in.Expired
	}
	v.Network = networkOf(ctx, r, d.timeout)
	return v, nil
}

// ping is one sign of life.
func ping(ctx context.Context, node *host, target string, timeout time.Duration) (overlay.PingResult, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("nothing after %v", timeout))
	defer cancel()
	return node.Ping(ctx, target)
}

// knock dials one port.
func (d *doctorCommand) knock(ctx context.Context, node *host, target string, port uint) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.timeout, fmt.Errorf("nothing after %v", d.timeout))
	defer cancel()
	conn, err := node.Dial(ctx, net.JoinHostPort(target, strconv.FormatUint(uint64(port), 10)))
	if err != nil {
		return err
	}
	return conn.Close()
}

// awaitDirect waits until packets to a peer take a direct path, or that has taken too
// long, and tells note what there is meanwhile.
func awaitDirect(ctx context.Context, node *host, id overlay.NodeID, atMost time.Duration, note func(peerReport)) error {
	patience := time.NewTimer(atMost)
	defer patience.Stop()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		r, err := node.status(ctx)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(r.Peers, func(p peerReport) bool { return p.Node == id.String() }); i >= 0 {
			note(r.Peers[i])
			if r.Peers[i].NotDirect == "" {
				return nil
			}
		}
		if r.UDP.Addr == "" {
			return nil // there is nothing to wait for
		}
		select {
		case <-tick.C:
		case <-patience.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// notePaths notes what the report says of the ways to the node.
func notePaths(v *checkup.Visit, p peerReport) {
	v.NotDirect, v.Paths, v.Lost = p.NotDirect, nil, 0
	if p.Packets > 0 {
		v.Lost = float64(p.Lost) / float64(p.Packets)
	}
	for _, w := range p.Paths {
		v.Paths = append(v.Paths, diag.Path{Path: w.Path, Direct: w.Direct, Active: w.Active, State: w.State, Reason: w.Reason, RTT: w.RTT})
	}
}
