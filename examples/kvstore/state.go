package main

import (
	"fmt"
	"slices"

	"connectrpc.com/connect"

	"github.com/weftnet/weft/examples/kvstore/kvv1"
)

// A state is where a node is in the history of its store.
type state struct {
	self    Member
	view    View   // Epoch 0: the node is in no store yet
	pending []task // by epoch

	// Paxos, for the view after this one.
	promised *kvv1.Ballot
	vote     *kvv1.AcceptRequest // Ballot nil: none
}

// isMember reports whether the node, in its present life, is a member of the view.
func (s *state) isMember() bool { return slices.Contains(s.view.Members, s.self) }

// enter goes on to the next view.
func (s *state) enter(next View) {
	if s.view.Epoch > 0 {
		s.pending = append(slices.Clone(s.pending), tasks(s.view, next, s.self)...)
	}
	s.view = next
	s.promised, s.vote = new(kvv1.Ballot), new(kvv1.AcceptRequest)
}

// finish takes the arc of a task off all that is pending for its view and earlier ones: who
// knows what was written before a later view knows what was before an earlier one.
func (s *state) finish(done task) {
	var rest []task
	for _, t := range s.pending {
		if t.epoch > done.epoch {
			rest = append(rest, t)
			continue
		}
		for _, arc := range t.minus(done.Arc) {
			rest = append(rest, task{Arc: arc, epoch: t.epoch, sources: t.sources})
		}
	}
	s.pending = rest
}

// ready reports whether the node, as a member, serves all that is its in the present view.
// What else is pending is for others, who may yet ask.
func (s *state) ready() bool {
	if !s.isMember() {
		return false
	}
	for i, m := range s.view.Members {
		arc := Arc{s.view.Members[(i+len(s.view.Members)-1)%len(s.view.Members)].at, m.at}
		if _, waits := s.waitsFor(s.view.Epoch, arc.overlaps); waits && slices.Contains(s.view.replicas(m.at), s.self) {
			return false
		}
	}
	return true
}

// waitsFor finds a task, of an epoch up to this one, for an arc that concerns reports true of.
func (s *state) waitsFor(epoch uint64, concerns func(Arc) bool) (task, bool) {
	i := slices.IndexFunc(s.pending, func(t task) bool { return t.epoch <= epoch && concerns(t.Arc) })
	if i < 0 {
		return task{}, false
	}
	return s.pending[i], true
}

// otherView means that caller and callee have to Exchange views.
func otherView(format string, args ...any) error {
	return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(format, args...))
}

// notYet means that trying again may help.
func notYet(format string, args ...any) error {
	return connect.NewError(connect.CodeUnavailable, fmt.Errorf(format, args...))
}

// at says what is against a request of a view, which only nodes of the same one answer.
func (s *state) at(store, epoch uint64) error {
	switch {
	case store != s.view.Store:
		return connect.NewError(connect.CodeUnauthenticated, fmt.Errorf("node %v is of another store, %x", s.self.Node, s.view.Store))
	case epoch != s.view.Epoch:
		return otherView("node %v is in view %d, not %d", s.self.Node, s.view.Epoch, epoch)
	}
	return nil
}

// serves says what is against answering for a key in a view.
func (s *state) serves(store, epoch uint64, id ID) error {
	if err := s.at(store, epoch); err != nil {
		return err
	}
	if !slices.Contains(s.view.replicas(id), s.self) {
		return otherView("node %v is no replica for the key", s.self.Node)
	}
	if t, waits := s.waitsFor(epoch, func(a Arc) bool { return a.contains(id) }); waits {
		return notYet("node %v is still taking over for view %d", s.self.Node, t.epoch)
	}
	return nil
}

// handsOver says what is against telling a replica in a view what this one knows from
// those before: it must have left them, and know all that was written in them.
func (s *state) handsOver(epoch uint64, before View, arc Arc) error {
	if epoch > s.view.Epoch {
		return otherView("node %v is in view %d, not yet %d", s.self.Node, s.view.Epoch, epoch)
	}
	if !slices.Contains(before.Members, s.self) {
		return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("node %v was not in view %d, or has lost its disk", s.self.Node, before.Epoch))
	}
	if t, waits := s.waitsFor(before.Epoch, arc.overlaps); waits {
		return notYet("node %v is still taking over for view %d", s.self.Node, t.epoch)
	}
	return nil
}

// canEnter says whether a view that was decided is the next one of the node.
func (s *state) canEnter(v View) bool {
	return s.view.Epoch > 0 && v.Store == s.view.Store && v.Epoch == s.view.Epoch+1
}

func ballotLess(a, b *kvv1.Ballot) bool {
	if a.GetRound() != b.GetRound() {
		return a.GetRound() < b.GetRound()
	}
	return a.GetNonce() < b.GetNonce()
}
