package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/weftnet/weft/cmd/weft/internal/top"
)

func TestTopOnce(t *testing.T) {
	runtimeDir(t)
	if _, stderr, code := weft(t, "top"); code != exitFailure || !strings.Contains(stderr, "no node of this user runs here") {
		t.Errorf("without a node: exit code %d, %s", code, stderr)
	}
	startRelay(t)
	server, _ := startServer(t)
	server.line()
	startUp(t, "--name", "laptop")
	if _, stderr, code := weft(t, "ping", "-n", "1", "files"); code != exitOK {
		t.Fatal(stderr)
	}
	stdout, stderr, code := weft(t, "top", "laptop")
	if code != exitOK || !strings.HasPrefix(stdout, "node laptop (") || !strings.Contains(stdout, "\nhome  127.0.0.1:") || !strings.Contains(stdout, "\nPEER* ") || !strings.Contains(stdout, "\nfiles ") {
		t.Errorf("exit code %d, %q, %s", code, stderr, stdout)
	}
	stdout, stderr, code = weft(t, "top", "--json")
	var nodes []top.Node
	if err := json.Unmarshal([]byte(stdout), &nodes); err != nil || code != exitOK || len(nodes) != 3 {
		t.Errorf("exit code %d, %v, %q, %s", code, err, stderr, stdout)
	}
	if _, stderr, code := weft(t, "top", "pigeon"); code != exitFailure || !strings.Contains(stderr, `"pigeon"`) {
		t.Errorf("nobody: exit code %d, %s", code, stderr)
	}
	if _, _, code := weft(t, "top", "--interval", "0"); code != exitUsage {
		t.Errorf("no interval: exit code %d", code)
	}
}
