// Package testnet makes networks for the tests of the examples.
package testnet

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// patience is how long a step of a test may take.
const patience = 30 * time.Second

// Context is the test's context, which ends early enough to say what it ended.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// Start starts a relay on loopback for a new network and returns the config of
// nodes that use it.
func Start(t testing.TB) overlay.Config {
	t.Helper()
	cfg := overlay.Config{Secret: overlay.NewSecret(), NoLAN: true} // tests are not heard on any network
	server := &relay.Server{Host: Node(t, cfg)}
	ln, err := new(net.ListenConfig).Listen(Context(t), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, relay.ErrServerClosed) {
			t.Error(err)
		}
	})
	cfg.Relays = []string{ln.Addr().String()}
	return cfg
}

// Setenv makes the environment that of nodes with a config, and of no name.
func Setenv(t testing.TB, cfg overlay.Config) {
	t.Helper()
	for name, value := range map[string]string{
		overlay.EnvSecret: cfg.Secret, overlay.EnvRelays: strings.Join(cfg.Relays, ","),
		overlay.EnvNetwork: "", overlay.EnvOpen: "", overlay.EnvName: "", overlay.EnvState: "", overlay.EnvNoLAN: "1",
	} {
		t.Setenv(name, value)
	}
}

// Node starts a node and returns it when it can be dialled.
func Node(t testing.TB, cfg overlay.Config) *overlay.Node {
	t.Helper()
	node, err := overlay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := node.WaitReady(Context(t)); err != nil {
		t.Fatal(err)
	}
	return node
}

// Named is Node with a name.
func Named(t testing.TB, cfg overlay.Config, name string) *overlay.Node {
	t.Helper()
	cfg.Name = name
	return Node(t, cfg)
}
