package switchboard

import (
	"testing"
	"testing/synctest"

	"github.com/weftnet/weft/internal/identity"
)

func TestDetours(t *testing.T) { synctest.Test(t, testDetours) }
func testDetours(t *testing.T) {
	l := newLab(t, Config{})
	defer l.close()
	r := l.s.Route(alice)
	if r.Detour() || r.Follow(0xe1) {
		t.Error("there is a detour without any uplink")
	}
	uplink := func(id identity.NodeID) *Port {
		n := l.attach(PortConfig{Uplink: true})
		l.s.Bind(n.port, id)
		return n.port
	}
	wanted := func(want *Port) {
		t.Helper()
		if got := r.Port(); got != want {
			t.Errorf("the route is %v, want %v", got, want)
		}
	}
	first := uplink(0xe1)
	if r.Detour() || r.Follow(0xe1) {
		t.Error("there is a detour with one uplink")
	}
	second, third := uplink(0xe2), uplink(0xe3)
	for _, want := range []*Port{second, third, first, second} {
		if !r.Detour() {
			t.Error("there is no detour")
		}
		wanted(want)
		if other := l.s.Route(bob).Port(); other != first {
			t.Errorf("another peer's route is %v", other)
		}
	}
	if r.Follow(0xe2) || r.Follow(bob) || !r.Follow(0xe3) {
		t.Error("the peer is not followed, or to where it is already")
	}
	wanted(third)
	_ = third.Close()
	synctest.Wait()
	wanted(first)
	if n := len(*l.s.detours.Load()); n != 0 {
		t.Errorf("%d detours over a link that has ended", n)
	}
	r.Detour()
	wanted(second)
	l.s.Prefer(0xe2) // a new home: whatever was wrong with the former one
	r.Detour()
	wanted(first)
	l.s.Prefer(0xe1)
	wanted(first)
	direct := l.bind(alice)
	wanted(direct.port)
	if r.Detour() || r.Follow(0xe2) {
		t.Error("there is a detour around a link with the peer itself")
	}
}

func TestDetoursAreBounded(t *testing.T) { synctest.Test(t, testDetoursBounded) }
func testDetoursBounded(t *testing.T) {
	l := newLab(t, Config{})
	defer l.close()
	for _, id := range []identity.NodeID{0xe1, 0xe2} {
		l.s.Bind(l.attach(PortConfig{Uplink: true}).port, id)
	}
	for id := range identity.NodeID(maxDetours + 10) {
		if r := l.s.Route(1000 + id); !r.Detour() || r.Port().ID() != 0xe2 {
			t.Fatalf("peer %d: %v", id, r)
		}
	}
	if n := len(*l.s.detours.Load()); n != maxDetours {
		t.Errorf("%d detours are remembered, want %d", n, maxDetours)
	}
}
