package gossip_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/racetest"
)

// meshTime is how long a test of mesh waits for what has to happen: topology
// changes take mesh a second and more.
const meshTime = 60 * time.Second

func meshTransport(t testing.TB) gossip.Transport {
	t.Helper()
	password := network.Derive("mesh")
	m, err := gossip.NewMesh(gossip.MeshConfig{Password: password[:]})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tcpPair returns the ends of a conn on loopback.
func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err = (&net.Dialer{}).DialContext(t.Context(), "tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// join serves a conn between two relays until the test ends or cut is called.
func join(t testing.TB, a, b *testRelay) (cut func()) {
	t.Helper()
	ca, cb := tcpPair(t)
	return joinOver(t, a, b, ca, cb)
}

func joinOver(t testing.TB, a, b *testRelay, ca, cb net.Conn) (cut func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { a.Serve(ctx, ca, b.id) })
	wg.Go(func() { b.Serve(ctx, cb, a.id) })
	cut = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(cut)
	return cut
}

// await waits for a change.
func (r *testRelay) await(want gossip.Change) {
	r.t.Helper()
	timeout := time.After(meshTime)
	for {
		select {
		case got := <-r.changes:
			if got == want {
				return
			}
		case <-timeout:
			r.t.Fatalf("relay %v: no change %+v; relays %+v, stats %+v", r.id, want, r.Relays(), r.Stats())
		}
	}
}

// awaitReach waits until the relays can be reached.
func (r *testRelay) awaitReach(others ...*testRelay) {
	r.t.Helper()
	timeout := time.After(meshTime)
	for {
		reachable := 0
		for _, known := range r.Relays() {
			for _, o := range others {
				if known.ID == o.id && known.Reachable {
					reachable++
				}
			}
		}
		if reachable == len(others) {
			return
		}
		select {
		case <-r.relays:
		case <-timeout:
			r.t.Fatalf("relay %v knows only %+v; stats %+v", r.id, r.Relays(), r.Stats())
		}
	}
}

// exchange sends datagrams from a to b until one arrives.
func exchange(t testing.TB, a, b *testRelay) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(meshTime)
	for {
		a.Send(b.id, a.id, []byte("hello"))
		select {
		case got := <-b.datagrams:
			if want := fmt.Sprint(a.id, ": hello"); got == want {
				return
			}
		case <-tick.C:
		case <-timeout:
			t.Fatalf("no datagram from %v to %v; stats %+v and %+v", a.id, b.id, a.Stats(), b.Stats())
		}
	}
}

func TestMeshCarriesAlongALine(t *testing.T) {
	a, b, c := newRelay(t, meshTransport(t)), newRelay(t, meshTransport(t)), newRelay(t, meshTransport(t))
	early := newNode(t, "early")
	early.mustAttach(a)
	join(t, a, b)
	join(t, b, c)
	c.await(gossip.Change{Node: early.peer.ID, Relay: a.id})
	a.awaitReach(b, c)
	c.awaitReach(a, b)
	exchange(t, a, c)
	exchange(t, c, a)

	late := newNode(t)
	late.mustAttach(c)
	a.await(gossip.Change{Node: late.peer.ID, Relay: c.id})
	c.Withdraw(late.peer.ID, false)
	a.await(gossip.Change{Node: late.peer.ID, Was: c.id})
}

// The others need not wait for a grace time when a relay says that it leaves.
func TestMeshTellsThatARelayLeaves(t *testing.T) {
	a, b := newRelay(t, meshTransport(t)), newRelay(t, meshTransport(t))
	n := newNode(t)
	n.mustAttach(a)
	join(t, a, b)
	b.await(gossip.Change{Node: n.peer.ID, Relay: a.id})
	b.awaitReach(a)
	a.Close()
	b.await(gossip.Change{Node: n.peer.ID, Was: a.id})
	if list := b.Relays(); len(list) != 1 || !list[0].Leaving {
		t.Errorf("b knows %+v", list)
	}
}

