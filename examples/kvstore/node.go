package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/sirupsen/logrus"
	bolt "go.etcd.io/bbolt"

	"github.com/weftnet/weft/examples/kvstore/kvv1"
	"github.com/weftnet/weft/examples/kvstore/kvv1/kvv1connect"
	"github.com/weftnet/weft/overlay"
)

const (
	// maxCalls is how many calls to other nodes may be on their way at a time, those
	// included that nobody waits for any more.
	maxCalls = 2048
	// maxViews is how many views one message tells.
	maxViews = 256
	// joinTimeout is how long one member may take to have a node admitted.
	joinTimeout = 15 * time.Second
)

// A Config is what a Node is made of.
type Config struct {
	ID        overlay.NodeID
	Dir       string                                             // where its file is or will be
	Peer      func(address string) kvv1connect.NodeServiceClient // others, by ID, key or name
	Join      []string                                           // members, by ID, key or name; not needed if Dir has a store
	New       bool                                               // to found a store
	Log       logrus.FieldLogger
	Bolt      bolt.Options
	Quorums                 // of a new store
	Interval  time.Duration // between two rounds of stabilisation
	DeadAfter time.Duration // without an answer a member is removed
	Patience  time.Duration // for which an operation is tried
}

// A Node is a member of a store, or will be. Its methods are the services' and may be
// called by several goroutines. What a node knows of views and values is in disk, and
// belongs to its goroutine.
type Node struct {
	id     overlay.NodeID
	cfg    Config
	log    logrus.FieldLogger
	disk   *Disk
	health health

	mu   sync.Mutex // guards ring; never held while waiting
	ring *Ring

	ctx      context.Context // until close
	stop     context.CancelFunc
	loops    sync.WaitGroup
	calls    chan struct{} // holds one for each call in the background
	changing chan struct{} // holds one while change runs
	woken    chan struct{} // there may be new tasks
	leaving  atomic.Bool

	// Of the rounds' goroutine.
	collected uint64 // epoch
	fixedFor  uint64 // epoch
	unfixed   int    // rounds that begin with a finger
}

// open starts a node. It is in a store at once if it founds one or was in one before, and
// otherwise as soon as one of cfg.Join admits it.
func open(cfg Config) (*Node, error) {
	if err := cfg.valid(); err != nil {
		return nil, err
	}
	disk, err := openDisk(cfg.Dir, cfg.ID, cfg.Bolt)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	n := &Node{
		id: cfg.ID, cfg: cfg, log: cfg.Log.WithField("node", cfg.ID), disk: disk, ring: NewRing(cfg.ID),
		health: health{nodes: make(map[overlay.NodeID]record)},
		ctx:    ctx, stop: stop,
		calls: make(chan struct{}, maxCalls), changing: make(chan struct{}, 1), woken: make(chan struct{}, 1),
	}
	if err := n.begin(); err != nil {
		stop()
		return nil, errors.Join(err, disk.close())
	}
	n.loops.Go(n.takeOvers)
	n.loops.Go(n.rounds)
	return n, nil
}

// begin founds a store if that is wanted. Whoever has lost his disk must not do that by mistake:
// users would find nothing in it.
func (n *Node) begin() error {
	switch epoch := n.disk.current().view.Epoch; {
	case epoch > 0 && n.cfg.New:
		return fmt.Errorf("there is a store in %s already: go on with it without --new, or use another directory", n.cfg.Dir)
	case epoch == 0 && n.cfg.New == (len(n.cfg.Join) > 0):
		return errors.New("there is no store here yet: say a member of one (--join), or that this is to be a new one (--new)")
	case epoch > 0 || !n.cfg.New:
		return nil
	}
	return n.disk.update(n.ctx, func(t *txn) error {
		return t.enter(founding(rand.Uint64()|1, t.state.self, n.cfg.Quorums))
	})
}

// valid sets defaults and says what is wrong.
func (c *Config) valid() error {
	if c.Quorums == (Quorums{}) {
		c.Quorums = defaultQuorums
	}
	if c.Interval == 0 {
		c.Interval = time.Second
	}
	if c.DeadAfter == 0 {
		c.DeadAfter = 10 * time.Second
	}
	if c.Patience == 0 {
		c.Patience = patience
	}
	return c.Quorums.valid()
}

// close stops a node as a crash does, but waits for what is on its way. It stays a member.
func (n *Node) close() error {
	n.stop()
	n.loops.Wait()
	for range maxCalls {
		n.calls <- struct{}{}
	}
	return n.disk.close()
}

// background calls f in a goroutine that close waits for. It reports false if there are
// too many.
func (n *Node) background(timeout time.Duration, f func(context.Context)) bool {
	select {
	case n.calls <- struct{}{}:
	default:
		return false
	}
	if n.ctx.Err() != nil {
		<-n.calls
		return false
	}
	go func() {
		defer func() { <-n.calls }()
		ctx, cancel := context.WithTimeout(n.ctx, timeout)
		defer cancel()
		f(ctx)
	}()
	return true
}

// peer is a node, which may be this one.
func (n *Node) peer(node overlay.NodeID) kvv1connect.NodeServiceClient {
	if node == n.id {
		return n
	}
	return n.cfg.Peer(node.String())
}

// entered is called after a new view.
func (n *Node) entered() {
	v := n.disk.current().view
	n.log.WithFields(logrus.Fields{"epoch": v.Epoch, "members": len(v.Members)}).Info("there is a new view")
	n.mu.Lock()
	for _, node := range n.ring.Known() {
		if _, is := v.member(node); !is {
			n.ring.Remove(node)
		}
	}
	n.mu.Unlock()
	n.health.keep(v)
	select {
	case n.woken <- struct{}{}:
	default:
	}
}

