package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftnet/weft/overlay"
)

// inviteTo makes an invite with the network's secret in the environment, which
// is gone afterwards.
func inviteTo(t *testing.T, args ...string) (token, about string) {
	t.Helper()
	token, about, code := weft(t, append([]string{"invite"}, args...)...)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, about)
	}
	if strings.Count(token, "\n") != 1 || !strings.HasPrefix(token, "weft-invite-1-") {
		t.Fatalf("printed %q", token)
	}
	return token, about
}

func TestAnInviteIsAllThatAnotherNodeNeeds(t *testing.T) {
	secret := overlay.NewSecret()
	t.Setenv(overlay.EnvSecret, secret)
	startRelay(t)
	token, about := inviteTo(t, "--name", "files", "--ttl", "1h", "--note", "for a test")
	for _, want := range []string{"names     files\n", "roles     none\n", "(in 1h0m0s)", "relays    " + os.Getenv(overlay.EnvRelays), "note      for a test"} {
		if !strings.Contains(about, want) {
			t.Errorf("said %q, want %q", about, want)
		}
	}
	// From here on nobody knows the secret, or where the relay is.
	t.Setenv(overlay.EnvSecret, "")
	t.Setenv(overlay.EnvRelays, "")
	file := filepath.Join(t.TempDir(), "invite")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hello.txt"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := start(t, "serve", "--invite", file, dir) // its name is the invite's
	if got := server.line(); got != "http://files/" {
		t.Errorf("the server is %q", got)
	}
	t.Setenv(overlay.EnvInvite, token)
	got, stderr, code := weft(t, "get", "http://files/hello.txt")
	if code != exitOK || got != "hello\n" {
		t.Errorf("exit code %d, %q: %s", code, got, stderr)
	}
	if out, stderr, code := weft(t, "network", "--invite", strings.TrimSpace(token)); code != exitOK || !strings.Contains(about, withoutCA(out)) {
		t.Errorf("the invite in the command line: exit code %d, showed %q: %s", code, out, stderr)
	}
	shown, stderr, code := weft(t, "network")
	if code != exitOK || !strings.Contains(about, withoutCA(shown)) || strings.Contains(shown, secret) || strings.Contains(shown, strings.TrimSpace(token)) {
		t.Errorf("exit code %d, showed %q: %s", code, shown, stderr)
	}
}

// withoutCA is what weft invite says, too.
func withoutCA(shown string) string {
	about, _, _ := strings.Cut(shown, "ca        weft-ca-1-")
	return about
}

func TestARelayNeedsAnInviteForRelays(t *testing.T) {
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	first := startRelay(t)
	plain, _ := inviteTo(t)
	relays, _ := inviteTo(t, "--role", "relay")
	t.Setenv(overlay.EnvSecret, "")
	t.Setenv(overlay.EnvInvite, plain)
	if _, stderr, code := weft(t, "relay", "--listen", "127.0.0.1:0"); code != exitUsage || !strings.Contains(stderr, "weft invite --role relay") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	t.Setenv(overlay.EnvInvite, relays)
	second := start(t, "relay", "--listen", "127.0.0.1:0", "--grace", "0s")
	if line := second.line(); !strings.Contains(line, "an invite to the same network") {
		t.Errorf("the relay says %q", line)
	}
	second.log.await(t, "other relay is up") // the invite says where it is
	first.end(exitOK)
}

func TestNetworkShowsNoSecret(t *testing.T) {
	secret := overlay.NewSecret()
	t.Setenv(overlay.EnvSecret, secret)
	t.Setenv(overlay.EnvRelays, "a:1,b:2")
	out, _, code := weft(t, "network", "--network", "lab")
	if code != exitOK || !strings.Contains(out, "network   lab\n") || !strings.Contains(out, "a:1 b:2") || strings.Contains(out, secret) {
		t.Errorf("exit code %d: %q", code, out)
	}
	out, _, code = weft(t, "network", "--open")
	if code != exitOK || !strings.Contains(out, "open to everybody") {
		t.Errorf("exit code %d: %q", code, out)
	}
}

func TestInvitesThatCannotBe(t *testing.T) {
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	token, _ := inviteTo(t)
	for want, args := range map[string][]string{
		"366 days":              {"invite", "--ttl", "9000h"},
		"node name":             {"invite", "--name", "a b"},
		"role":                  {"invite", "--role", "King"},
		"Invite.Relays[0]":      {"invite", "--relay", "ftp://a"},
		"only one of":           {"network", "--open", "--invite", "x"},
		"cannot be read":        {"network", "--invite", filepath.Join(t.TempDir(), "x")},
		"an invite is not enou": {"invite"},
	} {
		if len(args) == 1 {
			t.Setenv(overlay.EnvSecret, "")
			t.Setenv(overlay.EnvInvite, token)
		} else {
			t.Setenv(overlay.EnvInvite, "")
			t.Setenv(overlay.EnvSecret, overlay.NewSecret())
		}
		if _, stderr, code := weft(t, args...); code == exitOK || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit code %d: %s", args, code, stderr)
		}
	}
}
