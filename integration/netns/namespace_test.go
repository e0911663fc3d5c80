//go:build linux

package netns

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// namespaceDir is where ip keeps the names of namespaces.
const namespaceDir = "/run/netns"

// prefix begins the names of all namespaces of these tests. The process that
// made one follows, by number and by when it was started: numbers are used
// again.
const prefix = "weft-test-"

// A namespace is a network namespace that the test binary made.
type namespace struct {
	name string
	fd   int // of the namespace itself
}

var made atomic.Int64

func makeNamespace(role string) (*namespace, error) {
	name := fmt.Sprintf("%s%d-%s-%d-%s", prefix, os.Getpid(), started(os.Getpid()), made.Add(1), role)
	if _, err := finish(exec.Command("ip", "netns", "add", name), "", (*exec.Cmd).Start); err != nil {
		return nil, err
	}
	fd, err := unix.Open(filepath.Join(namespaceDir, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = removeNamespace(name)
		return nil, err
	}
	return &namespace{name, fd}, nil
}

// newNamespace makes a namespace that is deleted when the test ends.
func newNamespace(t *testing.T, role string) *namespace {
	t.Helper()
	ns, err := makeNamespace(role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.remove(); err != nil {
			t.Error(err)
		}
	})
	return ns
}

func (ns *namespace) remove() error {
	_ = unix.Close(ns.fd)
	return removeNamespace(ns.name)
}

func removeNamespace(name string) error {
	_, err := finish(exec.Command("ip", "netns", "delete", name), "", (*exec.Cmd).Start)
	return err
}

// in runs do in the namespace. What do makes there stays there: sockets, and
// processes, which end with the test binary.
func (ns *namespace) in(do func() error) error {
	err := make(chan error)
	entries <- func() {
		if e := unix.Setns(ns.fd, unix.CLONE_NEWNET); e != nil {
			err <- fmt.Errorf("entering %s: %w", ns.name, e)
			return
		}
		err <- do()
	}
	return <-err
}

// entries are carried out one after the other by one thread that is never in
// the machine's own network again and lives as long as the test binary: a
// process gets its death signal when the thread that started it ends.
var entries = make(chan func())

func startThread() {
	go func() {
		runtime.LockOSThread()
		for do := range entries {
			do()
		}
	}()
}

// start starts a command in the namespace.
func (ns *namespace) start(cmd *exec.Cmd) error { return ns.in(cmd.Start) }

// try runs a command in the namespace and returns its output.
func (ns *namespace) try(stdin string, command ...string) (string, error) {
	return finish(exec.Command(command[0], command[1:]...), stdin, ns.start)
}

// run runs a command that must not fail.
func (ns *namespace) run(t *testing.T, stdin string, command ...string) string {
	t.Helper()
	out, err := ns.try(stdin, command...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ip changes devices, addresses and routes, one command a line.
func (ns *namespace) ip(t *testing.T, lines ...string) {
	t.Helper()
	ns.run(t, strings.Join(lines, "\n"), "ip", "-batch", "-")
}

// sysctl writes to /proc/sys/net.
func (ns *namespace) sysctl(t *testing.T, key, value string) {
	t.Helper()
	err := ns.in(func() error { return os.WriteFile(filepath.Join("/proc/sys/net", key), []byte(value), 0) })
	if err != nil {
		t.Fatal(err)
	}
}

// finish runs a command, which start starts.
func finish(cmd *exec.Cmd, stdin string, start func(*exec.Cmd) error) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s\ngiven: %s", strings.Join(cmd.Args, " "), err, &stderr, stdin)
	}
	return stdout.String(), nil
}

// started returns when a process was started, in ticks since the machine was;
// empty if there is no such process any more.
func started(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	end := bytes.LastIndexByte(stat, ')') // the name before may hold anything
	fields := bytes.Fields(stat[end+1:])
	if state := string(fields[0]); state == "Z" || state == "X" {
		return "" // dead, and nobody has looked
	}
	return string(fields[19])
}

// removeLeftovers deletes the namespaces of test binaries that were killed.
// Their processes have died with them.
func removeLeftovers() error {
	entries, err := os.ReadDir(namespaceDir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), prefix)
		of := strings.SplitN(rest, "-", 3)
		if !ours || len(of) < 3 {
			continue
		}
		if pid, err := strconv.Atoi(of[0]); err != nil || started(pid) == of[1] {
			continue
		}
		if err := removeNamespace(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// missing says what keeps this machine from having labs; empty if nothing.
var missing = sync.OnceValue(func() string {
	if os.Geteuid() != 0 {
		return "network namespaces need root"
	}
	for _, command := range []string{"ip", "nft", "conntrack"} {
		if _, err := exec.LookPath(command); err != nil {
			return fmt.Sprintf("%v: install iproute2, nftables and conntrack", err)
		}
	}
	if err := removeLeftovers(); err != nil {
		return fmt.Sprintf("what an earlier run left cannot be removed: %v", err)
	}
	if err := probe(); err != nil {
		return fmt.Sprintf("no labs on this machine: %v", err)
	}
	return ""
})

// probe tries what labs are made of, in a namespace of its own.
func probe() error {
	ns, err := makeNamespace("probe")
	if err != nil {
		return err
	}
	defer func() { _ = ns.remove() }()
	for _, c := range []struct {
		stdin   string
		command []string
	}{
		{"link add name a type veth peer name b\nlink add name c type bridge", []string{"ip", "-batch", "-"}},
		{fullCone.rules(), []string{"nft", "-f", "-"}},
		{lossRules(1), []string{"nft", "-f", "-"}},
		{"", []string{"conntrack", "-F"}},
	} {
		if _, err := ns.try(c.stdin, c.command...); err != nil {
			return err
		}
	}
	return nil
}

// need skips the test if the machine cannot have labs.
func need(t *testing.T) {
	t.Helper()
	if why := missing(); why != "" {
		t.Skip(why)
	}
}
