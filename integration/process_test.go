//go:build unix

package integration

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A process is a child of the test. It speaks to the test in lines on standard
// output, whose first word says what the rest is. What it logs is shown if the
// test fails.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	log   *logBuffer    // its standard error
	lines chan string   // closed when the process has closed its output
	done  chan struct{} // closed when the process has ended
	err   error         // of Wait; readable after done
}

// start starts a process that the caller must clear. Its standard input ends
// when the test binary does, however that ends.
func start(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: cmd, log: new(logBuffer), lines: make(chan string, 64), done: make(chan struct{})}
	cmd.Stderr = p.log
	// In a group of its own, the kernel continues a stopped child that the
	// test leaves behind.
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	go p.watch(stdout, stdin)
	return p
}

// clear kills the process and shows its log if the test has failed.
func (p *process) clear() {
	p.kill()
	if p.t.Failed() {
		p.t.Logf("%s (pid %d) ended with %v and had logged:\n%s", p.name, p.cmd.Process.Pid, p.err, p.log)
	}
}

// watch takes the process's lines until it ends.
func (p *process) watch(stdout io.Reader, stdin io.Closer) {
	defer close(p.done)
	scanner := bufio.NewScanner(stdout)
	for scanner.Scan() {
		select {
		case p.lines <- scanner.Text():
		default: // nobody reads that much
		}
	}
	close(p.lines)
	p.err = p.cmd.Wait()
	_ = stdin.Close()
}

// expect returns the rest of the next line that begins with word.
func (p *process) expect(ctx context.Context, word string) string {
	p.t.Helper()
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("%s ended without saying %q", p.name, word)
			}
			if first, rest, _ := strings.Cut(line, " "); first == word {
				return rest
			}
		case <-ctx.Done():
			p.t.Fatalf("%s did not say %q: %v", p.name, word, context.Cause(ctx))
		}
	}
}

// signal sends a signal to the process, which must be running.
func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("sending %v to %s: %v", s, p.name, err)
	}
}

// kill ends the process if it has not ended, without giving it a chance to say
// anything, and waits for that.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// exit waits until the process ends by itself, with success.
func (p *process) exit(ctx context.Context) {
	p.t.Helper()
	select {
	case <-p.done:
		if p.err != nil {
			p.t.Fatalf("%s: %v", p.name, p.err)
		}
	case <-ctx.Done():
		p.t.Fatalf("%s does not end: %v", p.name, context.Cause(ctx))
	}
}

// A logBuffer keeps the first and, where it is too much, not the rest of what
// is logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// maxLog is how much of a log is kept, in bytes.
const maxLog = 64 << 10

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Write(b[:min(len(b), maxLog-l.b.Len())])
	return len(b), nil
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
