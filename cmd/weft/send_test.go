package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/cmd/weft/internal/transfer"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/stream"
)

// startReceive starts weft receive and returns the directory and the code.
func startReceive(t *testing.T, args ...string) (c *command, dir, code string) {
	t.Helper()
	dir = t.TempDir()
	c = start(t, append([]string{"receive", dir}, args...)...)
	line := c.line()
	if m := regexp.MustCompile(` --code ([A-Z2-7]{4}-[A-Z2-7]{4})$`).FindStringSubmatch(line); m != nil {
		code = m[1]
	}
	if !strings.HasPrefix(line, "receiving into "+dir+"; send with: weft send FILE ") {
		t.Errorf("weft receive says %q", line)
	}
	return c, dir, code
}

// toSend makes files to send.
func toSend(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "photos")
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSendAndReceive(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	receive, dir, code := startReceive(t, "--name", "laptop")
	if code == "" {
		t.Fatal("there is no code")
	}
	from := toSend(t, map[string]string{"a": "first", "2026/b": "second", ".hidden": "none"})
	if _, stderr, code := weft(t, "send", from, "laptop"); code != exitFailure || !strings.Contains(stderr, "not the code") {
		t.Errorf("without the code: exit code %d, %s", code, stderr)
	}
	stdout, stderr, exit := weft(t, "send", from, filepath.Join(from, "a"), "laptop", "--code", strings.ToLower(code))
	if exit != exitOK || stdout != "photos/2026/b  6 B\nphotos/a  5 B\na  5 B\n" || !strings.Contains(stderr, "photos/.hidden is left out") {
		t.Errorf("exit code %d, %q, %q", exit, stdout, stderr)
	}
	for range 3 {
		if line := receive.line(); !strings.HasSuffix(line, " B") {
			t.Errorf("weft receive says %q", line)
		}
	}
	for name, want := range map[string]string{"a": "first", "photos/a": "first", "photos/2026/b": "second"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s is %q, %v", name, b, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, exit = weft(t, "send", from, filepath.Join(from, "a"), "laptop", "--code", code, "--json")
	if exit != exitFailure || !strings.Contains(stderr, "1 of 3 files have not arrived") {
		t.Errorf("exit code %d, %q, %q", exit, stdout, stderr)
	}
	var last transferLine
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Name != "a" || !strings.Contains(last.Error, "--force") {
		t.Errorf("%+v, %v", last, err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "a")); string(b) != "mine" {
		t.Errorf("a file that was there is %q", b)
	}
}

func TestReceiveFromSomebodyOnce(t *testing.T) {
	runtimeDir(t)
	t.Setenv(overlay.EnvSecret, overlay.NewSecret()) // names prove something
	startRelay(t)
	startUp(t, "--name", "friend")
	receive, dir, code := startReceive(t, "--name", "laptop", "--from", "friend", "--once", "--socket", "none")
	if code != "" {
		t.Errorf("there is a code, %s", code)
	}
	from := toSend(t, map[string]string{"a": "first"})
	if _, stderr, code := weft(t, "send", from, "laptop", "--socket", "none"); code != exitFailure || !strings.Contains(stderr, "laptop does not receive from this node") {
		t.Errorf("from a stranger: exit code %d, %s", code, stderr)
	}
	if stdout, stderr, code := weft(t, "send", from, "laptop"); code != exitOK || stdout != "photos/a  5 B\n" {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	<-receive.lines
	<-receive.done // by itself
	if b, err := os.ReadFile(filepath.Join(dir, "photos", "a")); err != nil || string(b) != "first" {
		t.Errorf("got %q, %v", b, err)
	}
}

// A conn that is cut off in the middle of a file.
type cutConn struct {
	net.Conn
	left atomic.Int64
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.left.Add(-int64(len(b))) < 0 {
		return 0, errors.New("cut off")
	}
	return c.Conn.Write(b)
}

func TestABrokenTransferGoesOn(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	receive, dir, code := startReceive(t, "--name", "laptop", "--once", "--port", "77")
	file := filepath.Join(t.TempDir(), "big")
	content := []byte(strings.Repeat("weft", 1<<20))
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := overlay.ConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	node, err := overlay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := node.Dial(ctx, "laptop:77")
	if err != nil {
		t.Fatal(err)
	}
	cut := &cutConn{Conn: conn}
	cut.left.Store(3 << 20)
	err = (&transfer.Sender{Files: []transfer.File{{Path: file, Name: "big", Size: int64(len(content))}}, Code: code}).Send(ctx, cut)
	if err == nil {
		t.Fatal("nothing was cut off")
	}
	if err := join.CloseWrite(conn); err != nil { // what was written arrives
		t.Fatal(err)
	}
	receive.log.await(t, "a transfer has broken")
	join.Reset(conn, stream.CodeCanceled)
	stdout, stderr, exit := weft(t, "send", file, "laptop", "--code", code, "--port", "77")
	if exit != exitOK || !regexp.MustCompile(`^big  4\.19 MB, of which [23][.\d]* MB were there\n$`).MatchString(stdout) {
		t.Errorf("exit code %d, %q, %q", exit, stdout, stderr)
	}
	<-receive.lines
	<-receive.done
	if b, err := os.ReadFile(filepath.Join(dir, "big")); err != nil || string(b) != string(content) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestSendAndReceiveSaySo(t *testing.T) {
	t.Setenv(overlay.EnvOpen, "1")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"send", "kv-1"}, exitUsage, "requires at least 2"},
		{[]string{"send", ".", "kv-1:80"}, exitUsage, "its port as --port"},
		{[]string{"send", "/none", "kv-1"}, exitFailure, "nothing is sent"},
		{[]string{"send", t.TempDir(), "kv-1"}, exitFailure, "no file to send"},
		{[]string{"receive", "/none"}, exitFailure, "/none"},
		{[]string{"receive", "--from", "a pigeon"}, exitUsage, "weft receive --help"},
		{[]string{"receive", "--max-files", "-1"}, exitUsage, "negative"},
	} {
		if _, stderr, code := weft(t, tt.args...); code != tt.code || !strings.Contains(stderr, tt.want) {
			t.Errorf("%q: exit code %d, %s", tt.args, code, stderr)
		}
	}
}
