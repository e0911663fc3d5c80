package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/portmap"
	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/native"
	"github.com/weftnet/weft/stream/sctp"
	"github.com/weftnet/weft/stream/yamux"
)

// maxSecretFile is how much of a file with a secret or an invite is read.
const maxSecretFile = 16 << 10

// A membership is the part of a command line that makes the command a node of a
// network. Each flag overrides an environment variable. There is none for the
// secret itself, because everybody on a machine sees command lines.
type membership struct {
	network, secretFile string
	invite              string // a file that holds one, or one itself
	state, name, layer  string
	relays, alsoAccept  []string
	open, verbose       bool
	relayOnly, noLAN    bool

	short bool // for one errand: not who the environment says, but somebody new
}

// flags adds the flags that every node has.
func (m *membership) flags(cmd *cobra.Command) {
	m.memberFlags(cmd)
	f := cmd.Flags()
	f.BoolVarP(&m.verbose, "verbose", "v", false, "log what the node does")
	where := " (" + overlay.EnvState + ")"
	if m.short {
		where = ""
	}
	f.StringVar(&m.state, "state", "", "`directory` that holds the node's key, or will"+where+"; without it the node is a new one each time")
	if m.short {
		f.Lookup("state").Annotations = map[string][]string{ownSetting: nil}
	}
}

// memberFlags adds the flags that say which network, and how to be its member.
func (m *membership) memberFlags(cmd *cobra.Command) {
	m.secretFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&m.invite, "invite", "", "`file` that holds an invite to the network, or the invite itself, which everybody on this machine can see then ("+overlay.EnvInvite+" holds it itself, too)")
	f.BoolVar(&m.open, "open", false, "use a network without a secret, which everybody may join ("+overlay.EnvOpen+"=1)")
	m.alsoAcceptFlag(cmd)
}

// secretFlags adds the flags of those who know the network's secret.
func (m *membership) secretFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&m.secretFile, "secret-file", "", "`file` that holds the network's secret ("+overlay.EnvSecret+" holds it itself)")
	f.StringVar(&m.network, "network", "", "`name` of the network ("+overlay.EnvNetwork+", default weft, or what the invite says)")
}

// nameFlag adds a flag for the node's name.
func (m *membership) nameFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&m.name, "name", "", "`name` by which others can dial the node ("+overlay.EnvName+")")
}

// layers are the reliability layers that a command line can name.
var layers = map[string]stream.Layer{
	native.Layer{}.Name(): native.Layer{},
	sctp.Layer{}.Name():   sctp.Layer{},
	yamux.Layer{}.Name():  yamux.Layer{},
}

// layerNames lists them for people.
func layerNames() string { return strings.Join(slices.Sorted(maps.Keys(layers)), ", ") }

// relayFlag adds flags for the relays of a node and the layer between it and
// its peers.
func (m *membership) relayFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&m.layer, "layer", native.Layer{}.Name(), "reliability `layer` ("+layerNames()+"), the same on both nodes")
	cmd.Flags().BoolVar(&m.relayOnly, "relay-only", false, "send everything over relays, and open no UDP socket ("+overlay.EnvRelayOnly+"=1)")
	cmd.Flags().BoolVar(&m.noLAN, "no-lan", false, "neither look for nodes on the LAN nor announce this one there ("+overlay.EnvNoLAN+"=1)")
	cmd.Flags().StringSliceVar(&m.relays, "relay", nil, "`address` of a relay to use: host:port, or wss://host to look like HTTPS; may be repeated ("+overlay.EnvRelays+", separated by commas)")
}

