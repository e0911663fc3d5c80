//go:build unix

package integration

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/weftnet/weft/overlay"
)

// cycles is how often a node comes and goes.
const cycles = 100

// It does not run beside other tests, whose goroutines and files come and go.
func TestNodesThatHaveClosedLeaveNothingBehind(t *testing.T) {
	l := newLab(t)
	l.secret = "" // whose derivation would take most of the time
	relay := l.relay()
	server := l.server()
	key, err := overlay.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cycle := func() {
		// The same node each time: the relay remembers those that it has seen.
		node, err := overlay.New(overlay.Config{Open: true, Relays: l.relays, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := node.Close(); err != nil {
				t.Error(err)
			}
		}()
		c, err := node.Dial(l.ctx, server.addr(portEcho))
		if err != nil {
			t.Fatal(err)
		}
		l.speak(c)
	}
	pids := []int{os.Getpid(), relay.cmd.Process.Pid, server.cmd.Process.Pid}
	cycle() // what is made once
	goroutines := runtime.NumGoroutine()
	var files [3]int
	for i, pid := range pids {
		files[i] = openFiles(t, pid)
	}
	for range cycles {
		cycle()
	}
	settled := func() bool {
		for i, pid := range pids {
			if openFiles(t, pid) > files[i] {
				return false
			}
		}
		return runtime.NumGoroutine() <= goroutines
	}
	if err := eventually(l.ctx, settled); err != nil {
		stacks := make([]byte, 1<<20)
		t.Errorf("before: %d goroutines, %d files; after %d nodes: %d goroutines\n%s",
			goroutines, files, cycles, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
	}
}

// openFiles counts the open files of a process, where the system says so.
func openFiles(t *testing.T, pid int) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	files, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
