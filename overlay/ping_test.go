package overlay

import (
	"errors"
	"testing"
)

func TestPingMeasuresOneRoundTripAndNamesThePath(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server, client := l.ready("server", Config{Name: "kv-1"}), l.ready("client", Config{})
		for _, host := range []string{"kv-1", server.ID().String(), server.Key().String() + ".weft"} {
			got, err := client.Ping(t.Context(), host)
			if err != nil {
				t.Fatalf("%s: %v", host, err)
			}
			if got.RTT != 4*delay || got.Peer.ID != server.ID() || got.Path == "" || got.Layer != "native" {
				t.Errorf("%s: got %+v, want %v from %v", host, got, 4*delay, server.ID())
			}
		}
		_, err := client.Ping(t.Context(), "nobody")
		if !errors.Is(err, ErrUnknownNode) {
			t.Errorf("ping to nobody: %v", err)
		}
		if _, err := client.Ping(t.Context(), "kv-1:80"); err == nil {
			t.Error("a port is no part of a host, but ping took it")
		}
	})
}