// flood sends datagrams of 32 KiB from a relay to others until ctx ends.
func flood(ctx context.Context, from *testRelay, to ...*testRelay) {
	p := make([]byte, 32<<10)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		for _, r := range to {
			for range 8 {
				from.Send(r.id, from.id, p)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// awaitDatagrams waits until n more datagrams have arrived.
func (r *testRelay) awaitDatagrams(n uint64) {
	r.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(meshTime)
	for want := r.Stats().DatagramsReceived + n; r.Stats().DatagramsReceived < want; {
		select {
		case <-tick.C:
		case <-timeout:
			r.t.Fatalf("relay %v: %d datagrams, want %d; %+v", r.id, r.Stats().DatagramsReceived, want, r.Stats())
		}
	}
}

// All relays of a ring send to all others as fast as they can. mesh alone comes
// to a halt within seconds, all its readers waiting for each other.
func TestARingUnderLoadGoesOn(t *testing.T) {
	racetest.AllProcessors(t)
	var ring []*testRelay
	for range 4 {
		ring = append(ring, newRelay(t, meshTransport(t)))
	}
	for i, r := range ring {
		join(t, r, ring[(i+1)%len(ring)])
	}
	others := func(i int) []*testRelay { return append(slices.Clone(ring[:i]), ring[i+1:]...) }
	for i, r := range ring {
		r.awaitReach(others(i)...)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i, r := range ring {
		wg.Go(func() { flood(ctx, r, others(i)...) })
	}
	for range 4 {
		for _, r := range ring {
			r.awaitDatagrams(40)
		}
	}
	node := newNode(t) // gossip gets through
	node.mustAttach(ring[0])
	ring[2].await(gossip.Change{Node: node.peer.ID, Relay: ring[0].id})
	cancel()
	wg.Wait()
	for _, r := range ring {
		if s := r.Stats(); s.DatagramDrops == 0 {
			t.Errorf("relay %v dropped nothing; was that all? %+v", r.id, s)
		}
	}
}

// A deafConn reads nothing any more once it is deaf.
type deafConn struct {
	net.Conn
	deaf   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	select {
	case <-c.deaf:
		<-c.closed
		return 0, net.ErrClosed
	default:
	}
	return n, err
}

func (c *deafConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// One relay in a star takes nothing any more; the others go on as before.
func TestAStuckRelayDelaysNobodyElse(t *testing.T) {
	racetest.AllProcessors(t)
	hub, a, b, stuck := newRelay(t, meshTransport(t)), newRelay(t, meshTransport(t)), newRelay(t, meshTransport(t)), newRelay(t, meshTransport(t))
	join(t, hub, a)
	join(t, hub, b)
	ch, cs := tcpPair(t)
	deaf := &deafConn{Conn: cs, deaf: make(chan struct{}), closed: make(chan struct{})}
	joinOver(t, hub, stuck, ch, deaf)
	a.awaitReach(hub, b, stuck)
	b.awaitReach(hub, a, stuck)
	exchange(t, a, stuck)
	exchange(t, a, b)
	exchange(t, b, a)
	close(deaf.deaf)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { flood(ctx, a, stuck, b) })
	wg.Go(func() { flood(ctx, hub, stuck) })
	wg.Go(func() { flood(ctx, b, stuck, a) })
	for range 4 {
		a.awaitDatagrams(40)
		b.awaitDatagrams(40)
	}
	cancel()
	wg.Wait()
}

// meshGoroutines counts the goroutines that mesh has made.
func meshGoroutines() int {
	buf := make([]byte, 8<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "created by github.com/weaveworks/mesh.")
}

// openFiles counts file descriptors, where the system tells them.
func openFiles() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(list)
}

// What Close leaves behind for each relay is what NewMesh's documentation says.
func TestCloseOfMeshLeavesFiveGoroutinesAndASocket(t *testing.T) {
	const n = 4
	goroutines, files := meshGoroutines(), openFiles()
	var relays []*testRelay
	for range n {
		relays = append(relays, newRelay(t, meshTransport(t)))
	}
	cut := join(t, relays[0], relays[1])
	relays[0].awaitReach(relays[1])
	exchange(t, relays[0], relays[1])
	cut()
	for _, r := range relays {
		r.Close()
		r.Close() // again
	}
	if err := relays[0].Serve(t.Context(), nopConn{}, relays[1].id); err == nil {
		t.Error("Serve works after Close")
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(meshTime)
	for meshGoroutines()-goroutines > 5*n || openFiles()-files > n {
		select {
		case <-tick.C: // the goroutines of conns end by and by
		case <-timeout:
			t.Fatalf("%d goroutines and %d files of %d routers are left", meshGoroutines()-goroutines, openFiles()-files, n)
		}
	}
	t.Logf("%d goroutines and %d files of %d routers are left", meshGoroutines()-goroutines, openFiles()-files, n)
}

type nopConn struct{ net.Conn }

func (nopConn) Close() error { return nil }

func TestMeshLetsNoStrangerIn(t *testing.T) {
	a, b := newRelay(t, meshTransport(t)), newRelay(t, meshTransport(t))
	ca, cb := tcpPair(t)
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), meshTime)
	defer cancel()
	// a's session says that another relay is at the other end than the one
	// whose mesh answers.
	wg.Go(func() { a.Serve(ctx, ca, b.id^1) })
	wg.Go(func() { b.Serve(ctx, cb, a.id) })
	wg.Wait()
	if ctx.Err() != nil {
		t.Fatal("mesh took a relay under another name than the proven one")
	}
	if got := len(a.Relays()); got != 0 {
		t.Errorf("a knows %d relays", got)
	}
}
