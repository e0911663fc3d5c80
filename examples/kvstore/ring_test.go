package main

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weftnet/weft/overlay"
)

func TestPositionsOnARing(t *testing.T) {
	at := func(n byte) ID { return ID{0: n} }
	for _, tt := range []struct {
		id, from, to    byte
		within, between bool
	}{
		{5, 1, 9, true, true}, {9, 1, 9, true, false}, {1, 1, 9, false, false}, {0, 1, 9, false, false},
		{5, 9, 1, false, false}, {0, 9, 1, true, true}, {200, 9, 1, true, true}, {1, 9, 1, true, false}, {9, 9, 1, false, false},
		{5, 9, 9, true, true}, {9, 9, 9, true, false},
	} {
		if id, from, to := at(tt.id), at(tt.from), at(tt.to); id.within(from, to) != tt.within || id.between(from, to) != tt.between {
			t.Errorf("%d of %d to %d: within %v, between %v", tt.id, tt.from, tt.to, id.within(from, to), id.between(from, to))
		}
	}
	if got := (ID{30: 1, 31: 0xff}).plusPower(0); got != (ID{30: 2}) {
		t.Errorf("%x", got[:])
	}
	if got := (ID{0: 0x80, 31: 1}).plusPower(255); got != (ID{31: 1}) {
		t.Errorf("%x", got[:])
	}
}

func TestArcs(t *testing.T) {
	at := func(n byte) ID { return ID{0: n} }
	all := make([]Arc, 0, 64)
	for from := range byte(8) {
		for to := range byte(8) {
			all = append(all, Arc{at(from), at(to)})
		}
	}
	for _, a := range all {
		for _, b := range all {
			rest, common := a.minus(b), false
			for p := range byte(8) {
				common = common || a.contains(at(p)) && b.contains(at(p))
				in := 0
				for _, r := range rest {
					if r.contains(at(p)) {
						in++
					}
				}
				if want := a.contains(at(p)) && !b.contains(at(p)); want && in != 1 || !want && in != 0 {
					t.Errorf("%v minus %v is %v: %d", a, b, rest, p)
				}
			}
			if a.overlaps(b) != common {
				t.Errorf("%v overlaps %v: %v", a, b, !common)
			}
		}
	}
}

// rings is a network of rings whose calls always arrive.
type rings map[overlay.NodeID]*Ring

func (all rings) lookup(from overlay.NodeID, id ID) (node overlay.NodeID, hops int) {
	for hops = range maxHops {
		next, found := all[from].Step(id)
		if found {
			return next, hops
		}
		from = next
	}
	return 0, maxHops
}

// round is what Node.round does to a ring.
func (all rings) round() {
	for _, node := range slices.Sorted(func(yield func(overlay.NodeID) bool) {
		for n := range all {
			if !yield(n) {
				return
			}
		}
	}) {
		r := all[node]
		for nearer := true; nearer; {
			nearer = false
			for len(r.successors) > 0 && all[r.Successor()] == nil {
				r.Remove(r.Successor())
			}
			if s := all[r.Successor()]; s != r {
				nearer = r.Stabilize(s.self, s.predecessor, s.successors)
			}
		}
		if all[r.predecessor] == nil {
			r.Remove(r.predecessor)
		}
		if s := all[r.Successor()]; s != nil && s != r {
			s.Notify(node)
		}
		if i, id, ok := r.NextFinger(); ok {
			if found, _ := all.lookup(node, id); all[found] != nil {
				r.SetFinger(i, found)
			}
		}
	}
}

func TestARingComesIntoOrderAndStaysThere(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	all := make(rings)
	var nodes []overlay.NodeID
	for i := range 60 {
		node := overlay.NodeID(random.Uint64())
		all[node] = NewRing(node)
		if i > 0 {
			successor, _ := all.lookup(nodes[random.IntN(i)], position(node))
			all[node].Join(successor)
		}
		nodes = append(nodes, node)
		all.round()
	}
	check := func(when string) {
		t.Helper()
		for range 80 {
			all.round()
		}
		slices.SortFunc(nodes, func(a, b overlay.NodeID) int { return position(a).compare(position(b)) })
		most := 0
		for range 1000 {
			id := hashOf([]byte{byte(random.Uint32()), byte(random.Uint32())})
			i := slices.IndexFunc(nodes, func(n overlay.NodeID) bool { return position(n).compare(id) >= 0 })
			got, hops := all.lookup(nodes[random.IntN(len(nodes))], id)
			if want := nodes[max(i, 0)]; got != want {
				t.Errorf("%s: %v is found, not %v", when, got, want)
			}
			most = max(most, hops)
		}
		if most > 8 { // log2(60) is 6
			t.Errorf("%s: a lookup takes %d hops", when, most)
		}
	}
	check("all have joined")
	for range 20 { // a third fails at once
		i := random.IntN(len(nodes))
		delete(all, nodes[i])
		nodes = slices.Delete(nodes, i, i+1)
	}
	for range 5 {
		for _, r := range all {
			for _, n := range r.Known() {
				if all[n] == nil {
					r.Remove(n)
				}
			}
		}
		all.round()
	}
	check("a third has failed")
}

func TestTasksOfAViewCoverWhatChanges(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	v := founding(1, newMember(1, 1), defaultQuorums)
	for range 60 {
		next := v.with(newMember(overlay.NodeID(random.Uint64()|1), random.Uint64()))
		if len(v.Members) > 1 && random.IntN(2) == 0 {
			next = v.without(v.Members[random.IntN(len(v.Members))])
		} else if len(v.Members) > 12 {
			m := v.Members[random.IntN(len(v.Members))]
			next = v.replacing(m, newMember(m.Node, m.Life+1))
		}
		for range 50 {
			id := hashOf([]byte{byte(random.Uint32()), byte(random.Uint32())})
			former, now := v.replicas(id), next.replicas(id)
			for _, m := range next.Members {
				var covering []task
				for _, todo := range tasks(v, next, m) {
					if todo.contains(id) {
						covering = append(covering, todo)
					}
				}
				want := slices.Contains(now, m) && !sameSet(former, now)
				if !want && len(covering) != 0 || want && (len(covering) != 1 || !sameSet(covering[0].sources, former)) {
					t.Fatalf("view %d, member %v: %d tasks for %v", next.Epoch, m.Node, len(covering), id)
				}
			}
		}
		v = next
	}
}

func TestQuorumsOfSmallSetsIntersect(t *testing.T) {
	for _, q := range []Quorums{{3, 2, 2}, {3, 3, 2}, {3, 2, 3}, {3, 3, 3}, {1, 1, 1}, {5, 3, 3}, {9, 5, 9}} {
		if err := q.valid(); err != nil {
			t.Error(err)
		}
		v := View{Quorums: q}
		for n := 1; n <= q.Replicas; n++ {
			read, write := v.readQuorum(n), v.writeQuorum(n)
			if read+write <= n || read > n || write > n || 2*read <= n || 2*write <= n {
				t.Errorf("%v: of %d replicas %d are read and %d written", q, n, read, write)
			}
		}
	}
	for _, q := range []Quorums{{3, 1, 3}, {3, 3, 1}, {3, 4, 2}, {0, 0, 0}, {10, 6, 6}} {
		if q.valid() == nil {
			t.Errorf("%v are valid", q)
		}
	}
}