// config is what the environment and the flags ask for. The node logs from the
// given level on, or everything with --verbose.
func (m *membership) config(cmd *cobra.Command, level logrus.Level) (overlay.Config, error) {
	cfg, _ := overlay.ConfigFromEnv() // what it lacks may come from flags
	if m.verbose {
		level = logrus.DebugLevel
	}
	cfg.Logger = newLogger(cmd, level)
	if m.short {
		// With the name or the key of a server on this machine, the errand
		// would take the server's place.
		cfg.Name, cfg.StateDir = "", ""
	}
	if err := m.applySecrecy(cmd, &cfg); err != nil {
		return cfg, err
	}
	override(&cfg.Network, m.network)
	override(&cfg.StateDir, m.state)
	override(&cfg.Name, m.name)
	cfg.NoDirect = cfg.NoDirect || m.relayOnly
	cfg.NoLAN = cfg.NoLAN || m.noLAN
	cfg.PortMapper = portmap.New(portmap.Config{Logger: cfg.Logger})
	invite, err := m.readInvite(&cfg)
	if err != nil {
		return cfg, err
	}
	if m.layer != "" {
		layer, ok := layers[m.layer]
		if !ok {
			return cfg, usage(cmd, fmt.Errorf("which reliability layer is %q? There are %s", m.layer, layerNames()))
		}
		cfg.Reliability = layer
	}
	switch hasRelays := cmd.Flags().Lookup("relay") != nil; {
	case !hasRelays:
		cfg.Relays = []string{} // not those of the invite either
	case len(m.relays) > 0:
		cfg.Relays = m.relays
	case len(cfg.Relays) != 0 || len(invite.Relays) != 0:
	case cfg.NoDirect || cfg.NoLAN:
		return cfg, usage(cmd, errors.New("over which relay? Set "+overlay.EnvRelays+" or say --relay HOST:PORT; without, nodes on the LAN are reached only if they may be looked for"))
	default:
		cfg.Logger.Info("no relay: only nodes on the LAN can be reached, and reach this one")
	}
	return cfg, nil
}

func override(value *string, flag string) {
	if flag != "" {
		*value = flag
	}
}

// applySecrecy makes cfg closed by a secret, a member by an invite, or open. What
// a flag says takes the place of all that the environment says.
func (m *membership) applySecrecy(cmd *cobra.Command, cfg *overlay.Config) error {
	said := 0
	for _, is := range []bool{m.open, m.secretFile != "", m.invite != ""} {
		if is {
			said++
		}
	}
	var err error
	switch {
	case said > 1:
		return usage(cmd, errors.New("how is this node a member? Say only one of --secret-file, --invite and --open"))
	case said == 1:
		cfg.Open, cfg.Secret, cfg.Invite = m.open, "", ""
		if m.secretFile != "" {
			cfg.Secret, err = readSecret(m.secretFile, "secret")
		}
		if m.invite != "" {
			cfg.Invite, err = readInvite(m.invite)
		}
		if err != nil {
			return err
		}
	case cfg.Secret == "" && cfg.Invite == "" && !cfg.Open:
		return usage(cmd, errors.New("what is the network's secret? Set "+overlay.EnvSecret+" or say --secret-file FILE; weft secret makes one; "+
			"with an invite, set "+overlay.EnvInvite+" or say --invite FILE"))
	}
	return m.applyAccepted(cmd, cfg)
}

// readInvite reads the config's invite, if it has one, and lets the node have the
// invite's name if there is only one. Somebody on an errand has no name.
func (m *membership) readInvite(cfg *overlay.Config) (overlay.Invite, error) {
	if cfg.Invite == "" {
		return overlay.Invite{}, nil
	}
	in, err := overlay.ReadInvite(cfg.Invite)
	if err == nil && cfg.Name == "" && !m.short && len(in.Names) == 1 {
		cfg.Name = in.Names[0]
	}
	return in, err
}

// readInvite returns an invite that a command line says, or names the file of.
func readInvite(said string) (string, error) {
	if strings.HasPrefix(said, identity.InvitePrefix) {
		return said, nil
	}
	return readSecret(said, "invite")
}

// readSecret reads a secret or an invite from a file, without the space around
// it.
func readSecret(file, what string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("the %s cannot be read: %w", what, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	switch secret := strings.TrimSpace(string(b)); {
	case err != nil:
		return "", fmt.Errorf("the %s cannot be read: %w", what, err)
	case len(b) > maxSecretFile:
		return "", fmt.Errorf("%s is longer than %d bytes, which no %s is; name another file", file, maxSecretFile, what)
	case secret == "":
		return "", fmt.Errorf("%s is empty; weft %s makes one", file, what)
	default:
		return secret, nil
	}
}

// newLogger returns a logger that writes to the command's standard error.
func newLogger(cmd *cobra.Command, level logrus.Level) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(cmd.ErrOrStderr())
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true})
	log.SetLevel(level)
	return log
}
