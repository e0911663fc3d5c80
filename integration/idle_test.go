//go:build linux

package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/racetest"
	"github.com/weftnet/weft/overlay"
)

const (
	idleNodes     = 5000
	idleFor       = 60 * time.Second
	idleAtMost    = 10.0            // per cent of one CPU
	perSource     = 200             // nodes with one address: a relay takes 256 links of each
	ticksASecond  = 100             // of /proc/*/stat: USER_HZ, the same on all of Linux
	joiningAtOnce = 32              // nodes
	joinTimeout   = 5 * time.Minute // of all
)

// A relay whose nodes have nothing to say uses at most a tenth of one CPU for
// five thousand of them: the relay's process alone, user and system time
// together. WEFT_BIG=1 runs it; it takes some minutes.
func TestARelayOfIdleNodesIsIdle(t *testing.T) {
	l, pid := crowded(t, idleNodes)
	ctx, cancel := context.WithTimeout(t.Context(), joinTimeout)
	defer cancel()
	began := time.Now()
	nodes := join(ctx, t, l.relays, idleNodes)
	joined := time.Since(began)
	<-time.After(10 * time.Second) // what joining has left to do
	before, watched := processTime(t, pid), time.Now()
	<-time.After(idleFor)
	used, took := processTime(t, pid)-before, time.Since(watched)
	up := 0
	for _, n := range nodes {
		if relays := n.Status().Relays; len(relays) == 1 && relays[0].Up {
			up++
		}
	}
	share := 100 * used.Seconds() / took.Seconds()
	t.Logf("%d nodes joined within %v; with %d of them attached and idle the relay's process used %v in %v: %.1f %% of one CPU; it holds %s",
		idleNodes, joined.Round(time.Second), up, used, took.Round(time.Millisecond), share, residentMemory(t, pid))
	if up != idleNodes {
		t.Errorf("%d of %d nodes are attached", up, idleNodes)
	}
	if share > idleAtMost {
		t.Errorf("the relay used %.1f %% of one CPU, want %v at most", share, idleAtMost)
	}
}

// crowded starts a relay of an open network, for n nodes of this process, and returns the
// ID of its process; or skips the test.
func crowded(t *testing.T, n int) (*lab, int) {
	t.Helper()
	if os.Getenv("WEFT_BIG") == "" {
		t.Skip("WEFT_BIG=1 runs it")
	}
	if racetest.Enabled {
		t.Skip("the nodes are of this process, whose memory the race detector multiplies")
	}
	needFiles(t, uint64(n)+500)
	l := newLab(t)
	l.secret = ""
	addrFile := filepath.Join(t.TempDir(), "addr")
	relay := l.weft("relay", "--listen", "127.0.0.1:0", "--addr-file", addrFile)
	l.relays = []string{l.awaitFile(addrFile)}
	return l, relay.cmd.Process.Pid
}

// join starts n nodes that have joined when it returns, and end with the test.
func join(ctx context.Context, t *testing.T, relays []string, n int) []*overlay.Node {
	t.Helper()
	nodes := make([]*overlay.Node, n)
	t.Cleanup(func() {
		all(n, func(i int) {
			if nodes[i] != nil {
				_ = nodes[i].Close()
			}
		})
	})
	errs := make(chan error, 1)
	all(n, func(i int) {
		node, err := overlay.New(overlay.Config{Open: true, Relays: relays, DialLink: from(i / perSource), NoDirect: true})
		if err == nil {
			nodes[i] = node
			err = node.WaitReady(ctx)
		}
		if err != nil {
			select {
			case errs <- fmt.Errorf("node %d: %w", i, err):
			default:
			}
		}
	})
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	return nodes
}

// all calls f for each of n nodes, for some at once.
func all(n int, f func(i int)) {
	var wg sync.WaitGroup
	for worker := range joiningAtOnce {
		wg.Go(func() {
			for i := worker; i < n; i += joiningAtOnce {
				f(i)
			}
		})
	}
	wg.Wait()
}

// from dials from a loopback address of its own.
func from(i int) func(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i))}}
	return d.DialContext
}

// needFiles makes room for open files, or skips the test.
func needFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= n {
		return
	}
	if limit.Max < n {
		t.Skipf("a process may open %d files here (ulimit -Hn), and the test needs %d", limit.Max, n)
	}
	// The relay's own limit follows: Go raises it to the highest allowed.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: limit.Max}); err != nil {
		t.Skipf("a process may open %d files here and the test needs %d: %v", limit.Cur, n, err)
	}
}

// processTime returns the user and system time that a process has used.
func processTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	// The name, in brackets, may hold spaces; utime is field 14, stime 15.
	stat := string(b)
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	var ticks int64
	for _, field := range fields[14-3 : 16-3] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksASecond
}

// residentMemory returns what a process has in memory, as the kernel writes it.
func residentMemory(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.Join(strings.Fields(line), " ")
}
