package overlaytest

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/overlay"
)

// recovery is how long it may take after the last fault until every node reaches
// every other one.
const recovery = 5 * time.Second

// reachAll dials between all pairs of nodes at once, each of which echoes at port
// 7, and checks that it is done within recovery.
func reachAll(t *testing.T, fault string, nodes ...*overlay.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	var wg sync.WaitGroup
	for _, from := range nodes {
		for _, to := range nodes {
			if from == to {
				continue
			}
			wg.Go(func() {
				err := exchange(ctx, from, net.JoinHostPort(to.Key().String(), "7"))
				if d := time.Since(began); err != nil || d > recovery {
					t.Errorf("%s reached %s %v after %s, want %v at most (%v)", from.Name(), to.Name(), d, fault, recovery, err)
				}
			})
		}
	}
	wg.Wait()
}

// exchange dials an echo, again where the answer is that the node is not there
// yet, and sends and gets back a few bytes.
func exchange(ctx context.Context, from *overlay.Node, addr string) error {
	for {
		c, err := from.Dial(ctx, addr)
		if err == nil {
			defer c.Close()
			deadline, _ := ctx.Deadline()
			_ = c.SetDeadline(deadline)
			b := make([]byte, 5)
			if _, err = c.Write([]byte("hello")); err == nil {
				_, err = c.Read(b)
			}
			if err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// A fault is something that happens to a lab and stops after a while.
type fault struct {
	name  string
	start func(l *Lab)
	stop  func(l *Lab)
}

func faults() []fault {
	var all []fault
	for _, host := range []string{"relay", "a", "b"} {
		all = append(all,
			fault{"cut of " + host, func(l *Lab) { l.Cut(host) }, func(l *Lab) { l.Heal(host) }},
			fault{"death of " + host, func(l *Lab) { l.Kill(host) }, func(l *Lab) { l.Restart(host) }},
			fault{"power cut of " + host, func(l *Lab) { l.Cut(host); l.Kill(host) }, func(l *Lab) { l.Heal(host); l.Restart(host) }},
			fault{"new address of " + host, func(l *Lab) { l.Cut(host); l.Roam(host) }, func(l *Lab) { l.Heal(host) }},
		)
	}
	bad := Impairment{Latency: latency, Loss: 0.9, Corrupt: 0.5}
	return append(all, fault{"bad links", func(l *Lab) { l.ImpairAll(bad) }, func(l *Lab) { l.ImpairAll(Impairment{Latency: latency}) }})
}

// threeEchoes starts three nodes with an echo at port 7; restarted returns the
// present ones, with an echo even if they were restarted.
func threeEchoes(t *testing.T, l *Lab) (restarted func() []*overlay.Node) {
	t.Helper()
	hosts := []string{"a", "b", "c"}
	serving := make(map[*overlay.Node]bool)
	restarted = func() (nodes []*overlay.Node) {
		for _, host := range hosts {
			n := l.host(host).process().node
			if !serving[n] {
				serving[n] = true
				echo(t, n, 7)
			}
			nodes = append(nodes, n)
		}
		return nodes
	}
	for _, host := range hosts {
		l.Node(host, overlay.Config{})
	}
	return restarted
}

// R1: after a fault, every pair is connected again soon.
func TestEveryPairConnectsSoonAfterAFault(t *testing.T) {
	for _, f := range faults() {
		for _, lasts := range []time.Duration{3 * time.Second, 40 * time.Second} {
			t.Run(fmt.Sprint(f.name, " of ", lasts), func(t *testing.T) {
				inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
					nodes := threeEchoes(t, l)
					reachAll(t, "the start", nodes()...)
					f.start(l)
					time.Sleep(lasts)
					f.stop(l)
					reachAll(t, f.name, nodes()...)
				})
			})
		}
	}
}

// R3: what a fault costs is given back.
func TestFaultsLeaveNothingBehind(t *testing.T) {
	inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
		nodes := threeEchoes(t, l)
		round := func() (running int, heap uint64) {
			for _, f := range faults() {
				f.start(l)
				time.Sleep(7 * time.Second)
				f.stop(l)
				reachAll(t, f.name, nodes()...)
			}
			time.Sleep(10 * time.Minute) // sessions without conns end
			synctest.Wait()
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return goroutines(), m.HeapAlloc
		}
		before, heapBefore := round()
		for range 3 {
			round()
		}
		after, heapAfter := round()
		if after > before {
			t.Errorf("%d goroutines after more faults, %d before:\n%s", after, before, stacks())
		}
		const slack = 1 << 20
		if heapAfter > heapBefore+slack {
			t.Errorf("%d bytes of heap after more faults, %d before", heapAfter, heapBefore)
		}
	})
}

