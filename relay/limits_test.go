package relay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
)

// Many nodes of one address ask as fast as they can. A node of another address
// is served at once, and those that are refused are told why.
func TestOneAddressDoesNotStarveOthers(t *testing.T) { synctest.Test(t, testFloodOfRequests) }
func testFloodOfRequests(t *testing.T) {
	l := newLab(t)
	defer l.close()
	relay := l.relay("relay", newKey(t, ""), &Server{RegistrationsPerSecondPerAddress: 1, RequestsPerSecondPerAddress: 10})
	defer l.stop(relay)
	const crowd = 30
	var flooders []*registration
	for range crowd {
		n := l.node("crowd", newKey(t, ""))
		defer n.close()
		flooders = append(flooders, l.link(n, relay.addr))
	}
	honest := l.node("honest", newKey(t, ""))
	defer honest.close()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, f := range flooders {
		wg.Go(func() { ask(ctx, t, func(uint64) error { return lookup(ctx, f) }) })
		wg.Go(func() { ask(ctx, t, func(seq uint64) error { return f.register(1, seq) }) })
	}
	time.Sleep(10 * time.Second)
	r := l.link(honest, relay.addr)
	for seq := range uint64(5) {
		began := time.Now()
		if err := r.register(1, seq+1); err != nil {
			t.Error(err)
		}
		if err := lookup(ctx, r); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 5*delay {
			t.Errorf("an honest node waited for %v", took)
		}
		time.Sleep(time.Second)
	}
	stop()
	wg.Wait()
	if s := relay.Stats(); s.LimitedRequests == 0 || s.LimitedRegistrations == 0 {
		t.Errorf("nothing was refused: %+v", s)
	}
}

// lookup asks for a node that is not there.
func lookup(ctx context.Context, r *registration) error {
	_, err := r.client.Lookup(ctx, identity.Target{ID: 1})
	if errors.Is(err, control.ErrNotFound) {
		return nil
	}
	return err
}

// ask asks until ctx ends. It may be told that the relay is busy.
func ask(ctx context.Context, t *testing.T, question func(seq uint64) error) {
	for seq := uint64(1); ctx.Err() == nil; seq++ {
		err := question(seq)
		failed, ok := errors.AsType[*control.Failed](err)
		if err != nil && ctx.Err() == nil && (!ok || failed.Code != control.FailureBusy) {
			t.Errorf("a flooder was told %v", err)
			return
		}
	}
}

// As many nodes as one address may have come back in the same moment after the
// relay was away.
func TestAllNodesOfAnAddressComeBackAtOnce(t *testing.T) { synctest.Test(t, testReturn) }
func testReturn(t *testing.T) {
	l := newLab(t)
	defer l.close()
	key := newKey(t, "")
	relay := l.relay("relay", key, &Server{})
	var nodes []*node
	for range DefaultMaxLinksPerAddress {
		n := l.node("office", newKey(t, ""))
		l.attach(n, relay.addr)
		nodes = append(nodes, n)
	}
	// ready waits until all are there. Nothing is refused to any on the way.
	ready := func(within time.Duration) {
		t.Helper()
		began := time.Now()
		for _, n := range nodes {
			l.ready(n)
		}
		if took := time.Since(began); took > within {
			t.Errorf("the last of %d nodes was there after %v", len(nodes), took)
		}
		s := relay.Stats()
		if s.Links != len(nodes) || s.RefusedAddress+s.RefusedBusy+s.LimitedRequests+s.LimitedRegistrations != 0 || s.Handshakes.RefusedAddress != 0 {
			t.Errorf("stats %+v", s)
		}
	}
	ready(time.Second)
	l.stop(relay)
	l.net.Cut("relay")
	time.Sleep(5 * time.Second)
	l.net.Heal("relay")
	relay = l.relay("relay", key, &Server{})
	ready(link.DefaultAttemptTimeout + 2*link.DefaultOutageBackoff) // of the attempt under way, and the next
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(n.close)
	}
	wg.Wait()
	l.stop(relay)
}

func TestRatesOfAddresses(t *testing.T) {
	now := time.Unix(1, 0)
	a := newAddressRates(2, -1)
	for i := range 2 * (registerBurst + 2) { // at once, and within addressPatience
		wait, ok := a.register("a", now)
		if want := max(time.Duration(i+1-2*registerBurst)*time.Second/2, 0); !ok || wait != want {
			t.Fatalf("registration %d waits %v, %v; want %v", i, wait, ok, want)
		}
	}
	for range 100 {
		if _, ok := a.register("a", now); ok {
			t.Fatal("one too many")
		}
	}
	if wait, ok := a.register("b", now); !ok || wait != 0 {
		t.Errorf("another address waits %v, %v", wait, ok)
	}
	if wait, ok := a.request("a", now); !ok || wait != 0 {
		t.Errorf("without a limit: %v, %v", wait, ok)
	}
	if wait, ok := a.register("a", now.Add(time.Second/2)); !ok || wait != addressPatience {
		t.Errorf("refusals cost something: %v, %v", wait, ok)
	}
}

func TestRatesOfAddressesAreForgotten(t *testing.T) {
	now := time.Unix(1, 0)
	a := newAddressRates(1, 1)
	for i := range maxRated + 1000 {
		if _, ok := a.register(fmt.Sprint(i), now); ok != (i < maxRated+registerBurst+2) {
			t.Fatalf("address %d: %v", i, ok) // those without room share one bucket
		}
	}
	if len(a.by) != maxRated+1 {
		t.Errorf("%d addresses are known", len(a.by))
	}
	now = now.Add(time.Minute)
	if _, ok := a.register("another", now); !ok || len(a.by) != 1 {
		t.Errorf("%v, with %d addresses known", ok, len(a.by))
	}
}

func TestSharesOfAddresses(t *testing.T) {
	for _, tt := range []struct{ field, limit, want int }{
		{0, 1024, 256}, {0, 2, 1}, {0, -1, 256}, {7, 1024, 7}, {-1, 1024, -1},
	} {
		if got := share(tt.field, tt.limit, 1024); got != tt.want {
			t.Errorf("share(%d, %d) is %d, want %d", tt.field, tt.limit, got, tt.want)
		}
	}
}

// Limits of addresses hold neither for a web server that hides them, nor where
// the operator says that addresses mean nothing.
func TestRatesDoNotHoldForHiddenAddresses(t *testing.T) {
	for name, s := range map[string]*Server{
		"proxy":      {Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}},
		"no address": {MaxLinksPerAddress: -1},
		"counted":    {},
	} {
		a := newAdmission(-1, s.MaxLinksPerAddress, -1, -1)
		a.shared = s.Proxies
		if got := a.enter(textAddr("192.0.2.7:1")).origin(); (got == "") != (name != "counted") {
			t.Errorf("%s: %q", name, got)
		}
	}
}
