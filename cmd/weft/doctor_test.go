package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/weftnet/weft/cmd/weft/internal/checkup"
	"github.com/weftnet/weft/overlay"
)

func TestDoctor(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	server, _ := startServer(t)
	server.line()
	startUp(t, "--name", "laptop")

	stdout, stderr, code := weft(t, "doctor", "files", "--port", "80")
	for _, want := range []string{"ok       membership: this is node laptop (", "ok       relays: home is ", "ok       look-up: files is files (", "ok       session: both have proven", "ok       port 80: somebody listens\n",
		"ok       path: udp ", "note     other end: it does not tell what it sees", "ok       verdict: files is reached directly"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in %s", want, stdout)
		}
	}
	if code != exitOK || stderr != "" {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	// From a node of its own to the one that is up, which tells what it sees.
	stdout, stderr, code = weft(t, "doctor", "laptop", "--socket", "none", "--relay-only", "--json")
	var out struct {
		checkup.Visit
		Verdict checkup.Verdict
	}
	if err := json.Unmarshal([]byte(stdout), &out); err != nil || code != exitOK || out.View == nil || out.View.Name != "laptop" || out.View.Path == "" || len(out.View.Relays) != 1 || out.NotDirect == "" {
		t.Errorf("exit code %d, %v: %s, %s", code, err, stdout, stderr)
	}
	if stdout, _, code = weft(t, "doctor", "files", "--port", "81"); code != exitFailure || !strings.Contains(stdout, "failure  verdict: it fails at the step port 81\n") {
		t.Errorf("a closed port: exit code %d, %s", code, stdout)
	}
	if stdout, stderr, code = weft(t, "doctor", "pigeon"); code != exitFailure || !strings.Contains(stdout, "failure  verdict: it fails at the step look-up\n") || !strings.Contains(stderr, "pigeon is not reached") {
		t.Errorf("nobody: exit code %d, %s, %s", code, stdout, stderr)
	}
	for _, args := range [][]string{{"files:80"}, {"files", "--port", "0"}, {"files", "--port", "65536"}} {
		if _, stderr, code := weft(t, append([]string{"doctor"}, args...)...); code != exitUsage || !strings.Contains(stderr, "--port") {
			t.Errorf("%q: exit code %d, %s", args, code, stderr)
		}
	}
}

func TestANodeThatIsUpNeedNotAnswerADoctor(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	startUp(t, "--name", "mute", "--no-doctor")
	startUp(t, "--name", "picky", "--allow", "friend")
	for _, name := range []string{"mute", "picky"} {
		stdout, _, code := weft(t, "doctor", name, "--socket", "none", "--relay-only")
		if code != exitOK || !strings.Contains(stdout, "note     other end: it does not tell what it sees") {
			t.Errorf("%s: exit code %d, %s", name, code, stdout)
		}
	}
}

func TestDoctorWithoutARelay(t *testing.T) {
	runtimeDir(t)
	t.Setenv(overlay.EnvOpen, "1")
	stdout, _, code := weft(t, "doctor", "files", "--relay", "127.0.0.1:1", "--timeout", "200ms")
	if code != exitFailure || !strings.Contains(stdout, "verdict: it fails at the step relay 127.0.0.1:1\n         -> check the relay's port") {
		t.Errorf("exit code %d, %s", code, stdout)
	}
}
