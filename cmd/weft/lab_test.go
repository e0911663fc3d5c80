package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// patience is how long something may take that should be there at once.
const patience = 30 * time.Second

// A command is a command line that runs.
type command struct {
	t     *testing.T
	lines chan string // of standard output
	log   log         // standard error
	stop  context.CancelFunc
	done  chan struct{} // closed after code is set
	code  int
}

// start runs a command line until the test ends or stop is called.
func start(t *testing.T, args ...string) *command {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	c := &command{t: t, lines: make(chan string, 1), stop: cancel, done: make(chan struct{})}
	out, stdout := io.Pipe()
	go func() {
		defer close(c.done)
		c.code = run(ctx, args, stdout, &c.log)
		stdout.Close()
	}()
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		c.end(exitOK)
		if t.Failed() {
			t.Logf("weft %s wrote:\n%s", strings.Join(args, " "), c.log.String())
		}
	})
	return c
}

// line returns the next line of standard output.
func (c *command) line() string {
	c.t.Helper()
	select {
	case line, ok := <-c.lines:
		if !ok {
			<-c.done
			c.t.Fatalf("exit code %d: %s", c.code, &c.log)
		}
		return line
	case <-time.After(patience):
		c.t.Fatalf("no output; log:\n%s", &c.log)
	}
	return ""
}

// end stops the command and checks its exit code.
func (c *command) end(want int) {
	c.t.Helper()
	c.stop()
	for range c.lines {
		continue // nobody waits for them any more
	}
	if <-c.done; c.code != want {
		c.t.Errorf("exit code %d, want %d", c.code, want)
	}
}

// A log is what a command writes while a test reads it.
type log struct {
	mu      sync.Mutex
	text    strings.Builder
	written chan struct{} // closed, and replaced, with each write; nil if nobody waits
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written != nil {
		close(l.written)
		l.written = nil
	}
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await returns the first line that contains a text, once there is one.
func (l *log) await(t *testing.T, text string) string {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		line, written := l.find(text)
		if line != "" {
			return line
		}
		select {
		case <-written:
		case <-timeout.C:
			t.Fatalf("no line with %q:\n%s", text, l)
		}
	}
}

// find returns the first line that contains a text, or else a channel that is
// closed when there is more to look at.
func (l *log) find(text string) (line string, written <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
			return line, nil
		}
	}
	if l.written == nil {
		l.written = make(chan struct{})
	}
	return "", l.written
}

// startRelay starts a relay and lets the commands of this test use it. The
// network is open unless the test has set a secret.
func startRelay(t *testing.T, args ...string) *command {
	t.Helper()
	if os.Getenv(overlay.EnvSecret) == "" {
		t.Setenv(overlay.EnvOpen, "1")
	}
	file := filepath.Join(t.TempDir(), "addr")
	r := start(t, append([]string{"relay", "--listen", "127.0.0.1:0", "--addr-file", file, "--grace", "0s"}, args...)...)
	r.line()
	addr, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(overlay.EnvRelays, strings.TrimSpace(string(addr)))
	return r
}

// startServer serves a directory with hello.txt as node "files" and returns
// the server when it can be reached.
func startServer(t *testing.T, args ...string) (s *command, dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hello.txt"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, append([]string{"serve", "--name", "files", dir}, args...)...), dir
}
