package main

import (
	"errors"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/overlay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEcho(t *testing.T) {
	cfg := testnet.Start(t)
	canyon := testnet.Named(t, cfg, "canyon")
	ln, err := canyon.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- serve(ln) }()

	testnet.Setenv(t, cfg)
	for _, addr := range []string{"canyon:7", canyon.ID().String() + ":7", canyon.Key().String() + ":7"} {
		var heard strings.Builder
		if err := run(testnet.Context(t), []string{addr, "hello"}, &heard); err != nil || heard.String() != "hello" {
			t.Errorf("%s answered %q, %v", addr, heard.String(), err)
		}
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestEchoSaysWhatItNeeds(t *testing.T) {
	cfg := testnet.Start(t)
	testnet.Setenv(t, cfg)
	if err := run(t.Context(), []string{"hello"}, nil); err == nil || !strings.Contains(err.Error(), "NODE:7 TEXT") {
		t.Error(err)
	}
	testnet.Setenv(t, overlay.Config{})
	if err := run(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), "set WEFT_SECRET") {
		t.Error(err)
	}
}
