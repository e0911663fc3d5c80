//go:build linux

package netns

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestALabHasNoWayOut(t *testing.T) {
	t.Parallel()
	for _, f := range []family{ipv4, ipv6} {
		before := devices(t)
		l := newLab(t, f, open, open)
		if after := devices(t); !slices.Equal(after, before) {
			t.Errorf("the machine had %v, and now %v", before, after)
		}
		for _, addr := range []string{"192.0.2.1", "2001:db8:ffff::1"} {
			if out, err := l.internet.try("", "ip", "route", "get", addr); err == nil {
				t.Errorf("there is a way from the internet to %s: %s", addr, out)
			}
		}
	}
}

func devices(t *testing.T) (names []string) {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

// roleVictim makes the test binary one that has a namespace with a process in
// it, and waits to be killed.
const roleVictim = "victim"

func playVictim() error {
	startThread()
	ns, err := makeNamespace("victim")
	if err != nil {
		return err
	}
	child := exec.Command("sleep", "600")
	child.SysProcAttr = dieWithParent()
	if err := ns.start(child); err != nil {
		return err
	}
	fmt.Println(ns.name, child.Process.Pid, started(child.Process.Pid))
	return child.Wait()
}

func TestNothingIsLeftOfAKilledRun(t *testing.T) {
	t.Parallel()
	need(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	victim := exec.CommandContext(t.Context(), self)
	victim.Env = append(os.Environ(), envRole+"="+roleVictim)
	victim.SysProcAttr = dieWithParent()
	stdout, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	var name, childStarted string
	var child int
	_, scanErr := fmt.Fscanln(bufio.NewReader(stdout), &name, &child, &childStarted)
	_ = victim.Process.Kill()
	_ = victim.Wait()
	if scanErr != nil {
		t.Fatal(scanErr)
	}
	for deadline := time.Now().Add(testTimeout); started(child) == childStarted; time.Sleep(watchInterval) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d goes on", child)
		}
	}
	file := filepath.Join(namespaceDir, name)
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	if err := removeLeftovers(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", name, err)
	}
	if why := probe(); why != nil {
		t.Errorf("this run's own namespaces have suffered: %v", why)
	}
}

// dieWithParent lets a process end with the thread that started it, however
// that ends.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
