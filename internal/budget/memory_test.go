//go:build !race

package budget

import (
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/weftnet/weft/overlay"
)

// usage is what a process holds.
type usage struct{ heap, stacks, goroutines int }

// since is what a process holds more than before.
func (u usage) since(before usage) usage {
	return usage{u.heap - before.heap, u.stacks - before.stacks, u.goroutines - before.goroutines}
}

// inUse measures heap and stacks, after collecting what nobody needs.
func inUse() usage {
	var m runtime.MemStats
	for range 3 { // finalizers and pools take a cycle each
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return usage{int(m.HeapAlloc), int(m.StackInuse), runtime.NumGoroutine()}
}

// An idle conn, both ends of it, which has carried a few bytes.
func TestIdleStream(t *testing.T) {
	const streams, budget = 1000, 2500
	l := newLab(t)
	client := l.nodes(1)[0]
	accepted := l.serve(l.relay)
	conns := make([]net.Conn, 0, 2*streams+2)
	open := func() {
		c := l.dial(client, l.relay)
		greet(t, c, <-accepted, &conns)
	}
	open() // the session
	before := inUse()
	for range streams {
		open()
	}
	u := inUse().since(before)
	bytes := (u.heap + u.stacks) / streams
	t.Logf("%d bytes for each, %d goroutines for all of %d idle streams", bytes, u.goroutines, streams)
	if bytes > budget {
		t.Errorf("%d bytes for an idle stream, both ends; the budget is %d", bytes, budget)
	}
	if u.goroutines > 5 {
		t.Errorf("%d goroutines for %d idle streams, want none for each", u.goroutines, streams)
	}
	for _, c := range conns {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// greet has both ends of a conn say and read a few bytes, and keeps them.
func greet(t *testing.T, client, server net.Conn, kept *[]net.Conn) {
	t.Helper()
	b := make([]byte, 100)
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		if _, err := way[0].Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(way[1], b); err != nil {
			t.Fatal(err)
		}
	}
	*kept = append(*kept, client, server)
}

// An idle session, both ends of it, between nodes that have a relay in common.
func TestIdleSession(t *testing.T) {
	const heap, goroutines = 36 << 10, 4
	l := newLab(t)
	nodes := l.nodes(24)
	accepted := make([]<-chan net.Conn, len(nodes))
	for i, n := range nodes {
		accepted[i] = l.serve(n)
	}
	before := inUse()
	sessions := 0
	for i, a := range nodes {
		for j, b := range nodes[:i] {
			hello(t, l, a, b, accepted[j])
			sessions++
		}
	}
	u := inUse().since(before)
	t.Logf("%d bytes of heap, %d of stacks, %.2f goroutines for each of %d idle sessions",
		u.heap/sessions, u.stacks/sessions, float64(u.goroutines)/float64(sessions), sessions)
	if n := u.heap / sessions; n > heap {
		t.Errorf("%d bytes of heap for an idle session, both ends; the budget is %d", n, heap)
	}
	if n := u.goroutines; n > goroutines*sessions {
		t.Errorf("%d goroutines for %d sessions; the budget is %d for each, both ends", n, sessions, goroutines)
	}
}

// hello makes two nodes have a session and no conn.
func hello(t *testing.T, l *lab, a, b *overlay.Node, accepted <-chan net.Conn) {
	t.Helper()
	c := l.dial(a, b)
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	s := <-accepted
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for _, end := range []net.Conn{c, s} {
		if err := end.Close(); err != nil {
			t.Error(err)
		}
	}
}
