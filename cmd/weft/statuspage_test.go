package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/weftnet/weft/overlay"
)

// pageOf asks for a page as a browser would that has been told its address.
func pageOf(t *testing.T, address string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func reports(t *testing.T) map[string]report {
	t.Helper()
	stdout, stderr, code := weft(t, "status", "--json")
	var all []report
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || code != exitOK {
		t.Fatalf("weft status: %v, %s", err, stderr)
	}
	by := map[string]report{}
	for _, r := range all {
		by[r.Name] = r
	}
	return by
}

func TestStatusPageOfANodeAndARelay(t *testing.T) {
	runtimeDir(t)
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	r := startRelay(t, "--name", "r", "--status-addr", "127.0.0.1:0")
	line := r.line()
	address, ok := strings.CutPrefix(line, "status page at ")
	if !ok || strings.Contains(address, "token") {
		t.Fatalf("the relay says %q", line)
	}
	startUp(t, "--name", "laptop")
	all := reports(t)
	if got := all["r"].StatusPage; got != address {
		t.Errorf("weft status says %q, the relay %q", got, address)
	}
	status, body := pageOf(t, address+"api/status")
	if status != http.StatusOK || !strings.Contains(body, `"names":["laptop"]`) || !strings.Contains(body, `"relay":{`) {
		t.Errorf("the relay's page: %d, %s", status, body)
	}

	// What nobody has asked for needs the token that only this user is shown.
	own := all["laptop"].StatusPage
	if base, _, found := strings.Cut(own, "?token="); !found || !strings.HasPrefix(own, "http://127.0.0.1:") {
		t.Errorf("the node's page is at %q", own)
	} else if status, _ := pageOf(t, base); status != http.StatusUnauthorized {
		t.Errorf("without the token: %d", status)
	}
	if status, _ := pageOf(t, own); status != http.StatusSeeOther {
		t.Errorf("with the token: %d", status)
	}
	if stdout, _, _ := weft(t, "status", "laptop"); !strings.Contains(stdout, "\nstatus page "+own+"\n") {
		t.Errorf("weft status: %s", stdout)
	}
}

func TestNoStatusPage(t *testing.T) {
	runtimeDir(t)
	startRelay(t, "--name", "r", "--status-addr", "none")
	if got := reports(t)["r"].StatusPage; got != "" {
		t.Errorf("there is one at %s", got)
	}
	if _, stderr, code := weft(t, "up", "--open", "--status-addr", "8080"); code != exitUsage || !strings.Contains(stderr, "--status-addr HOST:PORT") {
		t.Errorf("a port alone: exit code %d, %q", code, stderr)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, stderr, code := weft(t, "up", "--open", "--status-addr", taken.Addr().String()); code != exitFailure || !strings.Contains(stderr, "say another --status-addr") {
		t.Errorf("a taken address: exit code %d, %q", code, stderr)
	}
}
