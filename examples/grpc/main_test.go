package main

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/overlay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGRPC(t *testing.T) {
	cfg := testnet.Start(t)
	ln, err := testnet.Named(t, cfg, "greeter").Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, ln) }()

	testnet.Setenv(t, cfg)
	t.Setenv(overlay.EnvName, "canyon")
	var heard strings.Builder
	if err := run(testnet.Context(t), []string{"greeter:80"}, &heard); err != nil || heard.String() != "hello, canyon\n" {
		t.Errorf("heard %q, %v", heard.String(), err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestNobodyElseIsGreeted(t *testing.T) {
	if answer, err := hello(t.Context()); err == nil {
		t.Errorf("%v", answer)
	}
}
