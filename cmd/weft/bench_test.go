package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/weftnet/weft/cmd/weft/internal/diag"
)

func TestBench(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	server, _ := startServer(t)
	server.line()
	startUp(t, "--name", "laptop")
	stdout, stderr, code := weft(t, "bench", "laptop", "--socket", "none", "--time", "100ms", "--streams", "2")
	want := regexp.MustCompile(`^laptop \([0-9a-f]{16}\) by udp [^\n]*
round trip  p50 [\d.]+ (µs|ms), p99 [\d.]+ (µs|ms), min [\d.]+ (µs|ms), max [\d.]+ (µs|ms), of \d+
packets     lost [^\n]* on the way there, [^\n]* on the way back, of 500
sending     [\d.]+ .B/s \([^\n]* Mbit/s\), [^\n]* in \d+\.\d s
receiving   [\d.]+ .B/s \([^\n]* Mbit/s\), [^\n]* in \d+\.\d s
$`)
	if code != exitOK || stderr != "" || !want.MatchString(stdout) {
		t.Errorf("exit code %d, %q, %s", code, stderr, stdout)
	}
	stdout, stderr, code = weft(t, "bench", "laptop", "--socket", "none", "--relay-only", "--time", "100ms", "--json")
	var r diag.Result
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitOK || r.Send.Bytes == 0 || r.Receive.Bytes == 0 || !strings.HasPrefix(r.Path, "relay ") {
		t.Errorf("exit code %d, %v: %s, %s", code, err, stdout, stderr)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"files", "--direct", "0s"}, exitFailure, "files does not answer weft bench: it does not run weft up"},
		{[]string{"pigeon"}, exitFailure, "check the name"},
		{[]string{"files:80"}, exitUsage, "say the node alone, files"},
		{[]string{"files", "--time", "1h"}, exitUsage, "at most 30s"},
		{[]string{"files", "--streams", "0"}, exitUsage, "1 to 16 streams"},
	} {
		if _, stderr, code := weft(t, append([]string{"bench"}, tt.args...)...); code != tt.code || !strings.Contains(stderr, tt.want) {
			t.Errorf("%q: exit code %d, %s", tt.args, code, stderr)
		}
	}
}

func TestBenchThroughTheNodeThatIsUp(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	startUp(t, "--name", "there", "--socket", runtimeDir(t)+"/there")
	startUp(t, "--name", "here")
	stdout, stderr, code := weft(t, "bench", "there", "-v", "--direct", "0s", "--time", "100ms")
	if code != exitOK || !strings.Contains(stderr, "using the node that is up") || !strings.Contains(stdout, "there (") {
		t.Errorf("exit code %d, %q, %s", code, stderr, stdout)
	}
}
