package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/weftnet/weft/examples/kvstore/kvv1"
	"github.com/weftnet/weft/overlay"
)

const (
	// maxHops bounds a lookup: on a ring that is in order it takes half as many steps as
	// the number of members has binary digits.
	maxHops = 32
	// maxWitnesses is how many others are asked before a node counts as dead.
	maxWitnesses = 2
	// minMembers is how many members are left at least when the dead are removed. Two
	// living ones of three can do all that two of two can, and go on when the third is back.
	minMembers = 3
	// calmRounds is how many rounds one thing each is done in that need not be done in each,
	// such as looking up a finger while the view stays the same: rounds are most of what an
	// idle node does.
	calmRounds = 8
)

// rounds is the goroutine that keeps the ring and the view in order.
func (n *Node) rounds() {
	for try := 0; ; try++ {
		s := n.disk.current()
		switch {
		case s.view.Epoch == 0 && len(n.cfg.Join) > 0:
			n.rejoin(n.cfg.Join[try%len(n.cfg.Join)])
		case !s.isMember() && s.view.Epoch > 0:
			n.rejoin(s.view.Members[rand.IntN(len(s.view.Members))].Node.String())
		default:
			n.round(s.view)
		}
		jitter := time.Duration(rand.Int64N(int64(n.cfg.Interval)/5 + 1)) // so that nodes do not keep step
		if wait(n.ctx, n.cfg.Interval*9/10+jitter) != nil {
			return
		}
	}
}

func (n *Node) rejoin(address string) {
	if n.leaving.Load() {
		return
	}
	if err := n.join(n.ctx, address); err != nil {
		n.log.WithError(err).WithField("by", address).Info("not admitted yet")
	}
}

// round is what a member does each interval.
func (n *Node) round(v View) {
	n.stabilize(v)
	n.checkPredecessor()
	n.fixFinger(v)
	n.watch(v)
	if err := n.collect(n.ctx); err != nil {
		n.log.WithError(err).Warn("cannot delete what others have")
	}
}

// withRing does something with the ring, which must not wait.
func (n *Node) withRing(do func(*Ring)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do(n.ring)
}

// members are those of the view and of nobody else.
func (v View) members(nodes []uint64) (members []overlay.NodeID) {
	for _, node := range nodes {
		if _, is := v.member(overlay.NodeID(node)); is {
			members = append(members, overlay.NodeID(node))
		}
	}
	return members
}

// stabilize asks the successor whether there is a nearer one by now, and tells it of this
// node. If all of the successor list is gone, the view says who is next; and it offers
// somebody at random, so that a ring that was split by an outage becomes one again.
func (n *Node) stabilize(v View) {
	for range maxSuccessors {
		var successor overlay.NodeID
		n.withRing(func(r *Ring) {
			if r.Successor() == n.id && len(v.Members) > 1 {
				r.Join(v.Members[v.after(position(n.id).plusPower(0))].Node)
			}
			if m := v.Members[rand.IntN(len(v.Members))]; m.at.between(position(n.id), position(r.Successor())) && n.health.rank(m.Node) == 0 {
				r.Join(m.Node)
			}
			successor = r.Successor()
		})
		if successor == n.id {
			return
		}
		ctx, cancel := context.WithTimeout(n.ctx, rpcTimeout)
		resp, err := n.peer(successor).Stabilize(ctx, &kvv1.StabilizeRequest{Node: uint64(n.id)})
		cancel()
		n.health.observe(successor, err)
		nearer := true // who is behind a dead one is
		n.withRing(func(r *Ring) {
			if err != nil {
				r.Remove(successor)
				return
			}
			predecessor := append(v.members([]uint64{resp.GetPredecessor()}), 0)[0]
			nearer = r.Stabilize(successor, predecessor, v.members(resp.GetSuccessors()))
		})
		if resp.GetEpoch() != v.Epoch && err == nil {
			_, _ = n.exchange(n.ctx, successor)
		}
		if !nearer {
			return
		}
	}
}

// checkPredecessor asks the predecessor whether it is there, unless it has just said so
// itself: it does each round.
func (n *Node) checkPredecessor() {
	var predecessor overlay.NodeID
	n.withRing(func(r *Ring) { predecessor = r.predecessor })
	if predecessor == 0 || n.health.answered(predecessor, 2*n.cfg.Interval) {
		return
	}
	if _, err := n.exchange(n.ctx, predecessor); err != nil && !connect.IsWireError(err) {
		n.withRing(func(r *Ring) { r.Remove(predecessor) })
	}
}

// fixFinger looks up one finger: in each round for some time after a change, then now and then.
func (n *Node) fixFinger(v View) {
	if n.fixedFor != v.Epoch {
		n.fixedFor, n.unfixed = v.Epoch, 2*calmRounds
	}
	if n.unfixed--; n.unfixed < 0 && rand.IntN(calmRounds) > 0 {
		return
	}
	var finger int
	var id ID
	var needed bool
	n.withRing(func(r *Ring) { finger, id, needed = r.NextFinger() })
	if !needed {
		return
	}
	if path, err := n.lookup(n.ctx, id); err == nil {
		n.withRing(func(r *Ring) { r.SetFinger(finger, path[len(path)-1]) })
	}
}

