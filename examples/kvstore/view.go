package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weftnet/weft/examples/kvstore/kvv1"
	"github.com/weftnet/weft/overlay"
)

// maxMembers is how many nodes a store may have. Each keeps the whole list, of 16 bytes
// a member, and every node of it votes on changes.
const maxMembers = 128

// A Member is one life of a node with its disk.
type Member struct {
	Node overlay.NodeID
	Life uint64
	at   ID // position(Node), which is asked for often
}

func newMember(node overlay.NodeID, life uint64) Member {
	return Member{Node: node, Life: life, at: position(node)}
}

// Quorums say how many replicas a key has, and how many have to answer.
type Quorums struct{ Replicas, Read, Write int }

var defaultQuorums = Quorums{Replicas: 3, Read: 2, Write: 2}

// valid says what is wrong with quorums. With less than a majority a replica that is cut
// off could answer from a view that the others have left.
func (q Quorums) valid() error {
	if q.Replicas < 1 || q.Replicas > 9 {
		return fmt.Errorf("replicas: %d is not from 1 to 9", q.Replicas)
	}
	for name, n := range map[string]int{"read": q.Read, "write": q.Write} {
		if n < majority(q.Replicas) || n > q.Replicas {
			return fmt.Errorf("%s quorum: %d is not from %d, a majority of the replicas, to %d", name, n, majority(q.Replicas), q.Replicas)
		}
	}
	return nil
}

func majority(n int) int { return n/2 + 1 }

// A View is who the members of a store are. It is never modified.
type View struct {
	Store   uint64 // of all stores, which one; 0: none
	Epoch   uint64
	Members []Member // in the order of the ring
	Quorums
}

// founding is the first view of a store.
func founding(store uint64, first Member, q Quorums) View {
	return View{Store: store, Epoch: 1, Members: []Member{first}, Quorums: q}
}

// with is the next view, with one more member.
func (v View) with(m Member) View {
	next := v
	next.Epoch++
	at, _ := slices.BinarySearchFunc(v.Members, m.at, func(m Member, id ID) int { return m.at.compare(id) })
	next.Members = slices.Insert(slices.Clone(v.Members), at, m)
	return next
}

// without is the next view, with one member less.
func (v View) without(m Member) View {
	next := v
	next.Epoch++
	next.Members = slices.DeleteFunc(slices.Clone(v.Members), func(o Member) bool { return o == m })
	return next
}

// replacing is the next view, with another life of a member.
func (v View) replacing(former, m Member) View {
	next := v.without(former).with(m)
	next.Epoch = v.Epoch + 1
	return next
}

// member finds the member that a node is.
func (v View) member(node overlay.NodeID) (Member, bool) {
	i := slices.IndexFunc(v.Members, func(m Member) bool { return m.Node == node })
	if i < 0 {
		return Member{}, false
	}
	return v.Members[i], true
}

// after is the member whose position is id or behind it.
func (v View) after(id ID) int {
	i, _ := slices.BinarySearchFunc(v.Members, id, func(m Member, id ID) int { return m.at.compare(id) })
	return i % len(v.Members)
}

// replicas are the members that keep what is at id: the one it belongs to and those
// that follow on the ring.
func (v View) replicas(id ID) []Member {
	n := min(v.Replicas, len(v.Members))
	set := make([]Member, n)
	first := v.after(id)
	for i := range set {
		set[i] = v.Members[(first+i)%len(v.Members)]
	}
	return set
}

// readQuorum and writeQuorum are for a replica set of n, which is smaller than
// Replicas while there are few members.
func (v View) readQuorum(n int) int  { return max(majority(n), min(v.Read, n)) }
func (v View) writeQuorum(n int) int { return max(majority(n), min(v.Write, n)) }

// An Arc is the part of the ring in (From, To]; all of it if both are the same.
type Arc struct{ From, To ID }

func (a Arc) contains(id ID) bool { return id.within(a.From, a.To) }

// overlaps reports whether two arcs have a position in common.
func (a Arc) overlaps(b Arc) bool {
	return a.contains(b.To) || b.contains(a.To)
}

// minus is what of an arc is not in another one.
func (a Arc) minus(b Arc) (rest []Arc) {
	bounds := []ID{a.From, a.To, b.From, b.To}
	slices.SortFunc(bounds, ID.compare)
	bounds = slices.Compact(bounds)
	for i, to := range bounds {
		if a.contains(to) && !b.contains(to) {
			rest = append(rest, Arc{bounds[(i+len(bounds)-1)%len(bounds)], to})
		}
	}
	return rest
}

