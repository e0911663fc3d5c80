package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/weftnet/weft/examples/kvstore/kvv1"
	"github.com/weftnet/weft/examples/kvstore/kvv1/kvv1connect"
	"github.com/weftnet/weft/overlay"
)

// maxBackoff is how long a proposer waits at most before it tries again, a random part
// of it, so that two that are in each other's way get out of it.
const maxBackoff = time.Second

// Prepare is phase 1 of Paxos (Lamport, "Paxos made simple", 2001) for the view after
// the present one.
func (n *Node) Prepare(ctx context.Context, req *kvv1.PrepareRequest) (resp *kvv1.PrepareResponse, err error) {
	err = n.disk.update(ctx, func(t *txn) error {
		if err := t.state.votes(req.GetStore(), req.GetEpoch()); err != nil {
			return err
		}
		if ballotLess(t.state.promised, req.GetBallot()) {
			if err := t.putMeta(keyPromise, req.GetBallot()); err != nil {
				return err
			}
			t.state.promised = req.GetBallot()
		}
		resp = &kvv1.PrepareResponse{Promised: t.state.promised, Accepted: t.state.vote.GetBallot(), View: t.state.vote.GetView()}
		return nil
	})
	return resp, err
}

// Accept is phase 2.
func (n *Node) Accept(ctx context.Context, req *kvv1.AcceptRequest) (resp *kvv1.AcceptResponse, err error) {
	v, err := viewFrom(req.GetView())
	if err == nil && (v.Epoch != req.GetEpoch()+1 || v.Store != req.GetStore()) {
		err = fmt.Errorf("view %d of store %x is not the one after %d of %x", v.Epoch, v.Store, req.GetEpoch(), req.GetStore())
	}
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	err = n.disk.update(ctx, func(t *txn) error {
		if err := t.state.votes(req.GetStore(), req.GetEpoch()); err != nil {
			return err
		}
		if !ballotLess(req.GetBallot(), t.state.promised) {
			if err := errors.Join(t.putMeta(keyPromise, req.GetBallot()), t.putMeta(keyVote, req)); err != nil {
				return err
			}
			t.state.promised, t.state.vote = req.GetBallot(), req
		}
		resp = &kvv1.AcceptResponse{Promised: t.state.promised}
		return nil
	})
	return resp, err
}

// votes says what is against taking part in choosing the view after epoch.
func (s *state) votes(store, epoch uint64) error {
	if err := s.at(store, epoch); err != nil {
		return err
	}
	if !s.isMember() {
		return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("node %v, as it is now, has no vote in view %d", s.self.Node, epoch))
	}
	return nil
}

