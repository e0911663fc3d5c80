package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftnet/weft/overlay"
)

func TestAFirstRelayPrintsHowTheNextMachineJoins(t *testing.T) {
	for _, name := range []string{overlay.EnvSecret, overlay.EnvInvite, overlay.EnvOpen, overlay.EnvRelays, overlay.EnvState} {
		t.Setenv(name, "")
	}
	home := t.TempDir()
	t.Setenv("XDG_STATE_HOME", home)
	state := filepath.Join(home, "weft-relay")

	relay := start(t, "relay", "--listen", "127.0.0.1:0")
	greeting, join := relay.line(), relay.line()
	if !strings.HasPrefix(join, "weft up --invite weft-invite-") {
		t.Fatalf("after %q it printed %q", greeting, join)
	}
	for _, name := range []string{"", networkSecret} {
		fi, err := os.Stat(filepath.Join(state, name))
		if err != nil || fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("the state's %q: %v, %v", name, fi.Mode(), err)
		}
	}
	secret, err := os.ReadFile(filepath.Join(state, networkSecret))
	if err != nil || strings.Contains(relay.log.String(), strings.TrimSpace(string(secret))) {
		t.Errorf("the secret is in the log, or nowhere: %v", err)
	}
	mine := filepath.Join(t.TempDir(), "mine")
	if err := os.Mkdir(mine, 0o700); err != nil {
		t.Fatal(err)
	}
	next := start(t, append(strings.Fields(join)[1:], "--socket", filepath.Join(mine, "s"))...)
	if up := next.line(); !strings.HasPrefix(up, "up as ") {
		t.Errorf("the next machine said %q", up)
	}
	next.end(exitOK)
	relay.end(exitOK)

	again := start(t, "relay", "--listen", "127.0.0.1:0")
	if got := again.line(); strings.Fields(got)[1] != strings.Fields(greeting)[1] {
		t.Errorf("started again it is %q, was %q", got, greeting)
	}
	again.log.await(t, "weft invite --secret-file "+filepath.Join(state, networkSecret))
	if kept, err := os.ReadFile(filepath.Join(state, networkSecret)); string(kept) != string(secret) {
		t.Errorf("another secret: %v", err)
	}
}

func TestARelayThatIsToldOfANetworkMakesNone(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	t.Setenv(overlay.EnvOpen, "")
	t.Setenv(overlay.EnvInvite, "")
	for name, r := range map[string]*relayCommand{
		"a file":          {membership: membership{secretFile: "x"}},
		"an invite":       {membership: membership{invite: "x"}},
		"open":            {membership: membership{open: true}},
		"the environment": {},
	} {
		t.Setenv(overlay.EnvSecret, strings.Repeat("s", 20))
		if isNew, err := r.setUp(); isNew || err != nil {
			t.Errorf("%s: %t, %v", name, isNew, err)
		}
	}
	if entries, err := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("it made %v, %v", entries, err)
	}
}
