package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftnet/weft/overlay"
)

func TestARevokedInviteIsOfNoUse(t *testing.T) {
	secret := overlay.NewSecret()
	t.Setenv(overlay.EnvSecret, secret)
	r := startRelay(t, "--state", t.TempDir())
	token, _ := inviteTo(t)
	good, _ := inviteTo(t)
	file, kept := filepath.Join(t.TempDir(), "invite"), filepath.Join(t.TempDir(), "revocation")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "serve", "--name", "files", t.TempDir()).line()
	ping := func(token string, want int) {
		t.Helper()
		t.Setenv(overlay.EnvSecret, "")
		t.Setenv(overlay.EnvInvite, token)
		if _, stderr, code := weft(t, "ping", "-n", "1", "--relay-only", "--timeout", "3s", "files"); code != want {
			t.Errorf("exit code %d, want %d: %s", code, want, stderr)
		}
		t.Setenv(overlay.EnvSecret, secret)
		t.Setenv(overlay.EnvInvite, "")
	}
	ping(token, exitOK)
	out, stderr, code := weft(t, "revoke", "--invite", file, "--out", kept)
	if code != exitOK || !strings.Contains(out, "revoked: invite ") || !strings.Contains(out, "tells the others") {
		t.Fatalf("exit code %d: %q, %s", code, out, stderr)
	}
	r.log.await(t, "revoked: invite ")
	ping(token, exitFailure)
	ping(good, exitOK)

	// Who has only an invite can hand on what was signed.
	t.Setenv(overlay.EnvSecret, "")
	t.Setenv(overlay.EnvInvite, good)
	if out, stderr, code := weft(t, "revoke", "--in", kept); code != exitOK || !strings.Contains(out, "tells the others") {
		t.Errorf("exit code %d: %q, %s", code, out, stderr)
	}
}

func TestARevocationCanBeKeptForLater(t *testing.T) {
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	t.Setenv(overlay.EnvRelays, "")
	kept := filepath.Join(t.TempDir(), "revocation")
	out, stderr, code := weft(t, "revoke", "--invite-id", "0123456789abcdef", "--invite-id", "0123456789abcdee", "--out", kept)
	if code != exitOK || !strings.Contains(out, "weft revoke --in "+kept) {
		t.Fatalf("exit code %d: %q, %s", code, out, stderr)
	}
	if list, err := readRevocations(kept); err != nil || len(list) != 2 {
		t.Errorf("%q, %v", list, err)
	}
}

func TestRevocationsThatCannotBe(t *testing.T) {
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	t.Setenv(overlay.EnvRelays, "")
	for want, args := range map[string][]string{
		"what is to be revoked":   {},
		"which relay":             {"--invite-id", "0123456789abcdef"},
		"want 16 hex digits":      {"--invite-id", "x"},
		"weft id shows":           {"--node", "0123456789abcdef"},
		"cannot be read":          {"--in", filepath.Join(t.TempDir(), "x")},
		"With --in, leave out":    {"--in", "x", "--out", "y"},
		"has ended already":       {"--invite-id", "0123456789abcdef", "--for", "-1h"},
		"and was not handed on":   {"--invite-id", "0123456789abcdef", "--out", t.TempDir()},
		"relay 127.0.0.1:1 was n": {"--invite-id", "0123456789abcdef", "--relay", "127.0.0.1:1", "--timeout", "100ms"},
	} {
		if _, stderr, code := weft(t, append([]string{"revoke"}, args...)...); code == exitOK || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit code %d: %s, want %q", args, code, stderr, want)
		}
	}
}
