package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/overlay"
)

// defaultTTL is how long an invite lives unless --ttl says otherwise.
const defaultTTL = 24 * time.Hour

// An inviteCommand is the command line of weft invite.
type inviteCommand struct {
	membership
	ttl          time.Duration
	names, roles []string
	note         string
}

func newInvite() *cobra.Command {
	var i inviteCommand
	cmd := &cobra.Command{
		Use:   "invite",
		Short: "Make an invite, with which somebody joins without the secret",
		Long: `Prints an invite: a token of one line that makes whoever has it a member of
the network until it expires. It is made from the network's secret, without any
connection, and cannot be turned back into it. A node needs nothing else:

	export WEFT_INVITE=weft-invite-1-...
	weft get http://files/hello.txt

Nodes with the invite may have the names that it gives and no others, and have
its roles; with --role relay they can be relays. Each makes a key of its own.
Before it expires they have to be started with a new one, if they are to stay.

Keep the token as you would a password. What it is for is written to standard
error; weft network shows it again. The relays in it are those of --relay or
WEFT_RELAYS.`,
		Example: `  weft invite --ttl 720h --name kv-1 --note "the new database" > kv-1.invite
  weft invite --role relay --ttl 8760h`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return i.run(cmd) },
	}
	f := cmd.Flags()
	f.DurationVar(&i.ttl, "ttl", defaultTTL, fmt.Sprintf("how `long` the invite lives, at most %dh", int(identity.MaxInviteLife.Hours())))
	f.StringSliceVar(&i.names, "name", nil, "`name` that its nodes may have; may be repeated (default none: they are dialled by ID or key)")
	f.StringSliceVar(&i.roles, "role", nil, "`role` that its nodes have, such as relay; may be repeated")
	f.StringSliceVar(&i.relays, "relay", nil, "`address` of a relay that its nodes use; may be repeated ("+overlay.EnvRelays+", separated by commas)")
	f.StringVar(&i.note, "note", "", "`text` for people who look at the invite")
	i.secretFlags(cmd)
	return cmd
}

func (i *inviteCommand) run(cmd *cobra.Command) error {
	cfg, err := i.secretConfig(cmd)
	if err != nil {
		return err
	}
	relays := cfg.Relays
	if len(i.relays) > 0 {
		relays = i.relays
	}
	token, made, err := overlay.NewInvite(cfg.Network, cfg.Secret, overlay.Invite{
		Expires: time.Now().Add(i.ttl), Names: i.names, Roles: i.roles, Relays: relays, Note: i.note,
	})
	if err != nil {
		return err
	}
	if len(relays) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "weft: the invite names no relay, so that its nodes have to be told one; say --relay HOST:PORT")
	}
	fmt.Fprint(cmd.ErrOrStderr(), describeInvite(made, time.Now()))
	_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
	return err
}

// secretConfig is the environment and the flags of a command that needs the
// network's secret itself.
func (m *membership) secretConfig(cmd *cobra.Command) (overlay.Config, error) {
	cfg, _ := overlay.ConfigFromEnv()
	override(&cfg.Network, m.network)
	if m.secretFile != "" {
		var err error
		if cfg.Secret, err = readSecret(m.secretFile, "secret"); err != nil {
			return cfg, err
		}
	}
	if cfg.Secret == "" {
		return cfg, usage(cmd, errors.New("what is the network's secret? Set "+overlay.EnvSecret+" or say --secret-file FILE; an invite is not enough"))
	}
	return cfg, m.applyAccepted(cmd, &cfg)
}

// describeInvite says what an invite is for, a line each.
func describeInvite(in overlay.Invite, now time.Time) string {
	var b strings.Builder
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-8s  %s\n", what, text)
		}
	}
	line("invite", in.ID.String())
	line("network", in.Network)
	line("id", fmt.Sprintf("%x", in.NetworkID))
	left := "expired"
	if in.Expires.After(now) {
		left = "in " + in.Expires.Sub(now).Round(time.Minute).String()
	}
	line("expires", in.Expires.UTC().Format(time.RFC3339)+" ("+left+")")
	line("names", orNone(in.Names))
	line("roles", orNone(in.Roles))
	line("relays", orNone(in.Relays))
	line("note", in.Note)
	return b.String()
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, " ")
}

