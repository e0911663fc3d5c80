package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/weftnet/weft/examples/kvstore/kvv1"
	"github.com/weftnet/weft/examples/kvstore/kvv1/kvv1connect"
	"github.com/weftnet/weft/overlay"
)

const (
	// maxKey and maxValue are in bytes. A value is in memory a few times on its way.
	maxKey   = 1 << 10
	maxValue = 1 << 20

	// rpcTimeout is how long one node has to answer another.
	rpcTimeout = 2 * time.Second
	// valueTimeout is the same with a value, to which a slow line is granted 1 Mbit/s.
	valueTimeout = 10 * time.Second
	// patience is how long an operation is tried: long enough for a new view to be in order
	// if a majority of the replicas is there.
	patience = 15 * time.Second
	// hedgeAfter is how long some replicas are waited for before others are asked, too.
	hedgeAfter = 50 * time.Millisecond
	// maxPause is the longest pause between two tries.
	maxPause = 500 * time.Millisecond
)

// Get reads the latest value of a key.
func (n *Node) Get(ctx context.Context, key []byte) (value []byte, err error) {
	err = n.operate(ctx, key, func(ctx context.Context, v View, set []Member) error {
		read, write := v.readQuorum(len(set)), v.writeQuorum(len(set))
		answers, err := n.query(ctx, v, set, read, key, false)
		if err != nil {
			return err
		}
		latest, have := latestOf(answers)
		if latest != nil && have < write { // else a later reader could miss what this one has seen
			if err := n.store(ctx, v, set, write, latest); err != nil {
				return err
			}
		}
		if latest == nil || latest.GetDeleted() {
			return connect.NewError(connect.CodeNotFound, errors.New("there is no such key"))
		}
		value = latest.GetValue()
		return nil
	})
	return value, err
}

// Put writes a value. If it fails with CodeUnavailable the value may be there all the
// same, or later.
func (n *Node) Put(ctx context.Context, key, value []byte) error {
	if len(value) > maxValue {
		return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the value has %d bytes; at most %d are allowed", len(value), maxValue))
	}
	return n.write(ctx, &kvv1.Entry{Key: key, Value: value})
}

// Delete removes the value of a key, if there is one.
func (n *Node) Delete(ctx context.Context, key []byte) error {
	return n.write(ctx, &kvv1.Entry{Key: key, Deleted: true})
}

// write writes an entry with a version that is higher than that of all writes that were
// acknowledged before. It has one version however often and in how many views it is tried: with
// a second one it could take effect twice, around the write of somebody else.
func (n *Node) write(ctx context.Context, e *kvv1.Entry) error {
	return n.operate(ctx, e.GetKey(), func(ctx context.Context, v View, set []Member) error {
		if e.GetVersion() == nil {
			answers, err := n.query(ctx, v, set, v.readQuorum(len(set)), e.GetKey(), true)
			if err != nil {
				return err
			}
			latest, _ := latestOf(answers)
			e.Version = Version{latest.GetVersion().GetCounter() + 1, uint64(n.id), rand.Uint64()}.proto()
		}
		return n.store(ctx, v, set, v.writeQuorum(len(set)), e)
	})
}

func (n *Node) query(ctx context.Context, v View, set []Member, need int, key []byte, versionOnly bool) ([]*kvv1.QueryResponse, error) {
	req := &kvv1.QueryRequest{Store: v.Store, Epoch: v.Epoch, Key: key, VersionOnly: versionOnly}
	how := asking{few: true, within: valueTimeout}
	if versionOnly {
		how.within = rpcTimeout
	}
	return quorum(ctx, n, set, need, how, func(ctx context.Context, c kvv1connect.NodeServiceClient) (*kvv1.QueryResponse, error) {
		return c.Query(ctx, req)
	})
}

func (n *Node) store(ctx context.Context, v View, set []Member, need int, e *kvv1.Entry) error {
	req := &kvv1.StoreRequest{Store: v.Store, Epoch: v.Epoch, Entry: e}
	_, err := quorum(ctx, n, set, need, asking{within: valueTimeout}, func(ctx context.Context, c kvv1connect.NodeServiceClient) (*kvv1.StoreResponse, error) {
		return c.Store(ctx, req)
	})
	return err
}

// latestOf is the latest entry and how many answers have it; nil if there is none.
func latestOf(answers []*kvv1.QueryResponse) (latest *kvv1.Entry, have int) {
	for _, a := range answers {
		if a.GetEntry() == nil {
			continue
		}
		order := 1
		if latest != nil {
			order = versionFrom(a.GetEntry().GetVersion()).compare(versionFrom(latest.GetVersion()))
		}
		switch {
		case order > 0:
			latest, have = a.GetEntry(), 1
		case order == 0:
			have++
		}
	}
	return latest, have
}

