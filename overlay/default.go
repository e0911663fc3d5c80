package overlay

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
)

// The environment variables that configure the default node.
const (
	EnvNetwork = "WEFT_NETWORK" // Config.Network
	EnvSecret  = "WEFT_SECRET"  // Config.Secret
	EnvInvite  = "WEFT_INVITE"  // Config.Invite
	EnvOpen    = "WEFT_OPEN"    // Config.Open, if "1"
	EnvRelays  = "WEFT_RELAYS"  // Config.Relays, separated by commas
	EnvName    = "WEFT_NAME"    // Config.Name
	EnvState   = "WEFT_STATE"   // Config.StateDir

	EnvRelayOnly = "WEFT_RELAY_ONLY" // Config.NoDirect, if "1"
	EnvNoLAN     = "WEFT_NO_LAN"     // Config.NoLAN, if "1"

	EnvAlsoAccept = "WEFT_ALSO_ACCEPT" // Config.AlsoAccept, a line each
)

// The default node, made on first use.
var (
	defaultMu   sync.Mutex
	defaultNode *Node
)

// ConfigFromEnv returns the config that the environment asks for: see the Env
// constants. The error names the variables that are missing; the config holds
// what is there also then, for programs that have the rest from elsewhere.
func ConfigFromEnv() (Config, error) {
	cfg := Config{
		Network:  os.Getenv(EnvNetwork),
		Secret:   os.Getenv(EnvSecret),
		Invite:   os.Getenv(EnvInvite),
		Open:     os.Getenv(EnvOpen) == "1",
		Name:     os.Getenv(EnvName),
		StateDir: os.Getenv(EnvState),
		NoDirect: os.Getenv(EnvRelayOnly) == "1",
		NoLAN:    os.Getenv(EnvNoLAN) == "1",
	}
	for addr := range strings.SplitSeq(os.Getenv(EnvRelays), ",") {
		if addr = strings.TrimSpace(addr); addr != "" {
			cfg.Relays = append(cfg.Relays, addr)
		}
	}
	for line := range strings.Lines(os.Getenv(EnvAlsoAccept)) {
		if line = strings.TrimSpace(line); line != "" {
			cfg.AlsoAccept = append(cfg.AlsoAccept, line)
		}
	}
	var missing []string
	if cfg.Secret == "" && cfg.Invite == "" && !cfg.Open {
		missing = append(missing, EnvSecret+" or "+EnvInvite+" (or "+EnvOpen+"=1 for an open network)")
	}
	if len(cfg.Relays) == 0 && !cfg.invitedRelays() {
		missing = append(missing, EnvRelays)
	}
	if len(missing) > 0 {
		return cfg, fmt.Errorf("overlay: the environment does not configure a node; set %s", strings.Join(missing, " and "))
	}
	return cfg, nil
}

// Default returns the node that the functions of this package use. The first
// call makes it from the environment; see [ConfigFromEnv]. After it was closed,
// the next call makes a new one.
func Default() (*Node, error) {
	defaultMu.Lock()
	defer defaultMu.Unlock()
	if defaultNode != nil && !defaultNode.isClosed() {
		return defaultNode, nil
	}
	cfg, err := ConfigFromEnv()
	if err != nil {
		return nil, err
	}
	defaultNode, err = New(cfg)
	return defaultNode, err
}

// Listen is [Node.Listen] of the default node.
func Listen(port uint16) (net.Listener, error) {
	n, err := Default()
	if err != nil {
		return nil, err
	}
	return n.Listen(port)
}

// Dial is [Node.Dial] of the default node.
func Dial(ctx context.Context, addr string) (net.Conn, error) {
	n, err := Default()
	if err != nil {
		return nil, err
	}
	return n.Dial(ctx, addr)
}