// change has views decided until wanted has nothing more to change. One at a time of
// each node's changes is on its way.
func (n *Node) change(ctx context.Context, wanted func(View) (next View, more bool, err error)) error {
	select {
	case n.changing <- struct{}{}:
		defer func() { <-n.changing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	round := uint64(0)
	for try := 1; ; try++ {
		s := n.disk.current()
		next, more, err := wanted(s.view)
		if err != nil || !more {
			return err
		}
		if !s.isMember() {
			return notYet("node %v is not a member itself", n.id)
		}
		decided, err := n.decide(ctx, s.view, &round, next)
		if err == nil {
			err = n.learn(ctx, []*kvv1.View{decided})
			n.spread(s.view, decided)
			round = 0
		}
		if err == nil {
			continue
		}
		n.log.WithError(err).WithField("epoch", next.Epoch).Debug("the view was not decided")
		backoff := time.Duration(rand.Int64N(int64(min(maxBackoff, time.Duration(try)*50*time.Millisecond))))
		if wait(ctx, backoff) != nil {
			return notYet("no majority of the %d members agrees: %w", len(s.view.Members), err)
		}
	}
}

// decide has the members of a view choose the next one, which may be another than the one
// proposed.
func (n *Node) decide(ctx context.Context, v View, round *uint64, proposed View) (*kvv1.View, error) {
	*round++
	ballot := &kvv1.Ballot{Round: *round, Nonce: rand.Uint64()}
	late := func(promised *kvv1.Ballot) error {
		if !ballotLess(ballot, promised) {
			return nil
		}
		*round = max(*round, promised.GetRound())
		return errors.New("another node is proposing, too")
	}
	promises, err := quorum(ctx, n, v.Members, majority(len(v.Members)), asking{within: rpcTimeout}, func(ctx context.Context, c kvv1connect.NodeServiceClient) (*kvv1.PrepareResponse, error) {
		resp, err := c.Prepare(ctx, &kvv1.PrepareRequest{Store: v.Store, Epoch: v.Epoch, Ballot: ballot})
		return resp, err
	})
	if err != nil {
		return nil, err
	}
	value, highest := proposed.proto(), new(kvv1.Ballot)
	for _, p := range promises {
		if err := late(p.GetPromised()); err != nil {
			return nil, err
		}
		if p.GetAccepted() != nil && ballotLess(highest, p.GetAccepted()) {
			value, highest = p.GetView(), p.GetAccepted()
		}
	}
	accepted, err := quorum(ctx, n, v.Members, majority(len(v.Members)), asking{within: rpcTimeout}, func(ctx context.Context, c kvv1connect.NodeServiceClient) (*kvv1.AcceptResponse, error) {
		return c.Accept(ctx, &kvv1.AcceptRequest{Store: v.Store, Epoch: v.Epoch, Ballot: ballot, View: value})
	})
	if err != nil {
		return nil, err
	}
	for _, a := range accepted {
		if err := late(a.GetPromised()); err != nil {
			return nil, err
		}
	}
	return value, nil
}

// spread tells all whom it concerns of a view. Who does not hear it learns it by Exchange.
func (n *Node) spread(before View, decided *kvv1.View) {
	after, err := viewFrom(decided)
	if err != nil {
		return
	}
	for _, m := range append(slices.Clone(before.Members), after.Members...) {
		if m.Node != n.id {
			n.background(rpcTimeout, func(ctx context.Context) {
				_, _ = n.exchange(ctx, m.Node)
			})
		}
	}
}

// Learn enters views that were decided.
func (n *Node) Learn(ctx context.Context, req *kvv1.LearnRequest) (*kvv1.LearnResponse, error) {
	return &kvv1.LearnResponse{}, n.learn(ctx, req.GetViews())
}

func (n *Node) learn(ctx context.Context, views []*kvv1.View) error {
	if len(views) > maxViews {
		return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%d views at once", len(views)))
	}
	entered := false
	err := n.disk.update(ctx, func(t *txn) error {
		entered = false
		for _, p := range views {
			v, err := viewFrom(p)
			if err != nil {
				return connect.NewError(connect.CodeInvalidArgument, err)
			}
			if !t.state.canEnter(v) {
				continue // known, or of later ones
			}
			if err := t.enter(v); err != nil {
				return err
			}
			entered = true
		}
		return nil
	})
	if entered && err == nil {
		n.entered()
	}
	return err
}

// enter remembers a view as the present one. Votes for it are no longer of interest.
func (t *txn) enter(v View) error {
	t.state.enter(v)
	return errors.Join(t.putView(v), t.putPending(), t.putMeta(keyPromise, t.state.promised), t.putMeta(keyVote, t.state.vote))
}

// Admit has the members decide to take a node in. It takes the place of
// its former life, if that is a member, which has lost its disk.
func (n *Node) Admit(ctx context.Context, req *kvv1.AdmitRequest) (*kvv1.AdmitResponse, error) {
	m := newMember(overlay.NodeID(req.GetMember().GetNode()), req.GetMember().GetLife())
	if peer, ok := overlay.PeerFrom(ctx); m.Node == 0 || ok && peer.ID != m.Node {
		return nil, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("%v cannot be admitted by another node", m.Node))
	}
	err := n.change(ctx, func(v View) (View, bool, error) {
		former, is := v.member(m.Node)
		switch {
		case former == m && is:
			return View{}, false, nil
		case n.gone(ctx, m.Node):
			return View{}, false, notYet("node %v does not answer, or is leaving", m.Node)
		case is:
			return v.replacing(former, m), true, nil
		case len(v.Members) == maxMembers:
			return View{}, false, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("a store has at most %d members", maxMembers))
		}
		return v.with(m), true, nil
	})
	return &kvv1.AdmitResponse{}, err
}

// gone reports whether a node that is to be admitted is not there any more: what it asked for may
// arrive late.
func (n *Node) gone(ctx context.Context, node overlay.NodeID) bool {
	resp, err := n.exchange(ctx, node)
	return err != nil || resp.GetLeaving()
}
