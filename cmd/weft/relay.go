package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/metrics"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// defaultGrace is how long a command that was told to stop waits for others.
const defaultGrace = 10 * time.Second

// A relayCommand is the command line of weft relay.
type relayCommand struct {
	membership
	statusPage
	listen, addrFile string
	grace            time.Duration
	allow            []string            // who is served
	front, metrics   []string            // of IP addresses and networks
	also             []string            // other networks
	acceptedBy       map[string][]string // by those besides their secrets
	server           relay.Server        // its limits are flags
}

func newRelay() *cobra.Command {
	var r relayCommand
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Run a relay, over which other nodes meet",
		Long: `Runs a relay on a machine that the other nodes can reach. They find each
other through it and exchange sealed packets over it, which it cannot read.
Any node with the network's secret can be one, or with an invite that gives the
role "relay"; such an invite's relays are its --peer unless others are named.

Without a secret, an invite or --open it is the first of a new network: it makes
a secret, keeps it beside its key, and prints the line that the next machine runs
to join. Started again it goes on with what it has kept: in --state, or without
that in ~/.local/state/weft-relay.

The port takes everything: links as tcp://, as ws:// and, with a web server in
front that has a certificate and passes /link on, as wss://; health and metrics
over HTTP (/healthz, /readyz, /metrics); STUN on UDP.

A web page shows what the relay is doing: weft status tells its address, with a
token. With --status-addr it is elsewhere, on loopback for all of this machine.

SIGTERM and SIGINT end it: the nodes are told, and have some time to go to
another relay. A second signal ends it at once.

Several relays that are each other's --peer form a backbone: nodes of one reach
those of all others. It is enough if one of two relays knows the other. Nodes
learn of relays other than their own from where these are --public, or from
where another relay's --peer says that they are.

With --also, the same port serves other networks: nodes of one see nothing of
another's, each network has the limits for itself, and the metrics tell the
networks apart. Other relays are the --peer of all networks that they serve.
--also-accept-file name=file is for such a network, while its secret is replaced.`,
		Example: `  weft relay                                        # a new network
  export WEFT_SECRET=$(weft secret)
  weft relay --listen :9999 --state /var/lib/weft
  weft relay --listen :9999 --peer relay-1.example.org:9999
  weft relay --listen :9999 --also lab=/etc/weft/lab.secret`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&r.listen, "listen", ":9999", "`address` for links, HTTP and, on UDP, STUN; with port 0 the system picks one")
	f.StringVar(&r.addrFile, "addr-file", "", "`file` to write the address to, once the relay listens there")
	f.StringSliceVar(&r.server.Peers, "peer", nil, "`host:port` of another relay of the network, to which nodes of this one are then connected; may be repeated")
	f.StringSliceVar(&r.server.Addrs, "public", nil, "`host:port` or wss://host at which nodes reach this relay, for those of other relays; may be repeated (default the address of --listen, if that names a machine)")
	f.StringSliceVar(&r.front, "behind", nil, "`IP` address or network of a web server in front of the relay, whose X-Forwarded-For is believed; may be repeated")
	f.StringSliceVar(&r.metrics, "metrics-from", nil, "`IP` address or network that may read /metrics; may be repeated (default loopback)")
	f.StringSliceVar(&r.allow, "allow", nil, "`who` is served besides other relays: a node ID, a key, a name, or role:NAME; may be repeated (default all members of the network)")
	f.DurationVar(&r.grace, "grace", defaultGrace, "how long nodes have to leave when the relay stops")
	f.IntVar(&r.server.MaxLinks, "max-links", 0, fmt.Sprintf("how many links are accepted (default %d, negative: no limit)", relay.DefaultMaxLinks))
	f.IntVar(&r.server.MaxLinksPerAddress, "max-links-per-address", 0, fmt.Sprintf("how many of them may come from one IPv4 address or IPv6 /64 network (default %d, negative: no limit for addresses)", relay.DefaultMaxLinksPerAddress))
	f.IntVar(&r.server.BytesPerSecond, "bytes-per-second", 0, "how many bytes are forwarded for each node (default no limit)")
	f.IntVar(&r.server.PacketsPerSecond, "packets-per-second", 0, "how many packets are forwarded for each node (default no limit)")
	f.IntVar(&r.server.MaxLearnedPeers, "max-learned-peers", 0, fmt.Sprintf("how many relays are dialled that others tell of (default %d, negative: none)", relay.DefaultMaxLearnedPeers))
	r.statusFlag(cmd)
	r.alsoFlag(cmd)
	r.nameFlag(cmd)
	r.flags(cmd)
	return cmd
}

// check refuses flags that make no sense, and reads those that are addresses.
func (r *relayCommand) check(cmd *cobra.Command) error {
	if r.server.BytesPerSecond < 0 || r.server.PacketsPerSecond < 0 {
		return usage(cmd, errors.New("how much may be forwarded? Say a positive limit, or 0 for none"))
	}
	for _, addr := range r.server.Peers {
		if _, err := link.ParseAddr(addr); err != nil {
			return usage(cmd, fmt.Errorf("where is the other relay? %w", err))
		}
	}
	for _, addr := range r.server.Addrs {
		if _, err := link.ParseAddr(addr); err != nil {
			return usage(cmd, fmt.Errorf("where do nodes reach the relay? %w", err))
		}
	}
	var err error
	if r.server.Allow, err = parseRule(r.allow); err != nil {
		return usage(cmd, fmt.Errorf("who may use the relay? %w", err))
	}
	if r.server.Proxies, err = parsePrefixes(r.front); err != nil {
		return usage(cmd, fmt.Errorf("where is the web server? %w", err))
	}
	if r.server.MetricsFrom, err = parsePrefixes(r.metrics); err != nil {
		return usage(cmd, fmt.Errorf("who may read the metrics? %w", err))
	}
	return r.checkStatus(cmd)
}

