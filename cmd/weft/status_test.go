package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestReportForPeople(t *testing.T) {
	t.Parallel()
	r := report{
		Node: "00000000000000aa", Name: "kv-1", Network: "weft", Layer: "native", Ports: []uint16{80, 443},
		Relays: []relayReport{{Addr: "r1:9999", Up: true, Home: true, State: "up", RTT: 12.34}, {Addr: "r2:9999", State: "waiting", Error: "connection refused"}},
		UDP:    udpReport{Addr: "[::]:4000", Mapping: "endpoint-independent", Candidates: []string{"host 192.0.2.1:4000"}},
		Links:  &linksReport{Addr: "[::]:5000", Links: 2, Waiting: 1, Refused: 3, Unproven: 4},
		Peers: []peerReport{{
			Node: "00000000000000bb", Conns: 3, Sent: 1_234_567, Received: 999, Packets: 1000, Lost: 5, NotDirect: "both NATs are symmetric",
			Paths: []pathReport{
				{Path: "relay r1:9999", Active: true, State: "validated", RTT: 30, Packets: 900, Lost: 5, Sent: 1_000_000},
				{Path: "udp 192.0.2.2:4000", Direct: true, State: "failed", Reason: "no answer", MaxPacket: 1200},
			},
		}},
	}
	var b strings.Builder
	r.write(&b)
	want := `node kv-1 (00000000000000aa), network weft, layer native
listens on port 80 443
home  r1:9999: up, round trip 12.3 ms
relay r2:9999: waiting: connection refused
UDP [::]:4000; NAT mapping endpoint-independent, filtering unknown
  reachable at host 192.0.2.1:4000
accepts links at [::]:5000: 2 from peers, 1 that have proven nothing yet, 3 refused, 4 given up
peer 00000000000000bb: streams 3, sent 1.23 MB, received 999 B, lost 0.5 %
  * relay r1:9999: validated, round trip 30.0 ms, lost 0.56 %, sent 1 MB
    udp 192.0.2.2:4000: failed, round trip unknown, lost 0 %, sent 0 B, received 0 B, packets to 1200 bytes (no answer)
    not direct: both NATs are symmetric
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestBytesForPeople(t *testing.T) {
	t.Parallel()
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1 kB", 999_499: "999 kB", 999_500: "1 MB", 1 << 30: "1.07 GB", 1<<64 - 1: "18.4 EB",
	} {
		if got := bytesOf(n); got != want {
			t.Errorf("%d bytes: got %q, want %q", n, got, want)
		}
	}
}

// runtimeDir makes a short XDG_RUNTIME_DIR: paths of sockets have at most 107
// bytes, those of tests are longer.
func runtimeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weft") //nolint:usetesting // its directories have long names
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return dir
}

func TestStatusAsksRunningNodes(t *testing.T) {
	runtimeDir(t)
	startRelay(t, "--name", "r")
	s, _ := startServer(t)
	s.line()

	out, stderr, code := weft(t, "status")
	if code != exitOK || !strings.Contains(out, "node r (") || !strings.Contains(out, "node files (") {
		t.Fatalf("weft status says %q, %q", out, stderr)
	}
	out, stderr, code = weft(t, "status", "FILES", "--json")
	var all []report
	if code != exitOK || json.Unmarshal([]byte(out), &all) != nil || len(all) != 1 || all[0].Name != "files" {
		t.Fatalf("weft status --json says %q, %q", out, stderr)
	}
	if len(all[0].Relays) != 1 || !all[0].Relays[0].Home {
		t.Errorf("the server's relays are %+v", all[0].Relays)
	}
	if _, stderr, code = weft(t, "status", "nobody"); code != exitFailure || !strings.Contains(stderr, `"nobody"`) {
		t.Errorf("status of a node that is not there: %q", stderr)
	}
}

func TestNoNodeRuns(t *testing.T) {
	runtimeDir(t)
	if _, stderr, code := weft(t, "status"); code != exitFailure || !strings.Contains(stderr, "weft serve") {
		t.Errorf("without a node: %q", stderr)
	}
}

func TestSocketsOfDeadProcessesArePassedOver(t *testing.T) {
	runtimeDir(t)
	dir, err := socketDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "00000000000000aa.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := askAll(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestSocketsOnlyInAPrivateDirectory(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("directories have no modes on Windows")
	}
	run := runtimeDir(t)
	if err := os.Mkdir(filepath.Join(run, "weft"), 0o755); err != nil { //nolint:gosec // that is the fault
		t.Fatal(err)
	}
	if _, err := socketDir(); err == nil || !strings.Contains(err.Error(), "XDG_RUNTIME_DIR") {
		t.Errorf("a directory that all may enter: %v", err)
	}
}
