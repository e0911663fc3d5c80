package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftnet/weft/overlay"
)

// startUp starts a node for other commands and waits until it is there.
func startUp(t *testing.T, args ...string) *command {
	t.Helper()
	u := start(t, append([]string{"up"}, args...)...)
	if line := u.line(); !strings.HasPrefix(line, "up as ") {
		t.Fatalf("weft up says %q", line)
	}
	return u
}

func TestCommandsUseTheNodeThatIsUp(t *testing.T) {
	runtimeDir(t)
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	startRelay(t)
	server, _ := startServer(t)
	server.line()
	up := startUp(t, "--name", "laptop")

	// What only a node needs is not needed any more.
	t.Setenv(overlay.EnvRelays, "")
	t.Setenv(overlay.EnvSecret, "")
	stdout, stderr, code := weft(t, "get", "http://files/hello.txt")
	if code != exitOK || stdout != "hello\n" || !strings.HasPrefix(stderr, "HTTP/2.0 200 OK from ") || !strings.Contains(stderr, "(files) by ") {
		t.Errorf("get: exit code %d, %q, %q", code, stdout, stderr)
	}
	stdout, stderr, code = weft(t, "ping", "-n", "2", "files")
	if code != exitOK || !strings.Contains(stdout, "home is relay 127.0.0.1:") || !strings.Contains(stdout, "2 of 2 answered") {
		t.Errorf("ping: exit code %d, %q, %q", code, stdout, stderr)
	}
	stdout, stderr, code = weft(t, "ping", "-n", "1", "files:80")
	if code != exitOK || !strings.Contains(stdout, "(files) by ") {
		t.Errorf("ping of a port: exit code %d, %q, %q", code, stdout, stderr)
	}
	if _, stderr, code := weft(t, "ping", "-n", "1", "files:81"); code != exitFailure || !strings.Contains(stderr, "check the port") {
		t.Errorf("ping of a closed port: exit code %d, %q", code, stderr)
	}
	if _, stderr, code := weft(t, "ping", "-n", "1", "pigeon"); code != exitFailure || !strings.Contains(stderr, "check the name") {
		t.Errorf("ping of nobody: exit code %d, %q", code, stderr)
	}
	stdout, _, _ = weft(t, "status", "laptop", "--json")
	var all []report
	if json.Unmarshal([]byte(stdout), &all) != nil || len(all) != 1 || !all[0].Up || len(all[0].NetworkID) != 64 {
		t.Errorf("status: %s", stdout)
	}
	up.end(exitOK)
	if _, stderr, code := weft(t, "get", "http://files/hello.txt"); code != exitUsage || !strings.Contains(stderr, "what is the network's secret?") {
		t.Errorf("without the node: exit code %d, %q", code, stderr)
	}
}