// goroutines counts those of this test's bubble: what the runtime and earlier
// tests have running is not the test's business.
func goroutines() (n int) {
	var own string // " synctest bubble 55]:", in the first line: this goroutine comes first
	for line := range strings.Lines(stacks()) {
		if !strings.HasPrefix(line, "goroutine ") {
			continue
		}
		if own == "" {
			own = line[strings.LastIndex(line, ","):]
		}
		if strings.HasSuffix(line, own) {
			n++
		}
	}
	return n
}

// stacks returns where all goroutines are.
func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

// R4: a conn, link or node that stands still does not hold up others.
func TestOneThatStandsStillHoldsUpNobody(t *testing.T) {
	inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
		a, b, c, d := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{}), l.Node("c", overlay.Config{}), l.Node("d", overlay.Config{})
		var talks []*talk
		for _, pair := range [][2]*overlay.Node{{a, b}, {b, c}, {c, a}} {
			talks = append(talks, talkBetween(t, pair[0], pair[1]))
		}
		for range 10 { // nobody reads these
			unread, _ := connect(t, a, b)
			_ = unread.SetWriteDeadline(time.Now().Add(2 * time.Minute))
			go func() { _, _ = unread.Write(make([]byte, 1<<20)) }()
		}
		for _, from := range []*overlay.Node{a, b, c} { // a link that is far too slow
			x, y := connect(t, from, d)
			f := newFlow()
			go f.pace(x, 10_000, 0, 1_000_000, nil)
			go f.take(y)
		}
		l.Impair("d", "relay", Impairment{Latency: latency, Bandwidth: 20_000})
		const seconds, each = 40, 20 * 1000 // bytes a second that a direction of a talk moves
		before := progress(talks)
		time.Sleep(seconds * time.Second)
		for i, n := range progress(talks) {
			if n-before[i] < (seconds-2)*each {
				t.Errorf("direction %d of %v moved %d bytes, want about %d", i, talks[i/2].name, n-before[i], seconds*each)
			}
		}
		for _, k := range talks {
			k.wantSilence(time.Second)
			k.survived()
		}
	})
}

func progress(talks []*talk) (all []uint64) {
	for _, k := range talks {
		all = append(all, k.there.progress(), k.back.progress())
	}
	return all
}

// Closing a node delivers what was written.
func TestCloseDeliversWhatWasWritten(t *testing.T) {
	for _, test := range []struct {
		name  string
		close func(ctx context.Context, n *overlay.Node, c net.Conn) error
	}{
		{"Close of conn and node", func(_ context.Context, n *overlay.Node, c net.Conn) error { _ = c.Close(); return n.Close() }},
		{"Close of conn, Shutdown of node", func(ctx context.Context, n *overlay.Node, c net.Conn) error {
			_ = c.Close()
			return n.Shutdown(ctx)
		}},
		{"CloseWrite of conn, Close of node", func(_ context.Context, n *overlay.Node, c net.Conn) error {
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
			return n.Close()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inLab(t, Config{Seed: 1, Link: Impairment{Latency: latency, Loss: 0.05}}, func(t *testing.T, l *Lab) {
				a := l.Node("a", overlay.Config{})
				b := l.Node("b", overlay.Config{})
				x, y := connect(t, b, a)
				f := newFlow()
				if err := f.write(x, 200_000); err != nil {
					t.Fatal(err)
				}
				f.finished = true
				var wg sync.WaitGroup
				wg.Go(func() { f.take(y) })
				if err := test.close(t.Context(), b, x); err != nil {
					t.Fatal(err)
				}
				l.Kill("b") // it must not be needed any more
				wg.Wait()
				if err := f.complete(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Closing a node takes 6 s at most and leaves nothing running, whatever it was
// doing.
func TestCloseEndsEverythingInAnyState(t *testing.T) {
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testClose(t, f) }) })
	}
}

func testClose(t *testing.T, f fault) {
	l := New(t, Config{Link: Impairment{Latency: latency}})
	before := goroutines()
	l.Relay("relay")
	a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
	k := talkBetween(t, a, b)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { _ = dialOnly(ctx, a, "nobody:7") })
	wg.Go(func() { _, _ = a.DialPacket(ctx, "0123456789abcdef:7") })
	time.Sleep(time.Second)
	f.start(l)
	time.Sleep(2500 * time.Millisecond)
	for _, n := range []*overlay.Node{a, b} {
		began := time.Now()
		_ = n.Close()
		if d := time.Since(began); d > overlay.CloseTimeout+time.Second {
			t.Errorf("closing %s took %v, want %v at most", n.Name(), d, overlay.CloseTimeout+time.Second)
		}
	}
	k.end()
	cancel()
	wg.Wait()
	for _, host := range []string{"a", "b", "relay"} {
		l.Kill(host)
	}
	synctest.Wait()
	if after := goroutines(); after > before {
		t.Errorf("%d goroutines, %d before:\n%s", after, before, stacks())
	}
}
