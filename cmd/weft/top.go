package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/weftnet/weft/cmd/weft/internal/progress"
	"github.com/weftnet/weft/cmd/weft/internal/top"
)

// topInterval is how often weft top asks if nobody says, and topLeast the least pause.
const (
	topInterval = 2 * time.Second
	topLeast    = 100 * time.Millisecond
)

// A topCommand is the command line of weft top.
type topCommand struct {
	socket   string
	asJSON   bool
	interval time.Duration
}

func newTop() *cobra.Command {
	var c topCommand
	cmd := &cobra.Command{
		Use:   "top [NODE]",
		Short: "Watch what the nodes on this machine are doing",
		Long: `Shows the nodes that this user runs on this machine (weft up, relay, serve, forward)
and their peers, again and again: the path of each, its round trip, lost packets, what
comes and goes each second, and open streams. weft status tells more of one moment.

Keys: q quits; up and down scroll; left and right change the node; n, p, t, l, i, o and s
sort by a column, and pressed again, the other way.

Where the output is no terminal, everything is printed once, without what goes each second.
NODE is the ID or name of one of the nodes; without it, all are shown.`,
		Example: `  weft top
  weft top laptop --interval 500ms`,
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completeRunning,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.run(cmd, strings.Join(args, "")) },
	}
	f := cmd.Flags()
	f.StringVar(&c.socket, "socket", "", "socket `file` of the node to ask ("+envSocket+"), where weft up --socket has put it; without it, all that are found")
	f.DurationVar(&c.interval, "interval", topInterval, "how often to ask")
	f.BoolVar(&c.asJSON, "json", false, "print JSON, once: a list of nodes")
	return cmd
}

func (c *topCommand) run(cmd *cobra.Command, who string) error {
	if c.interval < topLeast {
		return usage(cmd, fmt.Errorf("--interval is at least %v", topLeast))
	}
	ask := func(ctx context.Context) ([]top.Node, error) { return c.ask(ctx, who) }
	m := &top.Model{Bytes: bytesOf, Trip: tripTime}
	if in, ok := cmd.InOrStdin().(*os.File); ok && !c.asJSON && progress.IsTerminal(cmd.OutOrStdout()) && term.IsTerminal(int(in.Fd())) {
		return c.watch(cmd, in, m, ask)
	}
	nodes, err := ask(cmd.Context())
	if err != nil {
		return err
	}
	if c.asJSON {
		return printJSON(cmd, nodes)
	}
	for i := range nodes {
		m.Update(nodes[i:i+1], nil)
		for _, line := range m.Lines(topWidth, 0) {
			fmt.Fprintln(cmd.OutOrStdout(), line)
		}
	}
	return nil
}

// topWidth is how wide lines are that no terminal shows, in characters.
const topWidth = 120

// watch shows the nodes until somebody has seen enough.
func (c *topCommand) watch(cmd *cobra.Command, in *os.File, m *top.Model, ask func(context.Context) ([]top.Node, error)) error {
	if _, err := ask(cmd.Context()); err != nil {
		return err // rather than on a screen that is gone at once
	}
	old, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return err
	}
	out, _ := cmd.OutOrStdout().(*os.File)
	size := func() (int, int) {
		w, h, err := term.GetSize(int(out.Fd()))
		if err != nil {
			return 80, 24
		}
		return w, h
	}
	err = top.Run(cmd.Context(), top.Screen{In: in, Out: out, Size: size}, m, c.interval, ask)
	return errors.Join(err, term.Restore(int(in.Fd()), old))
}

// ask asks the nodes, or one of them.
func (c *topCommand) ask(ctx context.Context, who string) ([]top.Node, error) {
	all, err := askWhom(ctx, cmp.Or(c.socket, os.Getenv(envSocket)))
	if err != nil {
		return nil, err
	}
	if who != "" {
		all = only(all, who)
	}
	switch {
	case len(all) == 0 && who != "":
		return nil, fmt.Errorf("no node %q of this user runs here; weft status shows those that do", who)
	case len(all) == 0:
		return nil, errors.New("no node of this user runs here; weft up, weft relay and weft serve are such")
	}
	nodes := make([]top.Node, len(all))
	for i, r := range all {
		nodes[i] = topNode(r, time.Now())
	}
	return nodes, nil
}

// topNode is what weft top shows of a report.
func topNode(r report, at time.Time) top.Node {
	n := top.Node{ID: r.Node, Title: fmt.Sprintf("node %s, network %s", named(r.Node, r.Name), r.Network), At: at, Lines: []string{}, Peers: []top.Peer{}}
	var b strings.Builder
	for _, x := range r.Relays {
		x.write(&b)
	}
	r.UDP.write(&b)
	for _, f := range r.Forwards {
		writeForward(&b, f)
	}
	n.Lines = strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	for _, p := range r.Peers {
		n.Peers = append(n.Peers, top.Peer{
			ID: p.Node, Name: cmp.Or(firstOf(p.Names), p.Node), Path: p.Path, RTT: p.RTT, Streams: p.Conns,
			Received: p.Received, Sent: p.Sent, Packets: p.Packets, Lost: p.Lost,
		})
	}
	return n
}
