package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/weftnet/weft/cmd/weft/internal/checkup"
	"github.com/weftnet/weft/overlay"
)

func TestNetcheck(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	stdout, stderr, code := weft(t, "netcheck")
	for _, want := range []string{"ok       relay 127.0.0.1:", ": home, round trip ", "ok       clock: as the relay's\n", "ok       proxy: none\n", "ok       UDP: answers come"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in %s", want, stdout)
		}
	}
	if code != exitOK || stderr != "" {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func TestNetcheckAsksTheNodeThatIsUp(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	startUp(t, "--name", "laptop")
	t.Setenv(overlay.EnvRelays, "") // not needed any more
	stdout, stderr, code := weft(t, "netcheck", "--json")
	var out struct {
		checkup.Network
		Verdict checkup.Verdict
		Steps   checkup.Steps
	}
	if err := json.Unmarshal([]byte(stdout), &out); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v: %s, %s", code, err, stdout, stderr)
	}
	if len(out.Relays) != 1 || !out.Relays[0].Home || out.Relays[0].Port.Status != 200 || !out.Relays[0].Port.HasDate || out.Verdict == checkup.Failure || len(out.Steps) < 8 {
		t.Errorf("printed %s", stdout)
	}
}

func TestNetcheckWithoutARelayFailsAndSaysWhy(t *testing.T) {
	runtimeDir(t)
	t.Setenv(overlay.EnvOpen, "1")
	stdout, stderr, code := weft(t, "netcheck", "--timeout", "100ms", "--relay", "127.0.0.1:1", "--relay", "wss://127.0.0.1:1")
	if code != exitFailure || !strings.Contains(stdout, "failure  relay 127.0.0.1:1: TCP: ") || !strings.Contains(stdout, "-> check the relay's port") ||
		!strings.Contains(stdout, "failure  home relay: there is none") || !strings.Contains(stderr, "what to do stands above") {
		t.Errorf("exit code %d, %s, %s", code, stdout, stderr)
	}
}