// Exchange tells later views.
func (n *Node) Exchange(_ context.Context, req *kvv1.ExchangeRequest) (*kvv1.ExchangeResponse, error) {
	s := n.disk.current()
	resp := &kvv1.ExchangeResponse{Epoch: s.view.Epoch, Leaving: n.leaving.Load()}
	if s.ready() {
		resp.Ready = s.view.Epoch
	}
	switch {
	case s.view.Epoch == 0:
		return nil, notYet("node %v is in no store yet", n.id)
	case req.GetStore() == 0:
		resp.Views = []*kvv1.View{s.view.proto()}
	case req.GetStore() != s.view.Store:
		return nil, s.at(req.GetStore(), req.GetEpoch())
	case req.GetEpoch() < s.view.Epoch:
		views, err := n.disk.viewsAfter(req.GetEpoch(), maxViews)
		if err != nil {
			return nil, connect.NewError(connect.CodeInternal, err)
		}
		resp.Views = views
	}
	return resp, nil
}

// exchange makes this node and another one know the same views, and is how nodes find out
// whether others are there.
func (n *Node) exchange(ctx context.Context, node overlay.NodeID) (*kvv1.ExchangeResponse, error) {
	if node == n.id {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	for {
		before := n.disk.current().view
		resp, err := n.peer(node).Exchange(ctx, &kvv1.ExchangeRequest{Store: before.Store, Epoch: before.Epoch})
		n.health.observe(node, err)
		if err != nil {
			return nil, err
		}
		n.health.setReady(node, resp.GetReady())
		if resp.GetEpoch() < before.Epoch {
			views, err := n.disk.viewsAfter(resp.GetEpoch(), maxViews)
			if err == nil {
				_, err = n.peer(node).Learn(ctx, &kvv1.LearnRequest{Views: views})
			}
			return resp, err
		}
		if err := n.learn(ctx, resp.GetViews()); err != nil {
			return nil, err
		}
		if now := n.disk.current().view.Epoch; now == before.Epoch || now >= resp.GetEpoch() {
			return resp, nil
		}
	}
}

// join becomes a member by way of a node that is one.
func (n *Node) join(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	peer := n.cfg.Peer(address)
	s := n.disk.current()
	resp, err := peer.Exchange(ctx, &kvv1.ExchangeRequest{Store: s.view.Store, Epoch: s.view.Epoch})
	if err != nil {
		return err
	}
	if s.view.Epoch == 0 {
		if err := n.learnFirst(ctx, resp.GetViews()); err != nil {
			return err
		}
	} else if err := n.learn(ctx, resp.GetViews()); err != nil {
		return err
	}
	if s = n.disk.current(); s.isMember() {
		return nil
	}
	if _, err := peer.Admit(ctx, &kvv1.AdmitRequest{Member: &kvv1.Member{Node: uint64(s.self.Node), Life: s.self.Life}}); err != nil {
		return err
	}
	resp, err = peer.Exchange(ctx, &kvv1.ExchangeRequest{Store: s.view.Store, Epoch: s.view.Epoch})
	if err != nil {
		return err
	}
	return n.learn(ctx, resp.GetViews())
}

// learnFirst takes the view where a node begins. It was in none before, and so has nothing to
// take over for it.
func (n *Node) learnFirst(ctx context.Context, views []*kvv1.View) error {
	if len(views) != 1 {
		return fmt.Errorf("%d views were told, not one", len(views))
	}
	v, err := viewFrom(views[0])
	if err != nil {
		return err
	}
	err = n.disk.update(ctx, func(t *txn) error {
		if t.state.view.Epoch > 0 {
			return nil
		}
		return t.enter(v)
	})
	n.entered()
	return err
}

// leave has the node removed and waits until the others have taken over what it holds.
func (n *Node) leave(ctx context.Context) (err error) {
	n.leaving.Store(true) // and is not to be admitted again
	defer func() { n.leaving.Store(err == nil) }()
	var left uint64
	err = n.change(ctx, func(v View) (View, bool, error) {
		self := n.disk.current().self
		left = v.Epoch
		m, is := v.member(n.id)
		switch {
		case !is || m != self:
			return View{}, false, nil
		case len(v.Members) == 1:
			return View{}, false, connect.NewError(connect.CodeFailedPrecondition, errors.New("this is the last node: nobody could take over"))
		}
		return v.without(self), true, n.enough(ctx, v)
	})
	for err == nil {
		s := n.disk.current()
		for _, m := range s.view.Members {
			_, _ = n.exchange(ctx, m.Node)
		}
		if s = n.disk.current(); s.view.Epoch >= left && n.health.allReady(s.view, s.self) {
			return nil
		}
		err = wait(ctx, n.cfg.Interval/4)
	}
	return err
}

// enough says what is against leaving a view: a few that stay, of which one is dead or has
// lost its disk, might be no majority.
func (n *Node) enough(ctx context.Context, v View) error {
	for _, m := range v.Members {
		resp, err := n.exchange(ctx, m.Node)
		if m.Node == n.id || len(v.Members) > max(v.Replicas, minMembers) {
			continue
		}
		if err == nil && resp.GetReady() != v.Epoch {
			err = errors.New("it is not ready")
		}
		if err != nil {
			return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("too few would be left: node %v: %w", m.Node, err))
		}
	}
	return nil
}
