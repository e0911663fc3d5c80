package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weftnet/weft/overlay"
)

func TestOneNodeServesAndAnotherGets(t *testing.T) {
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	t.Setenv(overlay.EnvRelayOnly, "1") // or the way would change on the way
	relay := startRelay(t)
	server, _ := startServer(t)
	if url := server.line(); url != "http://files/" {
		t.Errorf("the server's URL is %q", url)
	}
	stdout, stderr, code := weft(t, "get", "http://files/hello.txt")
	if code != exitOK || stdout != "hello\n" {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
	answer := regexp.MustCompile(`^HTTP/2\.0 200 OK from [0-9a-f]{16} \(files\) by relay 127\.0\.0\.1:\d+\n$`)
	if !answer.MatchString(stderr) {
		t.Errorf("stderr %q, want %s", stderr, answer)
	}
	entry := regexp.MustCompile(`msg="GET /hello.txt" by="relay .*" bytes=6 from=[0-9a-f]{16} .*proto=HTTP/2.0 status=200`)
	if got := server.log.await(t, "hello.txt"); !entry.MatchString(got) {
		t.Errorf("access log %q, want %s", got, entry)
	}
	server.end(exitOK)
	relay.end(exitOK)
}

func TestGetFailsWithASentence(t *testing.T) {
	startRelay(t)
	server, _ := startServer(t, "--port", "8080")
	if url := server.line(); url != "http://files:8080/" {
		t.Errorf("the server's URL is %q", url)
	}
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = deaf.Close()
	none := t.TempDir() + "/none"
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no success", []string{"files:8080/pigeon"}, exitFailure, "http://files:8080/pigeon answered 404 Not Found"},
		{"nobody listens", []string{"http://files/"}, exitFailure, "nobody listens on the port; check the port"},
		{"no such node", []string{"http://pigeon/"}, exitFailure, `no node "pigeon"; check the name`},
		{"no relay", []string{"--timeout", "100ms", "--relay", deaf.Addr().String(), "http://files/"}, exitFailure, "refused): nothing after 100ms; check the relay's address"},
		{"relay without a port", []string{"--relay", "pigeon", "http://files/"}, exitFailure, "want tcp://host:port"},
		{"https", []string{"https://files/"}, exitUsage, "so say http"},
		{"no host", []string{"http:///"}, exitUsage, "say http://NODE/PATH"},
		{"no URL", nil, exitUsage, "accepts 1 arg(s), received 0"},
		{"impossible file", []string{"-o", none + "/x", "files:8080/hello.txt"}, exitFailure, "no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr, code := weft(t, append([]string{"get"}, tt.args...)...)
			lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
			if last := lines[len(lines)-1]; code != tt.code || !strings.HasPrefix(last, "weft: ") || !strings.Contains(last, tt.want) {
				t.Errorf("exit code %d, want %d; stderr %q, want a line with %q", code, tt.code, stderr, tt.want)
			}
		})
	}
}

func TestGetWritesOnlySuccessToAFile(t *testing.T) {
	startRelay(t)
	server, _ := startServer(t)
	server.line()
	file := filepath.Join(t.TempDir(), "out")
	if stdout, stderr, code := weft(t, "get", "-o", file, "files/pigeon"); code != exitFailure || stdout != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the file holds an answer that is no success")
	}
	if stdout, stderr, code := weft(t, "get", "-o", file, "files/hello.txt"); code != exitOK || stdout != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "hello\n" {
		t.Errorf("the file holds %q, %v", b, err)
	}
}

func TestServeStaysInItsDirectory(t *testing.T) {
	startRelay(t)
	server, dir := startServer(t)
	server.line()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("private"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"files/link", "files/%2e%2e/" + filepath.Base(filepath.Dir(outside)) + "/outside"} {
		if stdout, _, code := weft(t, "get", url); code != exitFailure || strings.Contains(stdout, "private") {
			t.Errorf("get %s: exit code %d, %q", url, code, stdout)
		}
	}
}

// An errand on the machine of a server must not take the server's place.
func TestGetIsNotWhoTheEnvironmentSays(t *testing.T) {
	startRelay(t)
	t.Setenv(overlay.EnvName, "files")
	t.Setenv(overlay.EnvState, t.TempDir())
	server, _ := startServer(t)
	server.line()
	for range 2 {
		if stdout, stderr, code := weft(t, "get", "http://files/hello.txt"); code != exitOK || stdout != "hello\n" {
			t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
	}
}

func TestServeNeedsARelay(t *testing.T) {
	t.Setenv(overlay.EnvOpen, "1")
	_, stderr, code := weft(t, "serve", t.TempDir())
	if code != exitUsage || !strings.Contains(stderr, "over which relay? Set WEFT_RELAYS or say --relay") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestServeStopsBeforeItIsReady(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := start(t, "serve", "--open", "--relay", ln.Addr().String(), t.TempDir())
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s.end(exitOK)
}