// A task is what a replica has to do before it serves an arc in a view: learn what a
// majority of the replicas of the view before have.
type task struct {
	Arc
	epoch   uint64   // of the view
	sources []Member // replicas in the view before
}

// tasks are those that a change of views means for a member.
func tasks(before, after View, self Member) []task {
	var bounds []ID
	for _, m := range slices.Concat(before.Members, after.Members) {
		bounds = append(bounds, m.at)
	}
	slices.SortFunc(bounds, ID.compare)
	bounds = slices.Compact(bounds)
	var todo []task
	for i, to := range bounds {
		from := bounds[(i+len(bounds)-1)%len(bounds)]
		former, now := before.replicas(to), after.replicas(to)
		if !slices.Contains(now, self) || sameSet(former, now) {
			continue
		}
		if n := len(todo); n > 0 && todo[n-1].To == from && slices.Equal(todo[n-1].sources, former) {
			todo[n-1].To = to
			continue
		}
		todo = append(todo, task{Arc: Arc{from, to}, epoch: after.Epoch, sources: former})
	}
	return todo
}

// tasksProto is for the disk.
func tasksProto(todo []task) *kvv1.Tasks {
	p := new(kvv1.Tasks)
	for _, t := range todo {
		p.Tasks = append(p.Tasks, &kvv1.Task{Epoch: t.epoch, From: t.From[:], To: t.To[:], Sources: membersProto(t.sources)})
	}
	return p
}

func tasksFrom(p *kvv1.Tasks) (todo []task) {
	for _, t := range p.GetTasks() {
		todo = append(todo, task{
			Arc: Arc{ID(t.GetFrom()), ID(t.GetTo())}, epoch: t.GetEpoch(), sources: membersFrom(t.GetSources()),
		})
	}
	return todo
}

func membersProto(members []Member) (p []*kvv1.Member) {
	for _, m := range members {
		p = append(p, &kvv1.Member{Node: uint64(m.Node), Life: m.Life})
	}
	return p
}

func membersFrom(p []*kvv1.Member) (members []Member) {
	for _, m := range p {
		members = append(members, newMember(overlay.NodeID(m.GetNode()), m.GetLife()))
	}
	return members
}

func sameSet(a, b []Member) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(m Member) bool { return !slices.Contains(b, m) })
}

func (v View) proto() *kvv1.View {
	return &kvv1.View{
		Store: v.Store, Epoch: v.Epoch, Members: membersProto(v.Members),
		Replicas: uint32(v.Replicas), Read: uint32(v.Read), Write: uint32(v.Write),
	}
}

// viewFrom reads what another node said, which may be anything.
func viewFrom(p *kvv1.View) (View, error) {
	v := View{
		Store: p.GetStore(), Epoch: p.GetEpoch(),
		Quorums: Quorums{int(p.GetReplicas()), int(p.GetRead()), int(p.GetWrite())},
	}
	if n := len(p.GetMembers()); v.Store == 0 || v.Epoch == 0 || n == 0 || n > maxMembers {
		return View{}, fmt.Errorf("not a view: store %x, epoch %d, %d members", v.Store, v.Epoch, n)
	}
	if err := v.valid(); err != nil {
		return View{}, err
	}
	v.Members = membersFrom(p.GetMembers())
	slices.SortFunc(v.Members, func(a, b Member) int { return a.at.compare(b.at) })
	for i, m := range v.Members {
		if m.Node == 0 || i > 0 && v.Members[i-1].Node == m.Node {
			return View{}, fmt.Errorf("not a view: node %v is a member twice, or none", m.Node)
		}
	}
	return v, nil
}

// A Version orders the writes of one key. The zero value is before all of them.
type Version struct{ Counter, Writer, Op uint64 }

func (v Version) compare(o Version) int {
	return cmp.Or(cmp.Compare(v.Counter, o.Counter), cmp.Compare(v.Writer, o.Writer), cmp.Compare(v.Op, o.Op))
}

func (v Version) proto() *kvv1.Version {
	return &kvv1.Version{Counter: v.Counter, Writer: v.Writer, Op: v.Op}
}

func versionFrom(p *kvv1.Version) Version {
	return Version{p.GetCounter(), p.GetWriter(), p.GetOp()}
}
