package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/overlay"
)

// revokeTimeout is how long weft revoke waits for each relay.
const revokeTimeout = 10 * time.Second

// A revokeCommand is the command line of weft revoke.
type revokeCommand struct {
	membership
	invites, nodes []string
	out, in        string
	lasts, timeout time.Duration
}

func newRevoke() *cobra.Command {
	var r revokeCommand
	cmd := &cobra.Command{
		Use:   "revoke",
		Short: "Take back an invite or a node's key before its end",
		Long: `Signs, with the network's secret, that an invite or a node's key is revoked, and
hands that to each relay of --relay or WEFT_RELAYS. These tell the other relays
and all nodes, which end their sessions with those who are revoked, let nobody in
with the invite or the key any more, and remember it over restarts.

A node that has the secret can make itself another key, and so can one that has
an invite: revoke that. Whoever knows the secret is only kept out by a new one.

An invite is named by its ID, which weft invite, weft network and the other
side's logs show, or by a file that holds it; a node by its key (weft id).

With --out the revocation is kept in a file, too, and without a relay only there;
--in hands on what is in such a file, which is no secret, and needs an invite or
the secret only to be a member.`,
		Example: `  weft revoke --invite-id 0123456789abcdef
  weft revoke --node KEY --for 720h --out thief.revocation
  weft revoke --in thief.revocation`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&r.invites, "invite-id", nil, "`ID` of an invite to revoke; may be repeated")
	f.StringVar(&r.invite, "invite", "", "`file` that holds an invite to revoke, or the invite itself; with --in, the invite by which to be a member")
	f.StringSliceVar(&r.nodes, "node", nil, "`key` of a node to revoke; may be repeated")
	f.DurationVar(&r.lasts, "for", 0, "how `long` it holds (default: for a node's key for ever, for an invite until any invite has ended)")
	f.StringVar(&r.out, "out", "", "`file` in which to keep it")
	f.StringVar(&r.in, "in", "", "`file` of which to hand on what is in it")
	f.StringSliceVar(&r.relays, "relay", nil, "`address` of a relay to tell; may be repeated ("+overlay.EnvRelays+", separated by commas)")
	f.DurationVar(&r.timeout, "timeout", revokeTimeout, "how long to wait for each relay")
	r.secretFlags(cmd)
	r.alsoAcceptFlag(cmd)
	return cmd
}

func (r *revokeCommand) run(cmd *cobra.Command) error {
	cfg, err := r.memberConfig(cmd)
	if err != nil {
		return err
	}
	list, err := r.revocations(cmd, cfg)
	if err != nil {
		return err
	}
	if r.out != "" {
		if err := os.WriteFile(r.out, []byte(strings.Join(list, "\n")+"\n"), 0o644); err != nil {
			return fmt.Errorf("the revocation cannot be kept, and was not handed on: %w", err)
		}
	}
	if len(cfg.Relays) == 0 {
		if r.out != "" {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "kept in %s; no relay was told, weft revoke --in %[1]s does that\n", r.out)
			return err
		}
		return usage(cmd, errors.New("which relay is to be told? Set "+overlay.EnvRelays+" or say --relay HOST:PORT, or --out FILE to keep it for later"))
	}
	return r.tell(cmd, cfg, list)
}

// memberConfig is who the command is: somebody with the secret, or to hand on
// what was signed before any member.
func (r *revokeCommand) memberConfig(cmd *cobra.Command) (overlay.Config, error) {
	var cfg overlay.Config
	var err error
	if r.in == "" {
		cfg, err = r.secretConfig(cmd)
		cfg.Invite, cfg.Open = "", false
	} else {
		cfg, _ = overlay.ConfigFromEnv()
		override(&cfg.Network, r.network)
		err = r.applySecrecy(cmd, &cfg)
		if cfg.Secret != "" {
			cfg.Invite = ""
		}
	}
	// Not who the environment says, but somebody new on one errand.
	cfg.Name, cfg.StateDir, cfg.NoDirect, cfg.NoLAN = "", "", true, true
	cfg.Logger = newLogger(cmd, logrus.ErrorLevel)
	if len(r.relays) > 0 {
		cfg.Relays = r.relays
	}
	if in, err := overlay.ReadInvite(cfg.Invite); err == nil && len(cfg.Relays) == 0 {
		cfg.Relays = in.Relays
	}
	return cfg, err
}

// revocations makes what the flags say, or reads it.
func (r *revokeCommand) revocations(cmd *cobra.Command, cfg overlay.Config) (list []string, err error) {
	if r.in != "" {
		if len(r.invites)+len(r.nodes) > 0 || r.out != "" || r.lasts != 0 {
			return nil, usage(cmd, errors.New("what is to be handed on? With --in, leave out what makes a revocation"))
		}
		return readRevocations(r.in)
	}
	what, err := r.subjects(cmd)
	if err != nil {
		return nil, err
	}
	for _, rev := range what {
		if r.lasts != 0 {
			rev.Until = time.Now().Add(r.lasts)
		}
		text, made, err := overlay.NewRevocation(cfg.Network, cfg.Secret, rev)
		if err != nil {
			return nil, err
		}
		list = append(list, text)
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "revoked: %v\n", made); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// subjects is what the flags name.
func (r *revokeCommand) subjects(cmd *cobra.Command) (list []overlay.Revocation, err error) {
	for _, text := range r.invites {
		id, err := identity.ParseInviteID(text)
		if err != nil {
			return nil, usage(cmd, fmt.Errorf("--invite-id: %w", err))
		}
		list = append(list, overlay.Revocation{Invite: id})
	}
	if r.invite != "" {
		token, err := readInvite(r.invite)
		if err != nil {
			return nil, err
		}
		in, err := overlay.ReadInvite(token)
		if err != nil {
			return nil, err
		}
		list = append(list, overlay.Revocation{Invite: in.ID})
	}
	for _, text := range r.nodes {
		key, err := identity.ParsePublicKey(text)
		if err != nil {
			return nil, usage(cmd, fmt.Errorf("--node: %w; weft id shows a node's key", err))
		}
		list = append(list, overlay.Revocation{Node: key})
	}
	if len(list) == 0 {
		return nil, usage(cmd, errors.New("what is to be revoked? Say --invite-id ID, --invite FILE or --node KEY"))
	}
	return list, nil
}

// readRevocations reads a file of --out.
func readRevocations(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("the revocations cannot be read: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, fmt.Errorf("the revocations cannot be read: %w", err)
	}
	if list := strings.Fields(string(b)); len(list) > 0 && len(b) <= maxSecretFile {
		return list, nil
	}
	return nil, fmt.Errorf("%s holds no revocations, or too many; weft revoke --out makes such files", file)
}

// tell hands the revocations to each relay, since not all need be in one
// backbone. It fails if one could not be told.
func (r *revokeCommand) tell(cmd *cobra.Command, cfg overlay.Config, list []string) error {
	var errs []error
	for _, addr := range cfg.Relays {
		cfg.Relays = []string{addr}
		err := r.tellOne(cmd.Context(), cfg, list)
		if err != nil {
			errs = append(errs, fmt.Errorf("relay %s was not told: %w", addr, err))
			continue
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "relay %s tells the others\n", addr); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

func (r *revokeCommand) tellOne(ctx context.Context, cfg overlay.Config, list []string) error {
	node, err := overlay.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	if err := waitReady(ctx, node, r.timeout); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return node.Revoke(ctx, list...)
}
