package gossip

import (
	"errors"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// Two relays whose node IDs share the low 48 bits: mesh cannot tell them apart.
func TestASecondRelayOfANameIsNotReached(t *testing.T) {
	s := newSim(t, 1, 2, 0)
	s.run(3 * time.Second)
	c, first := s.relays[0], s.relays[1]
	key, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	second := &relayRecord{epoch: 1, certificate: make([]byte, 32)}
	second.sign(simNetwork, key)
	copy(second.certificate, second.key[:])
	second.id = first.self ^ 1<<63 // as if the key had been searched for
	for range 2 {
		if err := c.takeRelay(second, c.clock()); err != nil {
			t.Fatal(err)
		}
	}
	b := &Backbone{dir: c.dir, log: silent()}
	c.relaysChanged = true
	b.show(c.core)
	if c.stats.NameClashes != 1 {
		t.Errorf("counted %d clashes", c.stats.NameClashes)
	}
	for _, r := range b.Relays() {
		if isSecond := r.ID == second.id; r.NameClash != isSecond || r.Reachable == isSecond {
			t.Errorf("%+v", r)
		}
	}
	if at := b.view.Load().names[NameOf(second.id)]; at != first.self {
		t.Errorf("the name is that of %v", at)
	}
}

// A relay that a liar keeps in mesh's topology does not sign its record anew.
func TestARelayThatIsSilentIsGone(t *testing.T) {
	s := newSim(t, 1, 2, 1)
	s.run(3 * time.Second)
	s.attach(s.nodes[0], s.relays[1])
	s.run(time.Second)
	dir := s.relays[0].dir
	if _, ok := dir.RelayOf(s.nodes[0].peer.ID); !ok {
		t.Fatal("the node is not known")
	}
	s.relays[1].down = true // and nobody tells the other one
	s.run(heardAfter - time.Minute)
	if _, ok := dir.RelayOf(s.nodes[0].peer.ID); !ok {
		t.Error("gone too early")
	}
	s.run(time.Minute + refreshEvery + DefaultGrace)
	if at, ok := dir.RelayOf(s.nodes[0].peer.ID); ok {
		t.Errorf("still at %v", at)
	}
}

func TestARelayHasItsShareOfTheDirectory(t *testing.T) {
	d := NewDirectory(DirectoryConfig{})
	for i := range 3 {
		_, err := d.merge(invent(i, 9), live, false, 2)
		if (i == 2) != errors.Is(err, ErrFull) {
			t.Errorf("record %d: %v", i, err)
		}
	}
	if _, err := d.merge(invent(2, 8), live, false, 2); err != nil {
		t.Errorf("another relay: %v", err)
	}
	again := invent(0, 9)
	again.Seq++
	if _, err := d.merge(again, live, false, 2); err != nil {
		t.Errorf("a node that is known: %v", err)
	}
	again.depart(simNetwork, mustKey(t), false)
	if _, err := d.merge(again, departed, false, 2); err != nil {
		t.Errorf("a departure: %v", err)
	}
	if got := d.countOf(9); got != 1 {
		t.Errorf("relay 9 has %d nodes", got)
	}
	if _, err := d.merge(invent(3, 9), live, false, 2); err != nil {
		t.Errorf("after one has left: %v", err)
	}
}

func mustKey(t testing.TB) *identity.Key {
	t.Helper()
	k, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A node's spare link to another relay does not move it there.
func TestASpareLinkCountsWhenTheRecordDoesNot(t *testing.T) {
	const home, spare identity.NodeID = 8, 9
	d := NewDirectory(DirectoryConfig{})
	r := invent(1, home)
	if _, err := d.merge(r, live, false, 9); err != nil {
		t.Fatal(err)
	}
	wantAt := func(what string, want identity.NodeID) {
		t.Helper()
		if at, _ := d.RelayOf(r.ID); at != want {
			t.Errorf("%s: at %v, want %v", what, at, want)
		}
	}
	if err := d.Attach(identity.Peer{ID: r.ID, Key: r.Key}, spare); err != nil {
		t.Fatal(err)
	}
	wantAt("with a spare", home)
	d.turn(home, live, expired, func(c Change) {
		if c != (Change{Node: r.ID, Relay: spare, Was: home}) {
			t.Errorf("change %+v", c)
		}
	})
	wantAt("after home has gone", spare)
	d.turn(home, expired, live, func(Change) {})
	wantAt("after home is back", home)
	d.Detach(r.ID, spare)
	wantAt("without the spare", home)
	if got := d.digest()[bucketOf(r.ID)]; got.count != 1 || got.sum != r.hash() {
		t.Errorf("digest %+v", got)
	}
	d.Detach(r.ID, home)
	wantAt("without either", 0)
	if got := d.digest()[bucketOf(r.ID)]; got != (bucketSum{}) {
		t.Errorf("digest %+v", got)
	}
}
