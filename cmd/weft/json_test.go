package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/weftnet/weft/overlay"
)

// decoded runs a command line and reads what it prints: one JSON object.
func decoded[T any](t *testing.T, args ...string) (v T) {
	t.Helper()
	out, stderr, code := weft(t, args...)
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitOK {
		t.Fatalf("weft %q: exit code %d, %v: %q, %s", args, code, err, out, stderr)
	}
	return v
}

func TestWhatPrintsDataPrintsJSON(t *testing.T) {
	dir, secret := t.TempDir(), overlay.NewSecret()
	text, _, _ := weft(t, "id", "--state", dir)
	if id := decoded[map[string]string](t, "id", "--state", dir, "--json"); len(id) != 2 || !strings.Contains(text, id["id"]) || !strings.Contains(text, id["key"]) {
		t.Errorf("%v, without JSON %q", id, text)
	}
	t.Setenv(overlay.EnvSecret, secret)
	n := decoded[networkReport](t, "network", "--json")
	if n.By != "secret" || n.Network != "weft" || len(n.ID) != 64 || n.CA == "" {
		t.Errorf("%+v", n)
	}
	token, _, _ := weft(t, "invite", "--name", "kv-1", "--relay", "r:9999")
	t.Setenv(overlay.EnvSecret, "")
	in := decoded[networkReport](t, "network", "--json", "--invite", strings.TrimSpace(token))
	if in.By != "invite" || in.ID != n.ID || in.Expires == nil || len(in.Names) != 1 || len(in.Relays) != 1 || len(in.Invite) != 16 {
		t.Errorf("%+v", in)
	}
}

func TestPingPrintsJSON(t *testing.T) {
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	relay := start(t, "relay", "--listen", "127.0.0.1:0", "--name", "r")
	t.Setenv(overlay.EnvRelays, strings.TrimSuffix(strings.Fields(relay.line())[3], ";"))
	if got := decoded[pingReport](t, "ping", "--json", "--socket", "none", "-n", "1", "r"); got.Seq != 1 || got.RTT <= 0 || len(got.Node) != 16 || got.Path == "" || got.Error != "" {
		t.Errorf("%+v", got)
	}
}
