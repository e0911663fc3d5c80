package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/diag"
	"github.com/weftnet/weft/cmd/weft/internal/localapi"
	"github.com/weftnet/weft/cmd/weft/internal/tunnel"
	"github.com/weftnet/weft/overlay"
)

// An upCommand is the command line of weft up.
type upCommand struct {
	membership
	forwards
	metricsServer
	statusPage
	socket, linkAddr string
	asJSON, noDoctor bool
}

func newUp() *cobra.Command {
	var u upCommand
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a node that other commands on this machine use",
		Long: `Runs a node until it is told to stop. Other commands of the same user on this
machine use it instead of making a node of their own: their conns are there at
once, over paths that are known already.

They find it by its network: a command uses the node if the secret, invite or
network that its flags and environment tell of is the node's, or if they tell of
none. With several nodes up, --socket says which. The socket is readable by this
user only, and in a directory that nobody else may enter.

Other nodes may ask it for its view of the way between them (weft doctor) and measure
how fast that is (weft bench), on port 49151; --allow says which, --no-doctor none.

A web page shows what the node is doing, to this user: weft status tells its
address, with a token. --status-addr puts it elsewhere; on loopback everybody
on this machine can read it then.

It can forward ports and be a proxy itself: see weft forward for -L and -R.`,
		Example: `  weft up --name laptop --state ~/.weft
  weft up --name laptop -L 2222=kv-1:22 -L 1080 -R 80=127.0.0.1:8080
  weft ping files                      # in another shell, without WEFT_SECRET
  weft up --socket ~/.weft/lab.sock    # and weft ping --socket ~/.weft/lab.sock files`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return u.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&u.socket, "socket", "", "`file` for the socket, in a directory that is this user's alone ("+envSocket+"); without it, other commands find the node by its network")
	f.StringVar(&u.linkAddr, "link-addr", "", "`address` at which peers whose UDP is blocked reach this node over TCP, such as :4000; open it in the firewall")
	f.BoolVar(&u.noDoctor, "no-doctor", false, "answer neither weft doctor nor weft bench of other nodes")
	f.BoolVar(&u.asJSON, "json", false, "print where the node and its forwards are as JSON, one object a line")
	u.metricsFlags(cmd)
	u.statusFlag(cmd)
	u.specFlags(cmd)
	u.nameFlag(cmd)
	u.relayFlag(cmd)
	u.membership.flags(cmd)
	return cmd
}

func (u *upCommand) run(cmd *cobra.Command) error {
	if err := u.checkStatus(cmd); err != nil {
		return err
	}
	specs, err := u.specs(cmd)
	if err != nil {
		return err
	}
	cfg, err := u.membership.config(cmd, logrus.InfoLevel)
	if err != nil {
		return err
	}
	cfg.LinkAddr = u.linkAddr
	if u.socket == "" {
		u.socket = os.Getenv(envSocket)
	}
	networkID, err := networkIDOf(cfg)
	if err != nil {
		return err
	}
	node, err := overlay.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	stopMetrics, err := u.serveMetrics(cmd, node, cfg.Logger)
	if err != nil {
		return err
	}
	defer stopMetrics()
	log, _ := cfg.Logger.(*logrus.Logger)
	forwarding, err := u.forwards.config(cmd, specs, localapi.Own(node), log)
	if err != nil {
		return err
	}
	group, err := tunnel.Start(cmd.Context(), forwarding, specs)
	if err != nil {
		return err
	}
	defer group.Close()
	defer u.serveDiag(cmd, node, forwarding.Allow, cfg.Logger)()
	stopPage, err := u.serveStatus(cmd.Context(), overlay.DebugHandler(node), cfg.Logger)
	if err != nil {
		return err
	}
	defer stopPage()
	return u.serve(cmd, node, cfg, networkID, group)
}

// serve lets other commands use the node until it is told to stop.
func (u *upCommand) serve(cmd *cobra.Command, node *overlay.Node, cfg overlay.Config, networkID string, group *tunnel.Group) error {
	api := localapi.NewServer(node, cfg.Logger)
	defer api.Close()
	socket, err := serveSocket(node, u.socket, func() report {
		r := newReport(node.Status())
		r.Up, r.NetworkID, r.Forwards, r.StatusPage = true, networkID, group.Status(), u.address()
		return r
	}, sameNetwork(cfg, api))
	if err != nil {
		return err
	}
	defer socket.stop()
	if err := node.WaitReady(cmd.Context()); err != nil {
		if cmd.Context().Err() != nil {
			return nil // told to stop before it was ready
		}
		return err
	}
	err = errors.Join(u.announce(cmd, node, socket.file), announceForwards(cmd.OutOrStdout(), group.Status(), u.asJSON))
	if err != nil {
		return err
	}
	return untilStopped(cmd.Context(), group)
}

// serveDiag answers weft doctor and weft bench, unless that is not wanted, until stop
// is called. That it does not work is no reason not to run the node.
func (u *upCommand) serveDiag(cmd *cobra.Command, node *overlay.Node, allow *overlay.Rule, log logrus.FieldLogger) (stop func()) {
	if u.noDoctor {
		return func() {}
	}
	s, err := diag.Serve(cmd.Context(), diag.Config{Node: node, Allow: allow, Version: version(), Logger: log})
	if err != nil {
		log.WithError(err).Warn("weft doctor and weft bench of other nodes get no answer")
		return func() {}
	}
	return func() { _ = s.Close() }
}

// announce prints who is up, and where.
func (u *upCommand) announce(cmd *cobra.Command, node *overlay.Node, socket string) error {
	st := node.Status()
	if u.asJSON {
		return printLine(cmd.OutOrStdout(), struct {
			Node       string `json:"node"`
			Name       string `json:"name,omitempty"`
			Network    string `json:"network"`
			Socket     string `json:"socket"`
			StatusPage string `json:"status_page,omitempty"`
		}{st.ID.String(), st.Name, st.Network, socket, u.address()})
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "up as %s, network %s, socket %s\n", named(st.ID.String(), st.Name), st.Network, socket)
	return errors.Join(err, u.announcePage(cmd.OutOrStdout()))
}
