package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

func TestARelaySaysHowToJoin(t *testing.T) {
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	tests := []struct {
		name string
		args []string
		want string // behind the address
	}{
		{"with the secret", nil, ` and the same WEFT_SECRET$`},
		{"with the network's name", []string{"--network", "lab"}, ` WEFT_NETWORK=lab and the same WEFT_SECRET$`},
		{"without a secret", []string{"--open"}, ` WEFT_OPEN=1$`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, append([]string{"relay", "--listen", "127.0.0.1:0"}, tt.args...)...)
			want := regexp.MustCompile(`^relay [0-9a-f]{16} at (127\.0\.0\.1:\d+); nodes join with WEFT_RELAYS=127\.0\.0\.1:\d+` + tt.want)
			if line := r.line(); !want.MatchString(line) {
				t.Errorf("printed %q, want %s", line, want)
			}
		})
	}
}

func TestAnAddressForOthersIsNotAWildcard(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:9", "[::]:9"} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := reachable(tcp); strings.Contains(got, "::") || strings.Contains(got, "0.0.0.0") || !strings.HasSuffix(got, ":9") {
			t.Errorf("%s became %s", addr, got)
		}
	}
}

func TestARelayKeepsItsIdentity(t *testing.T) {
	t.Setenv(overlay.EnvState, t.TempDir())
	id, _, _ := weft(t, "id")
	want := "relay " + strings.Fields(id)[1]
	r := start(t, "relay", "--open", "--listen", "127.0.0.1:0")
	if line := r.line(); !strings.HasPrefix(line, want) {
		t.Errorf("printed %q, want %q", line, want)
	}
}

func TestRelayLimits(t *testing.T) {
	startRelay(t, "--max-links", "1")
	server, _ := startServer(t)
	server.line()
	const full = "it has as many links as it may have"
	for timeout := 100 * time.Millisecond; ; timeout *= 2 { // until the relay has had the time to say so
		_, stderr, code := weft(t, "get", "--timeout", timeout.String(), "http://files/")
		if code == exitFailure && strings.Contains(stderr, full) {
			break
		}
		if code != exitFailure || timeout > time.Minute {
			t.Fatalf("with %v: exit code %d, stderr %q", timeout, code, stderr)
		}
	}
	_, stderr, code := weft(t, "relay", "--open", "--bytes-per-second", "-1")
	if code != exitUsage || !strings.Contains(stderr, "Say a positive limit") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	_, stderr, code = weft(t, "relay", "--open", "--peer", "nowhere")
	if code != exitUsage || !strings.Contains(stderr, "where is the other relay?") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

// A child is the command in a process of its own.
type child struct {
	*exec.Cmd
	out *bufio.Scanner
	log log
}

// startChild starts a process and returns it with its first line.
func startChild(t *testing.T, args ...string) (c *child, line string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c = &child{Cmd: exec.CommandContext(t.Context(), exe, args...)}
	c.Env = append(os.Environ(), runMain+"=1", "GORACE=atexit_sleep_ms=0")
	c.Stderr = &c.log
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	c.out = bufio.NewScanner(out)
	if !c.out.Scan() {
		t.Fatalf("no output: %v\n%s", c.Wait(), c.log.String())
	}
	return c, c.out.Text()
}

// relayChild starts a relay as a process of its own, which others use.
func relayChild(t *testing.T, args ...string) *child {
	t.Helper()
	t.Setenv(overlay.EnvOpen, "1")
	file := filepath.Join(t.TempDir(), "addr")
	c, _ := startChild(t, append([]string{"relay", "--listen", "127.0.0.1:0", "--addr-file", file}, args...)...)
	addr, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(overlay.EnvRelays, strings.TrimSpace(string(addr)))
	return c
}

func (c *child) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := c.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func TestASignalDrainsARelay(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			relay := relayChild(t, "--grace", "1h")
			server, _ := startServer(t)
			server.line()
			relay.signal(t, sig)
			relay.log.await(t, "stopping: nodes have 1h0m0s to leave")
			server.end(exitOK)
			if err := relay.Wait(); err != nil {
				t.Errorf("%v\n%s", err, &relay.log)
			}
			if !strings.Contains(relay.log.String(), "stopped after 1 links") {
				t.Errorf("log:\n%s", &relay.log)
			}
		})
	}
}

func TestGraceEnds(t *testing.T) {
	relay := relayChild(t, "--grace", "10ms")
	startChild(t, "serve", t.TempDir()) // does not leave
	relay.signal(t, syscall.SIGTERM)
	if err := relay.Wait(); err != nil || !strings.Contains(relay.log.String(), "some nodes have not left in time") {
		t.Errorf("%v\n%s", err, &relay.log)
	}
}

func TestASecondSignalEndsARelayAtOnce(t *testing.T) {
	relay := relayChild(t, "--grace", "1h")
	startChild(t, "serve", t.TempDir()) // does not leave
	relay.signal(t, syscall.SIGTERM)
	relay.log.await(t, "stopping")
	relay.signal(t, syscall.SIGTERM)
	err := relay.Wait()
	if status, ok := relay.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		t.Errorf("%v, want an end by the signal\n%s", err, &relay.log)
	}
}
