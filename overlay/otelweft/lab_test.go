package otelweft_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// patience is how long a step of a test may take.
const patience = 30 * time.Second

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// newNetwork starts a relay on loopback, and returns the config of its nodes.
func newNetwork(t *testing.T) overlay.Config {
	t.Helper()
	cfg := overlay.Config{Secret: overlay.NewSecret(), NoLAN: true}
	server, ln, served := &relay.Server{Host: newNode(t, cfg)}, listen(t), make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, relay.ErrServerClosed) {
			t.Error(err)
		}
	})
	cfg.Relays = []string{ln.Addr().String()}
	return cfg
}

func newNode(t *testing.T, cfg overlay.Config) *overlay.Node {
	t.Helper()
	node, err := overlay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := node.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return node
}
