package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/overlay"
)

func newRotate() *cobra.Command {
	var m membership
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Make a new secret for the same network",
		Long: `Prints a new random secret that replaces the present one of a network. The
network stays the same, with its ID and name, and nothing changes before relays
and nodes are started with the new secret. What to do then is written to
standard error: nobody is cut off if they go over to it one after the other, in
three rounds.

Who knows the old secret, or has an invite that it made, is no member any more at
the end. It connects to nothing.`,
		Example: `  weft secret rotate --secret-file weft.secret > new.secret
  weft relay --secret-file weft.secret --also-accept-file new.secret    # first round
  weft relay --secret-file new.secret --also-accept-file weft.secret    # second
  weft relay --secret-file new.secret                                   # third`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return m.rotate(cmd) },
	}
	m.secretFlags(cmd)
	return cmd
}

const rotateSteps = `This is a new secret for network %s (id %x), which nobody uses yet. To go over
to it, restart all relays and nodes one after the other, in three rounds:

  1  with the old secret, and the new one in --also-accept-file or %[3]s
  2  with the new secret, and the old one there
  3  with the new secret alone, once weft_relay_nodes_other_ca is 0 at all relays

Begin a round when the one before is done everywhere. Who is a member by an invite
does the same with the old invite and a new one (weft invite, with the new secret).
In place of a secret or an invite, its CA can be accepted, which is no secret (weft
network shows the old one); that of the new secret is

  %[4]s

Revoke with the new secret from round 2 on. After round 3 the old secret, its invites
and its revocations are worth nothing.
`

// rotate is weft secret rotate.
func (m *membership) rotate(cmd *cobra.Command) error {
	cfg, err := m.secretConfig(cmd)
	if err != nil {
		return err
	}
	secret, err := overlay.RotateSecret(cfg.Network, cfg.Secret)
	if err != nil {
		return err
	}
	n, err := identity.OpenNetwork(identity.NetworkConfig{Secret: secret})
	if err != nil {
		return err
	}
	id := n.ID()
	fmt.Fprintf(cmd.ErrOrStderr(), rotateSteps, n.Name(), id[:8], overlay.EnvAlsoAccept, n.CA())
	_, err = fmt.Fprintln(cmd.OutOrStdout(), secret)
	return err
}

// alsoAcceptFlag adds the flag for the time in which a secret is replaced.
func (m *membership) alsoAcceptFlag(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&m.alsoAccept, flagAlsoAccept, nil, "`file` with other secrets or invites of the network, or its CAs as weft network shows them, a line each, "+
		"whose members are accepted, too, while the secret is replaced; may be repeated ("+overlay.EnvAlsoAccept+" holds them itself)")
}

const flagAlsoAccept = "also-accept-file"

// applyAccepted reads what is accepted besides the secret or invite. It does not
// matter which place says the one and the other: what is of another network is an
// error then, and better than something that was left out without a word. Only in
// an open network it means nothing, unless the command line itself says both.
func (m *membership) applyAccepted(cmd *cobra.Command, cfg *overlay.Config) error {
	if len(m.alsoAccept) > 0 {
		cfg.AlsoAccept = nil
	}
	if cfg.Open && !cmd.Flags().Changed(flagAlsoAccept) {
		cfg.AlsoAccept = nil
		return nil
	}
	for _, file := range m.alsoAccept {
		list, err := readAccepted(file)
		if err != nil {
			return err
		}
		cfg.AlsoAccept = append(cfg.AlsoAccept, list...)
	}
	return nil
}

// readAccepted reads the lines of a file.
func readAccepted(file string) ([]string, error) {
	text, err := readSecret(file, "secret")
	if err != nil {
		return nil, fmt.Errorf("what is accepted besides: %w", err)
	}
	var list []string
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if line := strings.TrimSpace(lines.Text()); line != "" {
			list = append(list, line)
		}
	}
	return list, nil
}

// splitAccepted takes those files of --also-accept-file that are for other networks,
// as name=file, where --also names the network.
func (r *relayCommand) splitAccepted(cmd *cobra.Command) error {
	var first []string
	r.acceptedBy = make(map[string][]string)
	for _, text := range r.alsoAccept {
		name, file, ok := strings.Cut(text, "=")
		if !ok || !r.servesAlso(name) {
			first = append(first, text)
			continue
		}
		if file == "" {
			return usage(cmd, errors.New("which file? Say --also-accept-file "+name+"=FILE"))
		}
		list, err := readAccepted(file)
		if err != nil {
			return err
		}
		r.acceptedBy[name] = append(r.acceptedBy[name], list...)
	}
	r.alsoAccept = first
	return nil
}

// servesAlso reports whether --also names a network.
func (r *relayCommand) servesAlso(name string) bool {
	for _, text := range r.also {
		if other, _, _ := strings.Cut(text, "="); other == name {
			return true
		}
	}
	return false
}
