package netmon

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A namespace is a network of this test's own, in which Watch runs.
type namespace struct {
	t       *testing.T
	path    string
	changes chan Change
}

// newNamespace makes a namespace with a link "lan0" that is up, and watches it
// until the test ends.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace takes root")
	}
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	n := &namespace{t: t, changes: make(chan Change, 100)}
	ready, looked, done := make(chan error, 1), make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends, and the namespace with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		n.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- err
		if err != nil {
			return
		}
		once := sync.OnceFunc(func() { close(looked) })
		w := watcher{
			look:      func() Change { defer once(); return look() },
			subscribe: subscribe,
			wall:      time.Now,
			changed:   func(c Change) { n.changes <- c },
		}
		_ = w.run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	if err := <-ready; err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	<-looked // what changes from now on is a change
	n.ip("link add lan0 type veth peer name lan1")
	n.ip("link set lan1 up")
	n.ip("link set lan0 up")
	return n
}

func (n *namespace) ip(args string) {
	n.t.Helper()
	out, err := exec.CommandContext(n.t.Context(), "nsenter", append([]string{"--net=" + n.path, "ip"}, strings.Fields(args)...)...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// expect waits until the network is as it should be.
func (n *namespace) expect(what string, ok func(Change) bool) {
	n.t.Helper()
	var last Change
	for {
		select {
		case last = <-n.changes:
			if ok(last) {
				return
			}
		case <-time.After(time.Minute):
			n.t.Fatalf("%s: there is %+v", what, last)
		}
	}
}

func TestWatchInANamespace(t *testing.T) {
	n := newNamespace(t)
	is := func(want ...string) func(Change) bool {
		return func(c Change) bool { return slices.Equal(c.Addrs, addrs(want...)) }
	}
	n.ip("addr add 10.99.0.5/24 dev lan0")
	n.expect("an address", is("10.99.0.5"))
	n.ip("addr add 2001:db8:99::5/64 dev lan0 nodad")
	n.expect("and an IPv6 one", is("10.99.0.5", "2001:db8:99::5"))
	n.ip("addr add 2001:db8:99::6/64 dev lan0 nodad")
	n.expect("another", is("10.99.0.5", "2001:db8:99::5", "2001:db8:99::6"))
	n.ip("addr change 2001:db8:99::5/64 dev lan0 preferred_lft 0")
	n.expect("one is deprecated", is("10.99.0.5", "2001:db8:99::6"))
	gateway := netip.MustParseAddr("10.99.0.1")
	n.ip("route add default via 10.99.0.1")
	n.expect("a gateway", func(c Change) bool {
		return len(c.Routes) == 1 && c.Routes[0].Gateway == gateway && c.Routes[0].Source == netip.MustParseAddr("10.99.0.5") && c.Routes[0].Interface != 0
	})
	n.ip("-6 route add default via fe80::1 dev lan0")
	n.expect("an IPv6 gateway", func(c Change) bool { return len(c.Routes) == 2 && c.Routes[1].Gateway.Is6() })
	n.ip("link set lan1 down")
	n.expect("unplugged", is())
	n.ip("link set lan1 up")
	n.expect("plugged in", func(c Change) bool { return len(c.Addrs) == 2 })
	n.ip("addr del 10.99.0.5/24 dev lan0")
	n.expect("an address less", is("2001:db8:99::6"))
}