// asInvited lets a relay that is a member by an invite find the others.
func (r *relayCommand) asInvited(cmd *cobra.Command, cfg overlay.Config) error {
	if cfg.Invite == "" {
		return nil
	}
	in, err := overlay.ReadInvite(cfg.Invite)
	if err != nil {
		return err
	}
	if !slices.Contains(in.Roles, identity.RoleRelay) {
		return usage(cmd, fmt.Errorf("may this node be a relay? Its invite gives the roles: %s; make one with weft invite --role relay", orNone(in.Roles)))
	}
	if r.server.Peers == nil {
		r.server.Peers = in.Relays
	}
	return nil
}

func newNetwork() *cobra.Command {
	var m membership
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "network",
		Short: "Show which network a secret or an invite is for",
		Long: `Shows the name and the ID of the network that the secret or the invite of this
environment, or of the flags, is for; and of an invite when it expires and what
it gives. It shows neither the secret nor the token, and connects to nothing.

The ID stays when the secret is replaced (weft secret rotate). The CA does not: its
name, which is no secret, lets a node accept members by another secret without
knowing that.`,
		Example: `  weft network --invite kv-1.invite`,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return m.show(cmd, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	m.memberFlags(cmd)
	return cmd
}

// A networkReport is what a secret or an invite is for.
type networkReport struct {
	By      string     `json:"by"` // secret, invite or open
	Network string     `json:"network"`
	ID      string     `json:"id"`
	CA      string     `json:"ca,omitempty"`
	Accepts []string   `json:"accepts,omitempty"`
	Relays  []string   `json:"relays,omitempty"`
	Invite  string     `json:"invite,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	Names   []string   `json:"names,omitempty"`
	Roles   []string   `json:"roles,omitempty"`
	Note    string     `json:"note,omitempty"`
}

// reportNetwork says what the network of a config is, and in, if there is one.
func reportNetwork(n *identity.Network, in *overlay.Invite, relays []string) networkReport {
	r := networkReport{By: "secret", Network: n.Name(), ID: fmt.Sprintf("%x", n.ID()), Relays: relays}
	if n.Open() {
		r.By = "open"
		return r
	}
	r.CA, r.Accepts = n.CA(), n.Accepted()
	if in != nil {
		r.By, r.Invite, r.Expires, r.Names, r.Roles, r.Relays, r.Note = "invite", in.ID.String(), &in.Expires, in.Names, in.Roles, in.Relays, in.Note
	}
	return r
}

// show is weft network.
func (m *membership) show(cmd *cobra.Command, asJSON bool) error {
	cfg, _ := overlay.ConfigFromEnv()
	override(&cfg.Network, m.network)
	if err := m.applySecrecy(cmd, &cfg); err != nil {
		return err
	}
	if cfg.Invite != "" {
		cfg.Network = "" // the invite says it
	}
	n, err := identity.OpenNetwork(identity.NetworkConfig{Name: cfg.Network, Secret: cfg.Secret, Invite: cfg.Invite, Open: cfg.Open}, cfg.AlsoAccept...)
	if err != nil {
		return err
	}
	if n.Invite() != nil {
		in, err := overlay.ReadInvite(cfg.Invite)
		if err != nil {
			return err
		}
		if asJSON {
			return printLine(cmd.OutOrStdout(), reportNetwork(n, &in, nil))
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), describeInvite(in, time.Now()), authorities(n))
		return err
	}
	if asJSON {
		return printLine(cmd.OutOrStdout(), reportNetwork(n, nil, cfg.Relays))
	}
	kind := "the network's secret, with which everything can be done"
	if n.Open() {
		kind = "none: the network is open to everybody"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "secret    %s\nnetwork   %s\nid        %x\n%s%s", kind, n.Name(), n.ID(), authorities(n), relaysLine(cfg.Relays))
	return err
}

// authorities names the network's CA, and others that are accepted.
func authorities(n *identity.Network) string {
	if n.Open() {
		return ""
	}
	var text strings.Builder
	text.WriteString("ca        " + n.CA() + "\n")
	for _, ca := range n.Accepted() {
		text.WriteString("accepts   " + ca + "\n")
	}
	return text.String()
}

// relaysLine says which relays the environment names, if any.
func relaysLine(relays []string) string {
	if len(relays) == 0 {
		return ""
	}
	return "relays    " + strings.Join(relays, " ") + " (" + overlay.EnvRelays + ")\n"
}