// lookup finds the node that an ID belongs to, asking one after the other. The path is who
// was asked, and at its end the node.
func (n *Node) lookup(ctx context.Context, id ID) (path []overlay.NodeID, err error) {
	at := n.id
	for range maxHops {
		var next overlay.NodeID
		var found bool
		if at == n.id {
			n.withRing(func(r *Ring) { next, found = r.Step(id) })
		} else {
			callCtx, cancel := context.WithTimeout(ctx, rpcTimeout)
			resp, err := n.peer(at).FindSuccessor(callCtx, &kvv1.FindSuccessorRequest{Id: id[:]})
			cancel()
			n.health.observe(at, err)
			if err != nil { // around it, from here
				n.withRing(func(r *Ring) { r.Remove(at) })
				if ctx.Err() != nil || len(path) >= maxHops/2 {
					return nil, notYet("node %v does not say where to look: %w", at, err)
				}
				path, at = nil, n.id
				continue
			}
			next, found = overlay.NodeID(resp.GetNode()), resp.GetFound()
		}
		if path = append(path, next); found {
			return path, nil
		}
		if next == at {
			break
		}
		at = next
	}
	return nil, notYet("the ring is not in order yet: no node for %v after %d steps", id, len(path))
}

// watch asks the next member of the view and those that did not answer before whether they are
// there, and now and then one at random, so that views reach everybody. A member that is not, for a while, is removed by the one that
// precedes it in the view.
func (n *Node) watch(v View) {
	self := v.after(position(n.id))
	var ask, mine []Member // mine: up to the first one that answers
	if rand.IntN(calmRounds) == 0 {
		ask = append(ask, v.Members[rand.IntN(len(v.Members))])
	}
	for i := 1; i < len(v.Members); i++ {
		m := v.Members[(self+i)%len(v.Members)]
		first := len(mine) == i-1
		failing := n.health.rank(m.Node) > 0
		if failing || first && !n.health.answered(m.Node, n.cfg.Interval) {
			ask = append(ask, m)
		}
		if first && failing {
			mine = append(mine, m)
		}
	}
	var wg sync.WaitGroup
	for _, m := range ask {
		wg.Go(func() { _, _ = n.exchange(n.ctx, m.Node) })
	}
	wg.Wait()
	for _, m := range mine {
		if n.health.dead(m.Node, n.cfg.DeadAfter) && !n.reachable(v, m.Node) {
			n.remove(m)
		}
	}
}

// reachable asks others whether they reach a node.
func (n *Node) reachable(v View, node overlay.NodeID) bool {
	ctx, cancel := context.WithTimeout(n.ctx, 2*rpcTimeout)
	defer cancel()
	asked := 0
	for _, i := range rand.Perm(len(v.Members)) {
		m := v.Members[i].Node
		if m == n.id || m == node || n.health.rank(m) > 0 || asked == maxWitnesses {
			continue
		}
		asked++
		if _, err := n.peer(m).Reach(ctx, &kvv1.ReachRequest{Node: uint64(node)}); err == nil {
			return true
		}
	}
	return false
}

// remove has the members decide that one of them is gone.
func (n *Node) remove(m Member) {
	ctx, cancel := context.WithTimeout(n.ctx, joinTimeout)
	defer cancel()
	err := n.change(ctx, func(v View) (View, bool, error) {
		if now, is := v.member(m.Node); !is || now != m || len(v.Members) <= minMembers {
			return View{}, false, nil
		}
		return v.without(m), true, nil
	})
	if err != nil {
		n.log.WithError(err).WithField("gone", m.Node).Info("a member does not answer, and cannot be removed")
	}
}

// Stabilize tells the predecessor and the successors to a member that believes to be the
// predecessor.
func (n *Node) Stabilize(ctx context.Context, req *kvv1.StabilizeRequest) (*kvv1.StabilizeResponse, error) {
	node := overlay.NodeID(req.GetNode())
	if peer, ok := overlay.PeerFrom(ctx); ok && peer.ID != node {
		return nil, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("node %v is another one", node))
	}
	v := n.disk.current().view
	resp := &kvv1.StabilizeResponse{Epoch: v.Epoch}
	_, is := v.member(node)
	if is {
		n.health.observe(node, nil)
	}
	n.withRing(func(r *Ring) {
		resp.Predecessor = uint64(r.predecessor)
		for _, s := range r.successors {
			resp.Successors = append(resp.Successors, uint64(s))
		}
		if is {
			r.Notify(node)
		}
	})
	return resp, nil
}

// FindSuccessor is one step of a lookup.
func (n *Node) FindSuccessor(_ context.Context, req *kvv1.FindSuccessorRequest) (*kvv1.FindSuccessorResponse, error) {
	if len(req.GetId()) != len(ID{}) {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("an ID has 32 bytes"))
	}
	resp := new(kvv1.FindSuccessorResponse)
	n.withRing(func(r *Ring) {
		node, found := r.Step(ID(req.GetId()))
		resp.Node, resp.Found = uint64(node), found
	})
	return resp, nil
}

// Reach tries to reach a member for another one.
func (n *Node) Reach(ctx context.Context, req *kvv1.ReachRequest) (*kvv1.ReachResponse, error) {
	node := overlay.NodeID(req.GetNode())
	if _, is := n.disk.current().view.member(node); !is {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("node %v is not a member", node))
	}
	_, err := n.exchange(ctx, node)
	if err != nil && !connect.IsWireError(err) {
		return nil, notYet("node %v does not answer: %w", node, err)
	}
	return &kvv1.ReachResponse{}, nil
}
