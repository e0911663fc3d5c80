package main

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/checkup"
	"github.com/weftnet/weft/internal/link/linkdial"
)

const (
	// netcheckTimeout is how long weft netcheck waits for a relay, and then for what
	// else there is to find out.
	netcheckTimeout = 10 * time.Second
	// natPatience is how long the NAT's kind may take to find out. Each question that
	// is lost is asked again within it.
	natPatience = 3 * time.Second
	// askEvery is how often the node is asked meanwhile.
	askEvery = 100 * time.Millisecond
)

// A netcheckCommand is the command line of weft netcheck.
type netcheckCommand struct {
	guest
	asJSON  bool
	timeout time.Duration
}

func newNetcheck() *cobra.Command {
	n := netcheckCommand{guest: guest{membership: membership{short: true}}}
	cmd := &cobra.Command{
		Use:   "netcheck",
		Short: "Look at the network around this machine",
		Long: `Looks at what a node meets here: its relays and how far they are, UDP, the kind
of NAT, port mapping, IPv4 and IPv6, the MTU, the clock, other nodes on the LAN, and
the proxy that the environment names. Below each problem stands what to do about it.

It asks the node of weft up, if there is one of the same network, or one of its own. The
relays' ports are asked from this process, so the proxy is that of this shell.

It fails if no relay can be used.`,
		Example: `  weft netcheck
  weft netcheck --json --relay relay.example.org:9999`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return n.run(cmd) },
	}
	f := cmd.Flags()
	f.BoolVar(&n.asJSON, "json", false, "print JSON: what was seen, and the steps with their verdicts")
	f.DurationVar(&n.timeout, "timeout", netcheckTimeout, "how long to wait for a relay, and for each relay's port")
	n.flags(cmd)
	return cmd
}

// errNoRelayWorks is the failure of a checkup whose steps have said why.
var errNoRelayWorks = errors.New("no relay can be used; what to do stands above")

func (n *netcheckCommand) run(cmd *cobra.Command) error {
	node, err := n.node(cmd, logrus.PanicLevel)
	if err != nil {
		return err
	}
	defer node.Close()
	// Without a relay there is still something to say.
	_ = waitReady(cmd.Context(), node, n.timeout)
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	r, err := settledReport(cmd.Context(), node)
	if err != nil {
		return err
	}
	network := networkOf(cmd.Context(), r, n.timeout)
	steps := network.Judge()
	if n.asJSON {
		err = printJSON(cmd, struct {
			*checkup.Network
			Steps   checkup.Steps   `json:"steps"`
			Verdict checkup.Verdict `json:"verdict"`
		}{network, steps, steps.Worst()})
	} else {
		steps.Write(cmd.OutOrStdout())
	}
	if err == nil && steps.Worst() == checkup.Failure {
		err = errNoRelayWorks
	}
	return err
}

// printJSON prints a value as JSON for people and programs; printLine is for one of many.
func printJSON(cmd *cobra.Command, v any) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// settledReport is a node's report once the kind of its NAT is known, or has taken
// too long.
func settledReport(ctx context.Context, node *host) (report, error) {
	patience := time.NewTimer(natPatience)
	defer patience.Stop()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		r, err := node.status(ctx)
		if err != nil || settledNAT(r) {
			return r, err
		}
		select {
		case <-tick.C:
		case <-patience.C:
			return r, nil
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}

// settledNAT reports whether there is no more to wait for.
func settledNAT(r report) bool {
	up := 0
	for _, x := range r.Relays {
		if x.Up {
			up++
		}
	}
	seen := len(r.UDP.Seen) > 0
	// One relay alone does not tell the mapping.
	return r.UDP.Addr == "" || up == 0 || seen && up == 1 || r.UDP.Mapping != "" && r.UDP.Mapping != "unknown"
}

// networkOf adds to a node's report what can be asked without it.
func networkOf(ctx context.Context, r report, timeout time.Duration) *checkup.Network {
	n := &checkup.Network{
		Node: r.Node, UDPAddr: r.UDP.Addr, Mapping: r.UDP.Mapping, Filtering: r.UDP.Filtering, Candidates: r.UDP.Candidates, Seen: r.UDP.Seen,
		Interfaces: checkup.Interfaces(), LAN: len(r.LAN), Relays: make([]checkup.Relay, len(r.Relays)),
	}
	for _, p := range r.Peers {
		for _, w := range p.Paths {
			if w.Direct && w.Active {
				n.MaxPacket = max(n.MaxPacket, w.MaxPacket)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	asker := checkup.Asker{Proxy: linkdial.ProxyFromEnvironment()}
	var wg sync.WaitGroup
	for i, x := range r.Relays {
		n.Relays[i] = checkup.Relay{Addr: x.Addr, Up: x.Up, Home: x.Home, State: x.State, RTT: x.RTT, Error: x.Error}
		wg.Go(func() { n.Relays[i].Port = asker.AskRelay(ctx, x.Addr) })
	}
	wg.Wait()
	return n
}
