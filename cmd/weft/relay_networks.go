package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// An alsoServed is another network that one process serves, with a node and
// limits of its own.
type alsoServed struct {
	node   *overlay.Node
	server relay.Server
}

// alsoFlag adds the flag for other networks.
func (r *relayCommand) alsoFlag(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&r.also, "also", nil, "another network to serve on the same port, as `name=file` of its secret; may be repeated")
}

// serveAlso makes the relay serve the networks of --also, which have the limits
// and the peers of the first. What it returns is to be closed, also after an error.
func (r *relayCommand) serveAlso(cmd *cobra.Command, first overlay.Config, name string) ([]*alsoServed, error) {
	var all []*alsoServed
	known := map[string]bool{name: true}
	for _, text := range r.also {
		name, file, ok := strings.Cut(text, "=")
		switch {
		case !ok || name == "" || file == "":
			return all, usage(cmd, fmt.Errorf("which network is %q? Say --also NAME=FILE, where FILE holds the network's secret", text))
		case known[name]:
			return all, usage(cmd, fmt.Errorf("the network %q is named twice; the networks of one relay have different names", name))
		}
		known[name] = true
		secret, err := readSecret(file, "secret")
		if err != nil {
			return all, err
		}
		cfg := overlay.Config{
			Network: name, Secret: secret, AlsoAccept: r.acceptedBy[name], Name: first.Name, Reliability: first.Reliability,
			NoDirect: first.NoDirect, Logger: first.Logger.WithField("network", name),
		}
		if first.StateDir != "" { // another key, so that nobody sees that it is one machine
			cfg.StateDir = filepath.Join(first.StateDir, "networks", name)
		}
		node, err := overlay.New(cfg)
		if err != nil {
			return all, fmt.Errorf("network %s: %w", name, err)
		}
		a := &alsoServed{node: node}
		all = append(all, a)
		a.server.Host, a.server.Name, a.server.Version = node, node.Name(), version()
		a.server.Peers, a.server.Addrs = r.server.Peers, r.server.Addrs
		a.server.MaxLinks, a.server.MaxLearnedPeers, a.server.Proxies = r.server.MaxLinks, r.server.MaxLearnedPeers, r.server.Proxies
		a.server.MaxLinksPerAddress = r.server.MaxLinksPerAddress
		a.server.BytesPerSecond, a.server.PacketsPerSecond = r.server.BytesPerSecond, r.server.PacketsPerSecond
		r.server.Others = append(r.server.Others, &a.server)
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "relay %s for the network %s, too; nodes join with %s=%s and that network's %s\n",
			node.ID(), name, overlay.EnvNetwork, name, overlay.EnvSecret); err != nil {
			return all, err
		}
	}
	return all, nil
}

// shutdown lets the nodes of all networks leave.
func shutdown(ctx context.Context, first *relay.Server, others []*alsoServed) error {
	errs := make([]error, len(others)+1)
	var wg sync.WaitGroup
	for i, a := range others {
		wg.Go(func() { errs[i] = a.server.Shutdown(ctx) })
	}
	wg.Wait()
	errs[len(others)] = first.Shutdown(ctx)
	return errors.Join(errs...)
}

// closeAll ends what is left.
func closeAll(others []*alsoServed) {
	for _, a := range others {
		_ = a.server.Close()
		_ = a.node.Close()
	}
}