func (r *relayCommand) run(cmd *cobra.Command) error {
	if err := r.check(cmd); err != nil {
		return err
	}
	if err := r.splitAccepted(cmd); err != nil {
		return err
	}
	isNew, err := r.setUp()
	if err != nil {
		return err
	}
	cfg, err := r.config(cmd, logrus.InfoLevel)
	if err != nil {
		return err
	}
	cfg.NoDirect = true // its nodes have links to it
	if err := r.asInvited(cmd, cfg); err != nil {
		return err
	}
	node, err := overlay.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	defer openSocketWith(node, cfg.Logger, func(p *report) { p.StatusPage = r.address() })()
	ln, pc, err := listenPort(cmd.Context(), r.listen, cfg.Logger)
	if err != nil {
		return err
	}
	defer ln.Close()
	if pc != nil {
		defer pc.Close()
	}
	if r.addrFile != "" {
		if err := writeWhole(r.addrFile, ln.Addr().String()+"\n"); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), greeting(node.ID(), cfg, ln.Addr())); err != nil {
		return err
	}
	if filepath.Base(r.secretFile) == networkSecret {
		if err := r.tellHowToJoin(cmd, cfg, ln.Addr(), isNew, cfg.Logger); err != nil {
			return err
		}
	}
	if ap, err := netip.ParseAddrPort(ln.Addr().String()); err == nil && !ap.Addr().IsUnspecified() && r.server.Addrs == nil {
		r.server.Addrs = []string{ln.Addr().String()}
	}
	r.server.Host, r.server.Name, r.server.Version = node, node.Name(), version()
	if r.server.Metrics, err = metrics.Handler(version(), cfg.Logger, metrics.NewRelay(&r.server)); err != nil {
		return err
	}
	others, err := r.serveAlso(cmd, cfg, node.Status().Network)
	defer closeAll(others)
	if err != nil {
		return err
	}
	return r.serveWithPage(cmd, node, others, ln, pc, cfg.Logger)
}

// serveWithPage serves, and shows the status page meanwhile.
func (r *relayCommand) serveWithPage(cmd *cobra.Command, node *overlay.Node, others []*alsoServed, ln net.Listener, pc net.PacketConn, log logrus.FieldLogger) error {
	stopPage, err := r.serveStatus(cmd.Context(), r.server.DebugHandler(), log)
	if err != nil {
		return err
	}
	defer stopPage()
	if err := r.announcePage(cmd.OutOrStdout()); err != nil {
		return err
	}
	return r.serve(cmd.Context(), node, others, ln, pc, log)
}

// serve serves until ctx ends, and lets the nodes leave.
func (r *relayCommand) serve(ctx context.Context, node *overlay.Node, others []*alsoServed, ln net.Listener, pc net.PacketConn, log logrus.FieldLogger) error {
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(ln) }()
	if pc != nil {
		answering := make(chan struct{})
		defer func() { <-answering }()
		go func(ctx context.Context) {
			defer close(answering)
			if err := serveSTUN(ctx, &r.server, pc); !errors.Is(err, relay.ErrServerClosed) {
				log.WithError(err).Warn("no more STUN")
			}
		}(ctx)
	}
	select {
	case err := <-served:
		return errors.Join(err, r.server.Close())
	case <-ctx.Done():
	}
	log.Infof("stopping: nodes have %v to leave", r.grace)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.grace)
	defer cancel()
	if err := shutdown(ctx, &r.server, others); err != nil {
		log.Info("some nodes have not left in time")
	}
	if err := <-served; !errors.Is(err, relay.ErrServerClosed) {
		return err
	}
	_ = node.Shutdown(ctx) // without a grace of its own
	stats := r.server.Stats()
	log.Infof("stopped after %d links, %d packets and %d bytes", stats.Accepted, stats.Forwarded, stats.ForwardedBytes)
	return nil
}

// greeting says who the relay is, where, and how to join.
func greeting(id overlay.NodeID, cfg overlay.Config, addr net.Addr) string {
	join := overlay.EnvRelays + "=" + reachable(addr)
	if cfg.Network != "" {
		join += " " + overlay.EnvNetwork + "=" + cfg.Network
	}
	switch {
	case cfg.Open:
		join += " " + overlay.EnvOpen + "=1"
	case cfg.Invite != "":
		join += " and an invite to the same network"
	default:
		join += " and the same " + overlay.EnvSecret
	}
	return fmt.Sprintf("relay %s at %s; nodes join with %s", id, addr, join)
}

// reachable is an address as others may write it.
func reachable(addr net.Addr) string {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil || !ap.Addr().IsUnspecified() {
		return addr.String()
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return fmt.Sprintf("%s:%d", host, ap.Port())
}

// writeWhole writes a file such that nobody sees half of it.
func writeWhole(file, content string) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(content)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
