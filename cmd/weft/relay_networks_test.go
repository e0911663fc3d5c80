package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weftnet/weft/overlay"
)

// secretFile writes a new secret to a file.
func secretFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(overlay.NewSecret()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOneRelayServesTwoNetworks(t *testing.T) {
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	t.Setenv(overlay.EnvRelayOnly, "1")
	secret := secretFile(t)
	relay := startRelay(t, "--state", t.TempDir(), "--also", "lab="+secret)
	second := regexp.MustCompile(`^relay [0-9a-f]{16} for the network lab, too; nodes join with WEFT_NETWORK=lab and that network's WEFT_SECRET$`)
	if line := relay.line(); !second.MatchString(line) {
		t.Errorf("printed %q, want %s", line, second)
	}
	inLab := []string{"--network", "lab", "--secret-file", secret}
	first, _ := startServer(t)
	first.line()
	for _, name := range []string{"files", "lab-only"} { // the one name is in both
		s, _ := startServer(t, append(inLab, "--name", name)...)
		s.line()
	}
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"the first network", []string{"http://files/hello.txt"}, exitOK, "200 OK"},
		{"the other network", append(inLab, "http://lab-only/hello.txt"), exitOK, "200 OK"},
		{"from the first to the other", []string{"http://lab-only/"}, exitFailure, `no node "lab-only"`},
		{"with the other's secret, but not its name", []string{"--secret-file", secret, "--timeout", "1s", "http://files/"}, exitFailure, "it does not serve this network"},
		{"with the other's name, but not its secret", []string{"--network", "lab", "--timeout", "1s", "http://files/"}, exitFailure, "it does not serve this network"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr, code := weft(t, append([]string{"get"}, tt.args...)...)
			if code != tt.code || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, stderr %q", code, stderr)
			}
		})
	}
	text := get(t, "http://"+os.Getenv(overlay.EnvRelays)+"/metrics")
	for _, want := range []string{`weft_relay_refused_network_total{network="weft"} `, `weft_relay_nodes{network="weft"} 1`, `weft_relay_nodes{network="lab"} 2`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the metrics:\n%s", want, text)
		}
	}
}

// get returns what a URL answers.
func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOtherNetworksAreNamedRight(t *testing.T) {
	secret := secretFile(t)
	for name, tt := range map[string]struct {
		also string
		code int
		want string
	}{
		"no file":       {"lab", exitUsage, "Say --also NAME=FILE"},
		"no name":       {"=" + secret, exitUsage, "Say --also NAME=FILE"},
		"the first one": {"weft=" + secret, exitUsage, "named twice"},
		"file missing":  {"lab=" + secret + "x", exitFailure, "the secret cannot be read"},
		"a bad name":    {"Lab!=" + secret, exitFailure, "want 1 to 32 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stderr, code := weft(t, "relay", "--open", "--listen", "127.0.0.1:0", "--also", tt.also)
			if code != tt.code || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, stderr %q", code, stderr)
			}
		})
	}
}
