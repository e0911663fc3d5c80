//go:build unix

package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A forwardLab is a lab with two commands that forward: one beside a program that
// serves, and one beside its clients.
type forwardLab struct {
	*lab
	vars []string
}

// newForwardLab has a relay. Sockets of its processes are apart from those of others.
func newForwardLab(t *testing.T) *forwardLab {
	t.Helper()
	l := &forwardLab{lab: newLab(t)}
	dir, err := os.MkdirTemp("", "weft") //nolint:usetesting // the names of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l.vars = []string{"XDG_RUNTIME_DIR=" + dir}
	l.relay()
	return l
}

// forward starts `weft forward`, or another command that says as much, and returns
// where each of the forwards listens.
func (l *forwardLab) forward(n int, args ...string) (listen []string) {
	l.t.Helper()
	p := l.weftWith(l.vars, append(args, "--json")...)
	for range n {
		select {
		case line, ok := <-p.lines:
			var status struct{ Listen string }
			if err := json.Unmarshal([]byte(line), &status); !ok || err != nil {
				l.t.Fatalf("weft %s says %q, %v", strings.Join(args, " "), line, err)
			}
			listen = append(listen, status.Listen)
		case <-l.ctx.Done():
			l.t.Fatalf("weft %s says nothing", strings.Join(args, " "))
		}
	}
	return listen
}

// to forwards ports of a new node kv-1 to targets here, and ports here to those, and
// returns the latter. What begins with udp/ is UDP.
func (l *forwardLab) to(targets ...string) (listen []string) {
	l.t.Helper()
	server, client := []string{"forward", "--name", "kv-1"}, []string{"forward"}
	for i, target := range targets {
		prefix := ""
		if rest, ok := strings.CutPrefix(target, "udp/"); ok {
			prefix, target = "udp/", rest
		}
		port := strconv.Itoa(1000 + i)
		server = append(server, "-R", prefix+port+"="+target)
		client = append(client, "-L", prefix+"0=kv-1:"+port)
	}
	l.forward(len(targets), server...)
	return l.forward(len(targets), client...)
}

// tool returns the path of a program, or skips the test.
func (l *lab) tool(name string, elsewhere ...string) string {
	l.t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	for _, pattern := range append(elsewhere, "/usr/sbin/"+name) {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	l.t.Skipf("%s is not installed", name)
	return ""
}

// serve starts a program that serves at addr, and waits until it does.
func (l *lab) serve(addr, program string, args ...string) *process {
	l.t.Helper()
	return l.serveAs(exec.Command(program, args...), addr)
}

func (l *lab) serveAs(cmd *exec.Cmd, addr string) *process {
	l.t.Helper()
	p := l.start(filepath.Base(cmd.Path), cmd)
	if err := eventually(l.ctx, func() bool {
		select {
		case <-p.done:
			return true
		default:
		}
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}); err != nil {
		l.t.Fatalf("%s does not listen at %s: %v", p.name, addr, err)
	}
	select {
	case <-p.done:
		l.t.Fatalf("%s has ended: %v\n%s", p.name, p.err, p.log)
	default:
	}
	return p
}

// run runs a program to its end and returns what it wrote to standard output.
func (l *lab) run(stdin []byte, program string, args ...string) string {
	l.t.Helper()
	return l.runCmd(stdin, exec.CommandContext(l.ctx, program, args...))
}

func (l *lab) runCmd(stdin []byte, cmd *exec.Cmd) string {
	l.t.Helper()
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &errs
	out, err := cmd.Output()
	if err != nil {
		l.t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, &errs)
	}
	return string(out)
}

// freeAddr is an address on loopback where nobody listens, for programs that cannot
// say which port they have chosen.
func (l *lab) freeAddr() (addr, port string) {
	l.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return ln.Addr().String(), port
}

// portOf is the port of an address.
func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// write writes a file into a directory and returns its path.
func (l *lab) write(dir, name, format string, args ...any) string {
	l.t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}
