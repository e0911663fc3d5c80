package gossip

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

const (
	relayA identity.NodeID = 0xa
	relayB identity.NodeID = 0xb
)

// node returns a verified peer whose certificate has the names.
func node(n byte, names ...string) identity.Peer {
	key := identity.PublicKey{n, 31: 1}
	return identity.Peer{ID: key.ID(), Key: key, Names: names}
}

// impostor returns a verified peer with another's ID: a collision.
func impostor(of identity.Peer) identity.Peer {
	return identity.Peer{ID: of.ID, Key: identity.PublicKey{0xff}, Names: of.Names}
}

// at returns an attachment to relayA.
func at(epoch, seq uint64, names ...string) Attachment {
	return Attachment{Relay: relayA, Epoch: epoch, Seq: seq, Names: names}
}

func mustPut(t *testing.T, d *Directory, p identity.Peer, a Attachment) {
	t.Helper()
	if err := d.Put(p, a); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

func TestNodesAreFoundByIDKeyAndName(t *testing.T) {
	d := NewDirectory(DirectoryConfig{})
	kv := node(1, "kv-1", "kv")
	mustPut(t, d, kv, at(1, 1, "KV-1"))
	tests := []struct {
		name   string
		target identity.Target
		found  bool
	}{
		{"its ID", identity.Target{ID: kv.ID}, true},
		{"its key", identity.Target{Key: kv.Key}, true},
		{"its name", identity.Target{Name: "kv-1"}, true},
		{"its name in upper case", identity.Target{Name: "KV-1"}, true},
		{"a name it has but did not register", identity.Target{Name: "kv"}, false},
		{"another ID", identity.Target{ID: 7}, false},
		{"another key", identity.Target{Key: identity.PublicKey{9}}, false},
		{"nothing", identity.Target{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := d.Lookup(tt.target)
			switch {
			case !tt.found && !errors.Is(err, ErrNotFound):
				t.Errorf("got %+v, %v; want ErrNotFound", r, err)
			case tt.found && (err != nil || r.ID != kv.ID || r.Key != kv.Key || r.Relay != relayA):
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

func TestHighestVersionHolds(t *testing.T) {
	tests := []struct {
		name  string
		a     Attachment
		holds bool
	}{
		{"older epoch", at(4, 99, "b"), false},
		{"older sequence", at(5, 4, "b"), false},
		{"same version", at(5, 5, "b"), true},
		{"newer sequence", at(5, 6, "b"), true},
		{"newer epoch", at(6, 0, "b"), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDirectory(DirectoryConfig{})
			p := node(1, "a", "b")
			mustPut(t, d, p, at(5, 5, "a"))
			err := d.Put(p, tt.a)
			if stale, ok := errors.AsType[*StaleError](err); ok == tt.holds || ok && (stale.Epoch != 5 || stale.Seq != 5) {
				t.Errorf("Put: %v", err)
			}
			for name, want := range map[string]bool{"a": !tt.holds, "b": tt.holds} {
				if got := len(d.Find(identity.Target{Name: name})) == 1; got != want {
					t.Errorf("found by %q: %v, want %v", name, got, want)
				}
			}
		})
	}
}

func TestASecondKeyForAnIDIsRefused(t *testing.T) {
	d := NewDirectory(DirectoryConfig{})
	first := node(1, "a")
	second := impostor(first)
	mustPut(t, d, first, at(1, 1, "a"))
	for what, err := range map[string]error{
		"Put":    d.Put(second, at(9, 9, "a")),
		"Attach": d.Attach(second, relayB),
	} {
		conflict, ok := errors.AsType[*ConflictError](err)
		if !ok || conflict.Known != first.Key || conflict.Refused != second.Key {
			t.Errorf("%s: got %v", what, err)
		}
	}
	d.Detach(first.ID, relayA)
	if err := d.Attach(second, relayA); err == nil {
		t.Error("the second key took the ID as soon as the first was detached")
	}
	if got := d.Stats().Conflicts; got != 3 {
		t.Errorf("counted %d conflicts, want 3", got)
	}
	if err := d.Attach(first, relayA); err != nil {
		t.Errorf("the first key cannot return: %v", err)
	}
}

func TestASharedNameIsAnErrorThatListsTheNodes(t *testing.T) {
	d := NewDirectory(DirectoryConfig{})
	a, b := node(1, "kv"), node(2, "kv")
	mustPut(t, d, a, at(1, 1, "kv"))
	mustPut(t, d, b, at(1, 1, "kv"))
	_, err := d.Lookup(identity.Target{Name: "kv"})
	shared, ok := errors.AsType[*AmbiguousError](err)
	want := []identity.NodeID{min(a.ID, b.ID), max(a.ID, b.ID)}
	if !ok || !slices.Equal(shared.IDs, want) {
		t.Fatalf("got %v", err)
	}
	for _, id := range want {
		if !strings.Contains(err.Error(), id.String()) {
			t.Errorf("the error does not name %v: %v", id, err)
		}
	}
	d.Detach(a.ID, relayA)
	if r, err := d.Lookup(identity.Target{Name: "kv"}); err != nil || r.ID != b.ID {
		t.Errorf("after one left: %+v, %v", r, err)
	}
}

func TestLookupsByNameAreBounded(t *testing.T) {
	d := NewDirectory(DirectoryConfig{})
	for n := range byte(MaxMatches + 5) {
		mustPut(t, d, node(n, "kv"), at(1, 1, "kv"))
	}
	if got := len(d.Find(identity.Target{Name: "kv"})); got != MaxMatches {
		t.Errorf("found %d", got)
	}
}

func TestInvalidAttachmentsAreRefused(t *testing.T) {
	p := node(1, "a", "b", "c")
	tests := []struct {
		name string
		a    Attachment
		want error
	}{
		{"name of somebody else", at(1, 1, "a", "bank"), ErrNotCertified},
		{"too many names", at(1, 1, "a", "b", "c"), ErrTooMuch},
		{"too many candidates", Attachment{Candidates: make([]string, 2)}, ErrTooMuch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDirectory(DirectoryConfig{MaxNamesPerNode: 2, MaxCandidates: 1})
			if err := d.Put(p, tt.a); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if s := d.Stats(); s.Attached != 0 || s.Invalid != 1 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

func TestAttachKeepsWhatWasRegistered(t *testing.T) {
	d := NewDirectory(DirectoryConfig{})
	p := node(1, "a")
	if err := d.Attach(p, relayA); err != nil {
		t.Fatal(err)
	}
	if r, err := d.Lookup(identity.Target{ID: p.ID}); err != nil || r.Relay != relayA || r.Names != nil {
		t.Errorf("before Put: %+v, %v", r, err)
	}
	mustPut(t, d, p, at(3, 1, "a"))
	d.Detach(p.ID, relayA)
	if err := d.Attach(p, relayB); err != nil {
		t.Fatal(err)
	}
	if r, err := d.Lookup(identity.Target{Name: "a"}); err != nil || r.Relay != relayB || r.Epoch != 3 {
		t.Errorf("after coming back: %+v, %v", r, err)
	}
}

func TestDetachOfAnotherRelayChangesNothing(t *testing.T) {
	d := NewDirectory(DirectoryConfig{})
	p := node(1)
	if err := d.Attach(p, relayB); err != nil {
		t.Fatal(err)
	}
	d.Detach(p.ID, relayA) // the link it left behind
	d.Detach(12345, relayA)
	if _, err := d.Lookup(identity.Target{ID: p.ID}); err != nil {
		t.Error(err)
	}
	d.Detach(p.ID, relayB)
	d.Detach(p.ID, relayB)
	if s := d.Stats(); s.Attached != 0 || s.Detached != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestDetachedNodesAreForgottenAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDirectory(DirectoryConfig{RememberDetached: time.Minute})
		first := node(1, "a")
		mustPut(t, d, first, at(9, 9, "a"))
		d.Detach(first.ID, relayA)
		time.Sleep(time.Minute - time.Nanosecond)
		if err := d.Put(first, at(1, 1)); err == nil {
			t.Error("an older epoch was taken before the newer was forgotten")
		}
		if err := d.Attach(impostor(first), relayA); err == nil {
			t.Error("another key took the ID too early")
		}
		time.Sleep(time.Nanosecond)
		if err := d.Put(impostor(first), at(1, 1, "a")); err != nil {
			t.Errorf("after the time: %v", err)
		}
	})
}

func TestAFullDirectoryMakesRoomOnlyFromDetachedNodes(t *testing.T) {
	d := NewDirectory(DirectoryConfig{MaxRecords: 2})
	a, b, c := node(1), node(2), node(3)
	mustPut(t, d, a, at(1, 1))
	mustPut(t, d, b, at(1, 1))
	if err := d.Put(c, at(1, 1)); !errors.Is(err, ErrFull) {
		t.Errorf("third node: %v", err)
	}
	if err := d.Put(a, at(1, 2)); err != nil {
		t.Errorf("an attached node cannot register again: %v", err)
	}
	d.Detach(a.ID, relayA)
	if err := d.Attach(c, relayA); err != nil {
		t.Errorf("with a detached node: %v", err)
	}
	if s := d.Stats(); s != (DirectoryStats{Attached: 2, Full: 1}) {
		t.Errorf("stats %+v", s)
	}
}

func TestCallersKeepTheirSlices(t *testing.T) {
	d := NewDirectory(DirectoryConfig{})
	p := node(1, "a", "b")
	a := at(1, 1, "a")
	mustPut(t, d, p, a)
	a.Names[0] = "b"
	if r, err := d.Lookup(identity.Target{Name: "a"}); err != nil || !slices.Equal(r.Names, []string{"a"}) {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestAllIsASnapshot(t *testing.T) {
	d := NewDirectory(DirectoryConfig{})
	want := make(map[identity.NodeID]bool)
	for n := range byte(5) {
		p := node(n)
		mustPut(t, d, p, at(1, 1))
		want[p.ID] = true
	}
	gone := node(9)
	mustPut(t, d, gone, at(1, 1))
	d.Detach(gone.ID, relayA)
	got := make(map[identity.NodeID]bool)
	for r := range d.All() {
		d.Detach(r.ID, relayA) // changing the table meanwhile is allowed
		got[r.ID] = true
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", slices.Collect(maps.Keys(got)), slices.Collect(maps.Keys(want)))
	}
	for range d.All() {
		t.Error("a detached node was listed")
	}
}

func TestDirectoryIsSafeForConcurrentUse(t *testing.T) {
	d := NewDirectory(DirectoryConfig{MaxRecords: 8})
	var wg sync.WaitGroup
	for g := range byte(4) {
		wg.Go(func() {
			for i := range uint64(200) {
				p := node(g*3+byte(i%4), "n")
				_ = d.Put(p, at(i, 0, "n"))
				_, _ = d.Lookup(identity.Target{Name: "n"})
				for range d.All() {
					break
				}
				d.Detach(p.ID, relayA)
			}
		})
	}
	wg.Wait()
	if s := d.Stats(); s.Attached != 0 || s.Detached > 8 {
		t.Errorf("stats %+v", s)
	}
}