func TestTheNodeOfAnotherNetworkIsNotUsed(t *testing.T) {
	runtimeDir(t)
	secret := overlay.NewSecret()
	t.Setenv(overlay.EnvSecret, secret)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	startRelay(t, "--also", "other="+file)
	server, _ := startServer(t)
	server.line()
	log := startUp(t, "--network", "other", "-v")
	if _, stderr, code := weft(t, "ping", "-n", "1", "files"); code != exitOK {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	stdout, stderr, code := weft(t, "ping", "-n", "1", "-v", "--network", "other", "files")
	if code != exitFailure || !strings.Contains(stderr, "using the node that is up") {
		t.Errorf("in the network of the node: exit code %d, %q, %q; %s", code, stdout, stderr, &log.log)
	}
	if _, stderr, _ := weft(t, "ping", "-n", "1", "-v", "--network", "other", "--socket", "none", "--timeout", "1s", "files"); strings.Contains(stderr, "using the node") {
		t.Errorf("with --socket none: %q", stderr)
	}
}

func TestTheSameNetworkIsKnownWithoutDerivingIt(t *testing.T) {
	secret, other := overlay.NewSecret(), overlay.NewSecret()
	same := overlay.Config{Secret: secret}
	for want, cfgs := range map[bool][]overlay.Config{
		true:  {{Secret: secret}, {Secret: secret, Network: "weft"}, {Secret: secret, Name: "kv-1"}},
		false: {{Secret: other}, {Secret: secret, Network: "lab"}, {Invite: secret}, {Open: true}},
	} {
		for _, cfg := range cfgs {
			if got := proofOf(cfg, "nonce") == proofOf(same, "nonce"); got != want {
				t.Errorf("%+v: %v, want %v", cfg, got, want)
			}
		}
	}
	if proofOf(same, "a") == proofOf(same, "b") {
		t.Error("a proof can be used again")
	}
}

func TestSocketSaysWhichNode(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	server, _ := startServer(t)
	server.line()
	dir := runtimeDir(t) // where nobody would look
	file := filepath.Join(dir, "mine")
	startUp(t, "--socket", file)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info, err)
	}
	if _, stderr, code := weft(t, "ping", "-n", "1", "-v", "--socket", file, "files"); code != exitOK || !strings.Contains(stderr, "using the node") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	if _, stderr, code := weft(t, "ping", "--socket", file+"2", "files"); code != exitFailure || !strings.Contains(stderr, "start one with weft up") {
		t.Errorf("with the wrong socket: exit code %d, %q", code, stderr)
	}
	if _, stderr, code := weft(t, "up", "--socket", file); code != exitFailure || !strings.Contains(stderr, "answers already") {
		t.Errorf("twice: exit code %d, %q", code, stderr)
	}
	if err := os.Mkdir(filepath.Join(dir, "open"), 0o755); err != nil { //nolint:gosec // that is the fault
		t.Fatal(err)
	}
	if _, stderr, code := weft(t, "up", "--socket", filepath.Join(dir, "open", "sock")); code != exitFailure || !strings.Contains(stderr, "only this user may enter") {
		t.Errorf("in a directory for all: exit code %d, %q", code, stderr)
	}
}

func TestTwoNodesUpHaveToBeToldApart(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	startUp(t)
	startUp(t)
	if _, stderr, code := weft(t, "ping", "files"); code != exitUsage || !strings.Contains(stderr, "Say --socket with one of") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func TestUpForwardsByItself(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	file := filepath.Join(t.TempDir(), "weft.yaml")
	if err := os.WriteFile(file, []byte("up:\n  remote: [\"9000="+echoServer(t)+"\"]\n  local: [\"0\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	up := start(t, "up", "--name", "kv-1", "--config", file)
	up.line()
	proxy, _, ok := strings.Cut(up.line(), " -> what clients name")
	if port := up.line(); !ok || !strings.HasPrefix(port, "kv-1:9000 -> 127.0.0.1:") {
		t.Errorf("the forwards are %q and %q", proxy, port)
	}
	_, ports := startForward(t, 1, "-L", "0=kv-1:9000", "--socket", "none")
	if answer := ask(t, dialTCP(t, ports[0]), "x"); answer != "x and the end" {
		t.Errorf("answer %q", answer)
	}
	out, _, _ := weft(t, "status", "kv-1")
	if !strings.Contains(out, "forward kv-1:9000 -> 127.0.0.1:") || !strings.Contains(out, "open 0 of 1, sent 1 B, received 13 B") {
		t.Errorf("status: %s", out)
	}
}

func TestNodesAreCompleted(t *testing.T) {
	dir := runtimeDir(t)
	startRelay(t)
	server, _ := startServer(t)
	server.line()
	up := start(t, "up", "--name", "laptop", "--json", "--socket", filepath.Join(dir, "x"))
	if line := up.line(); !strings.Contains(line, `"name":"laptop","network":"weft","socket":"`+dir) {
		t.Errorf("weft up says %s", line)
	}
	up.end(exitOK)
	startUp(t, "--name", "laptop")
	if _, stderr, code := weft(t, "ping", "-n", "1", "files"); code != exitOK {
		t.Fatal(stderr)
	}
	for want, args := range map[string][]string{
		"files\t":        {"ping", "fi"},
		"files:\t":       {"forward", "--to", "stdin", ""},
		"files/\t":       {"get", "FI"},
		"2222=files:\t":  {"forward", "-L", "2222="},
		"laptop\there\n": {"status", "l"},
	} {
		out, _, _ := weft(t, append([]string{"__complete"}, args...)...)
		if !strings.Contains(out, want) {
			t.Errorf("%v: %q, want %q", args, out, want)
		}
	}
	if out, _, _ := weft(t, "__complete", "ping", "x"); strings.Contains(out, "files") {
		t.Errorf("what begins otherwise: %q", out)
	}
}
