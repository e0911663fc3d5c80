//go:build unix

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// weftDir is where buildWeft builds; empty before.
var weftDir string

// buildWeft builds the command, once, and returns its path.
var buildWeft = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "weft-integration-*")
	if err != nil {
		return "", err
	}
	weftDir = dir
	binary := filepath.Join(dir, "weft")
	build := exec.Command("go", "build", "-o", binary, "./cmd/weft")
	build.Dir = ".." // the command's module
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w:\n%s", err, out)
	}
	return binary, nil
})

func removeWeft() {
	if weftDir != "" {
		_ = os.RemoveAll(weftDir)
	}
}

// weft starts the command as a member of the network.
func (l *lab) weft(args ...string) *process {
	l.t.Helper()
	return l.weftWith(nil, args...)
}

// weftWith is weft with more in its environment.
func (l *lab) weftWith(vars []string, args ...string) *process {
	l.t.Helper()
	binary, err := buildWeft()
	if err != nil {
		l.t.Fatalf("building the command: %v", err)
	}
	cmd := exec.Command(binary, args...)
	cmd.Env = l.environ(vars...)
	return l.start("weft "+args[0], cmd)
}

// awaitFile returns what is in a file, once it is there.
func (l *lab) awaitFile(file string) string {
	l.t.Helper()
	var content []byte
	if err := eventually(l.ctx, func() (there bool) {
		b, err := os.ReadFile(file)
		content = b
		return err == nil
	}); err != nil {
		l.t.Fatalf("%s: %v", file, err)
	}
	return strings.TrimSpace(string(content))
}

func TestTheCommandServesAFileToItself(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dir := t.TempDir()
	const text = "Hello from a node that listens on no address."
	if err := os.WriteFile(filepath.Join(dir, "hello.txt"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}

	addrFile := filepath.Join(t.TempDir(), "addr")
	relay := l.weft("relay", "--listen", "127.0.0.1:0", "--addr-file", addrFile, "--grace", "1s")
	l.relays = []string{l.awaitFile(addrFile)}
	server := l.weft("serve", "--name", "files", dir)
	server.expect(l.ctx, "http://files/")
	got := filepath.Join(t.TempDir(), "got")
	l.weft("get", "-o", got, "http://files/hello.txt").exit(l.ctx)
	if b, err := os.ReadFile(got); err != nil || string(b) != text {
		t.Errorf("got %q, %v", b, err)
	}

	for _, p := range []*process{server, relay} {
		p.signal(syscall.SIGTERM)
		p.exit(l.ctx)
	}
}

func TestTheCommandSaysWhyItCannotJoin(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.relay()
	l.secret = overlay.NewSecret()
	get := l.weft("get", "--timeout", time.Second.String(), "http://files/")
	select {
	case <-get.done:
	case <-l.ctx.Done():
		t.Fatal(l.ctx.Err())
	}
	if code := get.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if log := get.log.String(); !strings.Contains(log, "check network name, secret") {
		t.Errorf("it said: %s", log)
	}
}