// operate tries an operation on a key in the view of the moment until it succeeds, its
// time is up, or trying again is of no use.
func (n *Node) operate(ctx context.Context, key []byte, do func(context.Context, View, []Member) error) error {
	if len(key) == 0 || len(key) > maxKey {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the key has %d bytes; 1 to %d are allowed", len(key), maxKey))
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Patience)
	defer cancel()
	id := hashOf(key)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, maxPause) {
		s := n.disk.current()
		err := notYet("node %v is in no store yet", n.id)
		if s.view.Epoch > 0 {
			err = do(ctx, s.view, s.view.replicas(id))
		}
		if err == nil || !tryAgain(err) {
			return err
		}
		if n.disk.current().view.Epoch != s.view.Epoch {
			continue // there is a new view to try
		}
		if wait(ctx, pause) != nil {
			return connect.NewError(connect.CodeUnavailable, err)
		}
	}
}

func tryAgain(err error) bool {
	var missing *missingError
	return errors.As(err, &missing) || connect.CodeOf(err) == connect.CodeUnavailable
}

// A missingError says who of those that had to answer did not.
type missingError struct {
	need int
	of   int
	why  []error // of each that failed
}

func (e *missingError) Error() string {
	why := make([]string, len(e.why))
	for i, err := range e.why {
		why[i] = err.Error()
	}
	return fmt.Sprintf("%d of %d nodes have to answer, but: %s", e.need, e.of, strings.Join(why, "; "))
}

func (e *missingError) Unwrap() []error { return e.why }

// asking is how members are asked.
type asking struct {
	few    bool          // not more at first than have to answer
	within time.Duration // the time that one has
}

// A poll is calls to some members, of which enough have to answer.
type poll[T any] struct {
	n       *Node
	how     asking
	call    func(context.Context, kvv1connect.NodeServiceClient) (T, error)
	asked   []Member // in the order in which they are asked
	started int
	answers chan pollAnswer[T]
}

type pollAnswer[T any] struct {
	from  Member
	value T
	err   error
}

// quorum calls members until as many as are needed have answered: at first those that
// answered lately, and the others if one
// fails or is slow. Calls that are not needed any more go on in the background, so that slow
// replicas get what is stored, too.
func quorum[T any](ctx context.Context, n *Node, members []Member, need int, how asking, call func(context.Context, kvv1connect.NodeServiceClient) (T, error)) ([]T, error) {
	p := poll[T]{n: n, how: how, call: call, asked: slices.Clone(members), answers: make(chan pollAnswer[T], len(members))}
	rand.Shuffle(len(members), func(i, j int) { p.asked[i], p.asked[j] = p.asked[j], p.asked[i] })
	rank := func(m Member) int {
		if m.Node == n.id {
			return -1 // the cheapest
		}
		return n.health.rank(m.Node)
	}
	slices.SortStableFunc(p.asked, func(a, b Member) int { return rank(a) - rank(b) })
	for _, m := range p.asked {
		if p.started < need || !how.few && rank(m) <= 0 {
			p.start()
		}
	}
	return p.wait(ctx, need)
}

// start asks the next member.
func (p *poll[T]) start() {
	if p.started == len(p.asked) {
		return
	}
	m := p.asked[p.started]
	p.started++
	started := p.n.background(p.how.within, func(ctx context.Context) {
		a := pollAnswer[T]{from: m}
		a.value, a.err = p.call(ctx, p.n.peer(m.Node))
		p.n.health.observe(m.Node, a.err)
		p.answers <- a
	})
	if !started {
		p.answers <- pollAnswer[T]{from: m, err: errors.New("too many calls are on their way, or the node is stopping")}
	}
}

// wait collects answers. The error says who is missing.
func (p *poll[T]) wait(ctx context.Context, need int) (got []T, err error) {
	slow := time.NewTimer(hedgeAfter)
	defer slow.Stop()
	missing := &missingError{need: need, of: len(p.asked)}
	var answered []Member
	var other []overlay.NodeID // who is in another view
	for len(p.asked)-len(missing.why) >= need {
		select {
		case a := <-p.answers:
			answered = append(answered, a.from)
			if a.err == nil {
				if got = append(got, a.value); len(got) == need {
					return got, nil
				}
				continue
			}
			missing.why = append(missing.why, fmt.Errorf("node %v: %w", a.from.Node, a.err))
			if connect.CodeOf(a.err) == connect.CodeFailedPrecondition {
				other = append(other, a.from.Node)
			}
			p.start()
		case <-slow.C:
			for range p.asked {
				p.start()
			}
		case <-ctx.Done():
			for _, m := range p.asked {
				if !slices.Contains(answered, m) {
					missing.why = append(missing.why, fmt.Errorf("node %v: no answer in time: %w", m.Node, context.Cause(ctx)))
				}
			}
			return nil, missing
		}
	}
	for _, node := range other {
		_, _ = p.n.exchange(ctx, node)
	}
	return nil, missing
}

// wait waits, and returns an error if ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
