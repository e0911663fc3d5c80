package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/overlay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startServer serves until the test ends.
func startServer(t *testing.T, node *overlay.Node) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- serve(ctx, node) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestHTTP(t *testing.T) {
	cfg := testnet.Start(t)
	startServer(t, testnet.Named(t, cfg, "greeter"))
	caller := testnet.Node(t, cfg)
	for _, tt := range []struct {
		proto string
		http1 bool
	}{{"HTTP/2.0", false}, {"HTTP/1.1", true}} {
		t.Run(tt.proto, func(t *testing.T) {
			client := newClient(caller, tt.http1)
			defer client.CloseIdleConnections()
			want := fmt.Sprintf("Hello, node %s, over %s.\n", caller.ID(), tt.proto)
			for range 3 {
				var got strings.Builder
				if err := get(testnet.Context(t), client, "http://greeter/", &got); err != nil || got.String() != want {
					t.Errorf("got %q, %v; want %q", got.String(), err, want)
				}
			}
		})
	}
}

func TestHTTPFromTheEnvironment(t *testing.T) {
	cfg := testnet.Start(t)
	startServer(t, testnet.Named(t, cfg, "greeter"))
	testnet.Setenv(t, cfg)
	var got strings.Builder
	if err := run(testnet.Context(t), "http://greeter/", false, &got); err != nil || !strings.Contains(got.String(), "over HTTP/2.0") {
		t.Errorf("got %q, %v", got.String(), err)
	}
	testnet.Setenv(t, overlay.Config{})
	if err := run(t.Context(), "", false, nil); err == nil || !strings.Contains(err.Error(), "set WEFT_SECRET") {
		t.Error(err)
	}
}
