package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/localapi"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/overlay"
)

const (
	// envSocket is the environment variable for --socket.
	envSocket = "WEFT_SOCKET"
	// findPatience is how long the nodes that run here have, all together, to say which
	// they are; one that was stopped says nothing.
	findPatience = 2 * time.Second
	// noSocket, said instead of a socket, is for a node of one's own.
	noSocket = "none"
)

// A guest is the command line of a command that uses the node that is up, if there is
// one, and otherwise makes one of its own.
type guest struct {
	membership
	socket string
}

// flags adds the flags of membership and the one for the node that is up.
func (g *guest) flags(cmd *cobra.Command) {
	g.relayFlag(cmd)
	g.membership.flags(cmd)
	g.socketFlag(cmd)
}

func (g *guest) socketFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&g.socket, "socket", "",
		"socket `file` of the node to use, or none for a node of this command's own ("+envSocket+"); without it, the node of weft up is used if it is of the same network")
}

// ownFlags are the flags that say how to make a node: who says one wants a node of
// the command's own.
var ownFlags = []string{"relay", "layer", "state", "name", "relay-only", "no-lan"}

// A host is the node that a command uses, and how it was found.
type host struct {
	localapi.Node
	own    *overlay.Node // nil if it is another process's
	log    *logrus.Logger
	socket string // of the other process
}

// status is the node's report.
func (h *host) status(ctx context.Context) (report, error) {
	if h.own != nil {
		return newReport(h.own.Status()), nil
	}
	return askSocket(ctx, h.socket)
}

// node returns the node to use. The caller closes it.
func (g *guest) node(cmd *cobra.Command, level logrus.Level) (*host, error) {
	found, err := g.find(cmd)
	if err != nil {
		return nil, err
	}
	if found != nil {
		if g.verbose {
			level = logrus.DebugLevel
		}
		log := newLogger(cmd, level)
		log.WithFields(logrus.Fields{"node": found.Node, "socket": found.socket}).Debug("using the node that is up")
		id, err := overlay.ParseNodeID(found.Node)
		if err != nil {
			return nil, fmt.Errorf("%s answers without a node ID; is it of another version of weft?", found.socket)
		}
		return &host{Node: localapi.NewClient(found.socket, id, found.Name), log: log, socket: found.socket}, nil
	}
	cfg, err := g.config(cmd, level)
	if err != nil {
		return nil, err
	}
	node, err := overlay.New(cfg)
	if err != nil {
		return nil, err
	}
	log, _ := cfg.Logger.(*logrus.Logger)
	return &host{Node: localapi.Own(node), own: node, log: log}, nil
}

// find returns the node that is up and that the command should use, or nil.
func (g *guest) find(cmd *cobra.Command) (*foundNode, error) {
	socket := g.socket
	if socket == "" {
		socket = os.Getenv(envSocket)
	}
	switch socket {
	case noSocket:
		return nil, nil
	case "":
		return g.discover(cmd)
	}
	r, err := askSocket(cmd.Context(), socket)
	switch {
	case err != nil:
		return nil, fmt.Errorf("no node is up at %s; start one with weft up --socket %s, or say --socket %s: %w", socket, socket, noSocket, err)
	case !r.Up:
		return nil, fmt.Errorf("the node at %s is not for other commands; start one with weft up", socket)
	}
	return &foundNode{r, socket}, nil
}

// discover looks for a node that is up in the network that the command line and the
// environment tell of, or in any if they tell of none.
func (g *guest) discover(cmd *cobra.Command) (*foundNode, error) {
	for _, name := range ownFlags {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			return nil, nil
		}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), findPatience)
	defer cancel()
	all, err := findSockets(ctx)
	if err != nil {
		return nil, nil // then no node can be up there
	}
	var up []foundNode
	for _, f := range all {
		if f.Up {
			up = append(up, f)
		}
	}
	if len(up) == 0 {
		return nil, nil
	}
	fit, err := g.fitting(ctx, cmd, up)
	if err != nil {
		return nil, err
	}
	switch {
	case len(fit) == 0:
		return nil, nil
	case len(fit) > 1:
		return nil, usage(cmd, fmt.Errorf("which of the nodes that are up? Say --socket with one of %s", socketsOf(fit)))
	}
	return &fit[0], nil
}

func socketsOf(all []foundNode) string {
	var names []string
	for _, f := range all {
		names = append(names, f.socket)
	}
	return strings.Join(names, ", ")
}

// fitting returns those of the nodes that are up which are of the network that the
// command line and the environment tell of; all if they tell of none.
func (g *guest) fitting(ctx context.Context, cmd *cobra.Command, up []foundNode) (fit []foundNode, err error) {
	cfg, _ := overlay.ConfigFromEnv()
	if err := g.applySecrecy(cmd, &cfg); err != nil {
		if cfg.Secret == "" && cfg.Invite == "" && !cfg.Open && g.secretFile == "" && g.invite == "" {
			return up, nil
		}
		return nil, err
	}
	override(&cfg.Network, g.network)
	for _, f := range up {
		if isSame(ctx, f.socket, cfg) {
			fit = append(fit, f)
		}
	}
	if len(fit) > 0 {
		return fit, nil
	}
	id, err := networkIDOf(cfg)
	if err != nil {
		return nil, err
	}
	for _, f := range up {
		if f.NetworkID == id {
			fit = append(fit, f)
		}
	}
	return fit, nil
}

// networkIDOf is what tells networks apart whose names are the same. It is no secret.
func networkIDOf(cfg overlay.Config) (string, error) {
	n, err := identity.OpenNetwork(identity.NetworkConfig{Name: cfg.Network, Secret: cfg.Secret, Invite: cfg.Invite, Open: cfg.Open})
	if err != nil {
		return "", err
	}
	id := n.ID()
	return hex.EncodeToString(id[:]), nil
}
