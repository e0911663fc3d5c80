package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/tunnel"
)

func newStatus() *cobra.Command {
	var asJSON bool
	var socket string
	cmd := &cobra.Command{
		Use:   "status [NODE]",
		Short: "Show what the nodes on this machine are doing",
		Long: `Asks the nodes that this user runs on this machine (weft up, relay, serve, forward) how
they are: their relays, their addresses, and for each peer every path with its
state, round trip, loss and bytes, and why a better one is not in use.

NODE is the ID or name of one of them; without it, all are shown.`,
		Example: `  weft status
  weft status files --json`,
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completeRunning,
		RunE:              func(cmd *cobra.Command, args []string) error { return status(cmd, args, socket, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: a list of nodes")
	cmd.Flags().StringVar(&socket, "socket", "", "socket `file` of the node to ask ("+envSocket+"), where weft up --socket has put it; without it, all that are found")
	return cmd
}

func status(cmd *cobra.Command, args []string, socket string, asJSON bool) error {
	all, err := askWhom(cmd.Context(), socket)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		all = only(all, args[0])
	}
	if len(all) == 0 {
		if len(args) == 1 {
			return fmt.Errorf("no node %q of this user runs here; weft status shows those that do", args[0])
		}
		return errors.New("no node of this user runs here; weft up, weft relay and weft serve are such")
	}
	if asJSON {
		return printJSON(cmd, all)
	}
	for i, r := range all {
		if i > 0 {
			fmt.Fprintln(cmd.OutOrStdout())
		}
		r.write(cmd.OutOrStdout())
	}
	return nil
}

// askWhom asks the node on a socket, or all that are found if there is no socket.
func askWhom(ctx context.Context, socket string) ([]report, error) {
	if socket == "" || socket == noSocket {
		return askAll(ctx)
	}
	r, err := askSocket(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("no node answers at %s: %w", socket, err)
	}
	return []report{r}, nil
}

// only returns the nodes with an ID or name.
func only(all []report, who string) (some []report) {
	for _, r := range all {
		if strings.EqualFold(r.Node, who) || r.Name != "" && strings.EqualFold(r.Name, who) {
			some = append(some, r)
		}
	}
	return some
}

// write writes a report for people.
func (r report) write(w io.Writer) {
	fmt.Fprintf(w, "node %s, network %s, layer %s\n", named(r.Node, r.Name), r.Network, r.Layer)
	if r.AlsoAccepted > 0 {
		fmt.Fprintf(w, "accepts members by other secrets of the network: %d\n", r.AlsoAccepted)
	}
	if r.StatusPage != "" {
		fmt.Fprintf(w, "status page %s\n", r.StatusPage)
	}
	if len(r.Ports) > 0 {
		fmt.Fprintf(w, "listens on port %s\n", strings.Trim(fmt.Sprint(r.Ports), "[]"))
	}
	for _, x := range r.Relays {
		x.write(w)
	}
	r.UDP.write(w)
	if l := r.Links; l != nil {
		fmt.Fprintf(w, "accepts links at %s: %d from peers, %d that have proven nothing yet, %d refused, %d given up\n", l.Addr, l.Links, l.Waiting, l.Refused, l.Unproven)
	}
	if len(r.Peers) == 0 {
		fmt.Fprintln(w, "no peers")
	}
	for _, p := range r.Peers {
		p.write(w)
	}
	for _, f := range r.Forwards {
		writeForward(w, f)
	}
}

func writeForward(w io.Writer, f tunnel.Status) {
	fmt.Fprintf(w, "forward %s: open %d of %d, sent %s, received %s", forwardLine(f), f.Open, f.Total, bytesOf(f.Sent), bytesOf(f.Received))
	for _, c := range []struct {
		n    uint64
		what string
	}{{f.Failed, "failed"}, {f.Refused, "refused for want of room"}, {f.Broken, "broken"}, {f.Dropped, "packets dropped"}} {
		if c.n > 0 {
			fmt.Fprintf(w, ", %d %s", c.n, c.what)
		}
	}
	fmt.Fprintln(w)
}

func (r relayReport) write(w io.Writer) {
	role := "relay"
	switch {
	case r.Home:
		role = "home "
	case r.Up:
		role = "spare"
	}
	fmt.Fprintf(w, "%s %s: %s", role, r.Addr, r.State)
	if r.Up {
		fmt.Fprintf(w, ", round trip %s", tripTime(r.RTT))
	}
	if r.Throttled > 0 {
		fmt.Fprintf(w, ", throttled %d times", r.Throttled)
	}
	if r.Error != "" && !r.Up {
		fmt.Fprintf(w, ": %s", r.Error)
	}
	fmt.Fprintln(w)
}

func (u udpReport) write(w io.Writer) {
	if u.Addr == "" {
		fmt.Fprintln(w, "no UDP socket")
		return
	}
	fmt.Fprintf(w, "UDP %s; NAT mapping %s, filtering %s\n", u.Addr, cmp.Or(u.Mapping, "unknown"), cmp.Or(u.Filtering, "unknown"))
	if len(u.Candidates) > 0 {
		fmt.Fprintf(w, "  reachable at %s\n", strings.Join(u.Candidates, ", "))
	}
}

func (p peerReport) write(w io.Writer) {
	fmt.Fprintf(w, "peer %s: streams %d, sent %s, received %s, lost %s\n",
		named(p.Node, strings.Join(p.Names, ", ")), p.Conns, bytesOf(p.Sent), bytesOf(p.Received), share(p.Lost, p.Packets))
	for _, x := range p.Paths {
		mark := ' '
		if x.Active {
			mark = '*'
		}
		fmt.Fprintf(w, "  %c %s: %s, round trip %s, lost %s, sent %s", mark, x.Path, x.State, tripTime(x.RTT), share(x.Lost, x.Packets), bytesOf(x.Sent))
		if x.Direct {
			fmt.Fprintf(w, ", received %s, packets to %d bytes", bytesOf(x.Received), x.MaxPacket)
		}
		if x.Reason != "" {
			fmt.Fprintf(w, " (%s)", x.Reason)
		}
		fmt.Fprintln(w)
	}
	if p.NotDirect != "" {
		fmt.Fprintf(w, "    not direct: %s\n", p.NotDirect)
	}
}

// named is an ID with the name that goes with it, if any.
func named(id, name string) string {
	if name == "" {
		return id
	}
	return name + " (" + id + ")"
}

// tripTime is a round trip in milliseconds, for people.
func tripTime(ms float64) string {
	switch {
	case ms == 0:
		return "unknown"
	case ms < 1:
		return fmt.Sprintf("%.0f µs", ms*1000)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// share is a part of a whole in percent.
func share(part, whole uint64) string {
	if whole == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.2g %%", 100*float64(part)/float64(whole))
}

// bytesOf is a number of bytes with a unit of powers of 1000.
func bytesOf(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n), "kMGTPE"
	for i := range units {
		if v /= 1000; v < 999.5 || i == len(units)-1 {
			return fmt.Sprintf("%.3g %cB", v, units[i])
		}
	}
	return ""
}
