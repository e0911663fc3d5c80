package gossip_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/gossip"
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
		a.Send(b.id, []byte("hello"))
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
	c.Withdraw(late.peer.ID)
	a.await(gossip.Change{Node: late.peer.ID, Was: c.id})
}
