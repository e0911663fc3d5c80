package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/cmd/weft/internal/tunnel"
)

// toStdin is the one value of --to.
const toStdin = "stdin"

// A forwardCommand is the command line of weft forward.
type forwardCommand struct {
	guest
	forwards
	to     string
	asJSON bool
}

func newForward() *cobra.Command {
	var c forwardCommand
	cmd := &cobra.Command{
		Use:   "forward {-L ... | -R ...} | --to stdin NODE:PORT",
		Short: "Forward TCP and UDP ports to nodes, and from a node",
		Long: `Forwards until it is told to stop. -L makes a port of this machine one of a node;
-R makes a port of this node, which other nodes can dial, one of a target that is
reached from this machine. Both may be repeated, in any mix. Local ports listen on
127.0.0.1 unless they say where: '*:2222=kv-1:22'.

The end of one direction, and resets, are passed on as such. With udp/ before the
port, packets are forwarded: each sender is a flow of its own.

A target may be chosen for each conn. -L 1080 is a proxy for SOCKS 5 and HTTP, where
programs name nodes such as kv-1.weft (see weft socks). -R 9000=* is one for nodes,
which name targets that --allow-target allows; they reach it by
-L 5432=kv-1:9000/db.internal:5432.

--to stdin dials NODE:PORT once and connects it with standard input and output, as
ssh wants it of a ProxyCommand.

It uses the node of weft up if there is one of the same network, also for -R: the
ports are then that node's. Otherwise it makes one, which for -R should have a --name.`,
		Example: `  weft forward -L 2222=kv-1:22                     # then: ssh -p 2222 localhost
  weft forward --name kv-1 -R 22=127.0.0.1:22 -R 80=127.0.0.1:8080 --allow role:admin
  weft forward -L udp/5353=kv-1:53                 # then: dig @127.0.0.1 -p 5353 example.org
  weft forward --name gate -R '9000=*' --allow-target '*.internal:5432'
  ssh -o ProxyCommand='weft forward --to stdin %h:%p' kv-1`,
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completeNodes(":"),
		RunE:              func(cmd *cobra.Command, args []string) error { return c.run(cmd, args) },
	}
	f := cmd.Flags()
	c.specFlags(cmd)
	f.StringVar(&c.to, "to", "", "what to connect NODE:PORT with: `stdin`, for standard input and output")
	f.BoolVar(&c.asJSON, "json", false, "print where the forwards listen as JSON, one object a line")
	c.nameFlag(cmd)
	c.guest.flags(cmd)
	return cmd
}

func (c *forwardCommand) run(cmd *cobra.Command, args []string) error {
	if c.to != "" || len(args) > 0 {
		return c.stdio(cmd, args)
	}
	specs, err := c.specs(cmd)
	if err != nil {
		return err
	}
	if len(specs) == 0 {
		return usage(cmd, errors.New("what should be forwarded? Say -L PORT=NODE:PORT, -R PORT=HOST:PORT, or --to stdin NODE:PORT"))
	}
	if len(c.remote) == 0 {
		c.errand(cmd)
	}
	return runForwards(cmd, &c.guest, &c.forwards, specs, c.asJSON)
}

// errand makes the node one that only dials, which should not take the place of a
// server on this machine by a name or key that the environment or a file says.
func (c *forwardCommand) errand(cmd *cobra.Command) {
	c.short = true
	for name, value := range map[string]*string{"name": &c.name, "state": &c.state} {
		if !cmd.Flags().Changed(name) {
			*value = ""
		}
	}
}

// runForwards forwards until the command is told to stop.
func runForwards(cmd *cobra.Command, g *guest, o *forwards, specs []tunnel.Spec, asJSON bool) error {
	node, err := g.node(cmd, logrus.InfoLevel)
	if err != nil {
		return err
	}
	defer node.Close()
	cfg, err := o.config(cmd, specs, node, node.log)
	if err != nil {
		return err
	}
	group, err := tunnel.Start(cmd.Context(), cfg, specs)
	if err != nil {
		return err
	}
	defer group.Close()
	if node.own != nil {
		defer openSocketWith(node.own, node.log, func(r *report) { r.Forwards = group.Status() })()
	}
	if err := node.WaitReady(cmd.Context()); err != nil {
		if cmd.Context().Err() != nil {
			return nil // told to stop before it was ready
		}
		return err
	}
	if err := announceForwards(cmd.OutOrStdout(), group.Status(), asJSON); err != nil {
		return err
	}
	err = untilStopped(cmd.Context(), group)
	for _, f := range group.Status() {
		node.log.WithFields(logrus.Fields{
			"total": f.Total, "failed": f.Failed, "refused": f.Refused, "broken": f.Broken, "sent": f.Sent, "received": f.Received,
		}).Infof("%s ends", forwardLine(f))
	}
	return err
}

// stdio connects a port of a node with standard input and output.
func (c *forwardCommand) stdio(cmd *cobra.Command, args []string) error {
	switch {
	case c.to != toStdin:
		return usage(cmd, errors.New("what should the node's port be connected with? Say --to stdin NODE:PORT"))
	case len(args) == 0:
		return usage(cmd, errors.New("which port of which node? Say --to stdin NODE:PORT"))
	case len(c.local)+len(c.remote) > 0:
		return usage(cmd, errors.New("--to is for itself; say -L and -R in another command"))
	}
	// The text behind = in -L is what is wanted here.
	spec, err := tunnel.ParseLocal("1=" + args[0])
	if err != nil {
		return usage(cmd, err)
	}
	c.errand(cmd)
	node, err := c.node(cmd, logrus.ErrorLevel)
	if err != nil {
		return err
	}
	defer node.Close()
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), c.dialTimeout, fmt.Errorf("nothing after %v", c.dialTimeout))
	conn, err := tunnel.DialVia(ctx, node, spec.Target, spec.Via)
	cancel()
	if err != nil {
		return err
	}
	err = join.Conns(cmd.Context(), newStdio(cmd), conn, nil)
	if err != nil && cmd.Context().Err() == nil {
		return fmt.Errorf("the conn has ended in disorder: %s", join.Why(err))
	}
	return nil
}

// A stdio is standard input and output as a conn.
type stdio struct {
	net.Conn // nil: nobody asks for deadlines
	in       *io.PipeReader
	out      io.Writer
}

// newStdio begins to read standard input. Nothing interrupts that but its end, or that of
// the process.
func newStdio(cmd *cobra.Command) *stdio {
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, cmd.InOrStdin())
		_ = w.CloseWithError(err)
	}()
	return &stdio{in: r, out: cmd.OutOrStdout()}
}

func (s *stdio) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *stdio) Write(b []byte) (int, error) { return s.out.Write(b) }

// CloseWrite closes standard output, which is how the other side of a pipe hears of the
// end.
func (s *stdio) CloseWrite() error {
	if c, ok := s.out.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Close implements net.Conn.
func (s *stdio) Close() error {
	_ = s.in.CloseWithError(os.ErrClosed)
	return s.CloseWrite()
}

// RemoteAddr implements net.Conn.
func (s *stdio) RemoteAddr() net.Addr { return stdioAddr{} }

// LocalAddr implements net.Conn.
func (s *stdio) LocalAddr() net.Addr { return stdioAddr{} }

type stdioAddr struct{}

func (stdioAddr) Network() string { return "stdio" }
func (stdioAddr) String() string  { return "standard input and output" }
