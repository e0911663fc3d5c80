//go:build linux

package netns

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weftnet/weft/overlay"
)

// A process is a relay or a node. What it logs is shown if the test fails.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	log   logBuffer   // its standard error
	lines chan string // of its standard output; closed at its end
	done  chan struct{}
	err   error // of Wait; readable after done
}

// start starts a process in a namespace. It ends with the test binary, however
// that ends.
func (l *lab) start(ns *namespace, name string, cmd *exec.Cmd) *process {
	l.t.Helper()
	p := &process{t: l.t, name: name, cmd: cmd, lines: make(chan string, 1024), done: make(chan struct{})}
	cmd.Stderr = &p.log
	cmd.SysProcAttr = dieWithParent()
	cmd.Env = append(slices.DeleteFunc(append(os.Environ(), cmd.Env...), func(v string) bool {
		return strings.HasPrefix(v, "WEFT_") && !slices.Contains(cmd.Env, v)
	}), overlay.EnvSecret+"="+l.secret, overlay.EnvNoLAN+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		l.t.Fatal(err)
	}
	if err := ns.start(cmd); err != nil {
		l.t.Fatalf("starting %s: %v", name, err)
	}
	go p.watch(stdout)
	l.t.Cleanup(p.clear)
	return p
}

func (p *process) watch(stdout io.Reader) {
	defer close(p.done)
	scanner := bufio.NewScanner(stdout)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		select {
		case p.lines <- scanner.Text():
		default: // nobody reads that much
		}
	}
	close(p.lines)
	p.err = p.cmd.Wait()
}

// kill ends the process without giving it a chance to say anything.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *process) clear() {
	p.kill()
	if p.t.Failed() {
		p.t.Logf("%s ended with %v and had logged:\n%s", p.name, p.err, &p.log)
	}
}

// next returns the next line of the process; false if there is none until ctx
// ends.
func (p *process) next(ctx context.Context) (string, bool) {
	p.t.Helper()
	select {
	case text, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("%s has ended", p.name)
		}
		return text, true
	case <-ctx.Done():
		return "", false
	}
}

// A logBuffer keeps the beginning and the end of what is logged.
type logBuffer struct {
	mu         sync.Mutex
	first, end []byte
}

// maxLog is how much of a log's beginning and of its end is kept, in bytes.
const maxLog = 32 << 10

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(b), maxLog-len(l.first))
	l.first = append(l.first, b[:n]...)
	l.end = append(l.end, b[n:]...)
	if len(l.end) > 2*maxLog {
		l.end = slices.Clone(l.end[len(l.end)-maxLog:])
	}
	return len(b), nil
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.Join([][]byte{l.first, l.end}, nil))
}

// weftDir is where buildWeft builds; empty before.
var weftDir string

// buildWeft builds the command, once, and returns its path.
var buildWeft = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "weft-netns-*")
	if err != nil {
		return "", err
	}
	weftDir = dir
	binary := filepath.Join(dir, "weft")
	build := exec.Command("go", "build", "-o", binary, "./cmd/weft")
	build.Dir = "../.." // the command's module
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

// A report is one line of what a node says.
type report struct {
	Event    string `json:"event"`
	At       int64  `json:"at"` // Unix time in milliseconds
	ID       string `json:"id,omitempty"`
	Path     string `json:"path,omitempty"` // the way that the stream takes
	Error    string `json:"error,omitempty"`
	Sent     int64  `json:"sent,omitempty"`     // bytes
	Received int64  `json:"received,omitempty"` // bytes
	Gap      int64  `json:"gap,omitempty"`      // longest wait for anything of the stream, in milliseconds

	Status *status `json:"status,omitempty"`
}

// A status is what of a node's overlay.Status these tests look at.
type status struct {
	Peers []overlay.PeerStatus
	UDP   overlay.UDPStatus
}

// A node is a process that speaks in reports.
type node struct {
	*process
	l     *lab
	id    string
	paths int // that it has said its stream took
}

// node starts a node on a host, which knows the lab's relays. It is registered
// once it has said so.
func (l *lab) node(h *host) *node {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = []string{envRole + "=" + roleNode, overlay.EnvRelays + "=" + strings.Join(l.relays, ",")}
	return &node{process: l.start(h.namespace, "node on "+h.name, cmd), l: l}
}

// ready waits until a node is registered.
func (n *node) ready() {
	n.t.Helper()
	n.id = n.await("ready").ID
}

// startRelays starts the command as a relay on each of the internet's addresses
// for relays: a node behind a NAT needs two to tell which kind of NAT that is.
func (l *lab) startRelays() {
	l.t.Helper()
	binary, err := buildWeft()
	if err != nil {
		l.t.Fatalf("building the command: %v", err)
	}
	for i := range 2 {
		args := []string{"relay", "--listen", l.relayPort(i)}
		for _, r := range l.relays {
			args = append(args, "--peer", r)
		}
		l.relays = append(l.relays, l.relayPort(i))
		l.relayProcesses = append(l.relayProcesses, l.start(l.internet, "relay "+l.relayPort(i), exec.Command(binary, args...)))
	}
	for _, p := range l.relayProcesses {
		if _, ok := p.next(l.ctx); !ok { // its greeting
			l.t.Fatalf("%s does not start: %v", p.name, context.Cause(l.ctx))
		}
	}
}

// tell gives a node a command.
func (n *node) tell(words ...string) {
	n.t.Helper()
	if _, err := fmt.Fprintln(n.stdin, strings.Join(words, " ")); err != nil {
		n.t.Fatalf("telling %s to %v: %v", n.name, words, err)
	}
}

// await returns a node's next report of a kind.
func (n *node) await(event string) report {
	n.t.Helper()
	r, ok := n.hear(n.l.ctx, event)
	if !ok {
		n.t.Fatalf("%s does not say %q: %v", n.name, event, context.Cause(n.l.ctx))
	}
	return r
}

// hear is await that may be without success: until ctx ends.
func (n *node) hear(ctx context.Context, event string) (report, bool) {
	n.t.Helper()
	for {
		text, ok := n.next(ctx)
		if !ok {
			return report{}, false
		}
		var r report
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			n.t.Fatalf("%s said %q: %v", n.name, text, err)
		}
		if r.Event == "path" {
			n.paths++
		}
		switch r.Event {
		case event:
			return r, true
		case "failed":
			n.t.Fatalf("%s: %s", n.name, r.Error)
		}
	}
}
