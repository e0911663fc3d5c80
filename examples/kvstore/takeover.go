package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/weftnet/weft/examples/kvstore/kvv1"
)

// pullTimeout is how long one answer may take of who hands over.
const pullTimeout = 20 * time.Second

// maxDeletes is how many entries go in one transaction, which others wait for.
const maxDeletes = 4096

// takeOvers is the goroutine that works off the tasks.
func (n *Node) takeOvers() {
	pause := n.cfg.Interval
	for {
		s := n.disk.current()
		progress := false
		for _, t := range s.pending {
			err := n.takeOver(n.ctx, t)
			if err != nil {
				n.log.WithError(err).WithField("epoch", t.epoch).Debug("cannot take over yet")
			}
			progress = progress || err == nil
		}
		if progress {
			pause = n.cfg.Interval / 10
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-n.woken:
			pause = n.cfg.Interval / 10
		case <-timer.C:
			pause = min(2*pause, n.cfg.Interval)
		case <-n.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// takeOver learns what a majority of the former replicas of an arc have. Whatever was
// acknowledged in an earlier view was stored by a majority of them, too, before they left
// that view; so one at least of those that tell has it.
func (n *Node) takeOver(ctx context.Context, t task) error {
	need := majority(len(t.sources))
	var errs []error
	for _, m := range t.sources {
		if err := n.pull(ctx, m, t); err != nil {
			errs = append(errs, fmt.Errorf("node %v: %w", m.Node, err))
			continue
		}
		if need--; need == 0 {
			return n.disk.update(ctx, func(tx *txn) error {
				tx.state.finish(t)
				return tx.putPending()
			})
		}
	}
	return errors.Join(errs...)
}

// pull learns what one former replica has, or finds that this node, which is one, has it.
func (n *Node) pull(ctx context.Context, from Member, t task) error {
	s := n.disk.current()
	if from == s.self {
		before, _ := n.disk.viewAt(t.epoch - 1)
		return s.handsOver(t.epoch, before, t.Arc)
	}
	for at := t.From; ; {
		page, err := n.pullPage(ctx, from, t, at)
		if err != nil || !page.GetMore() || len(page.GetItems()) == 0 {
			return err
		}
		last := page.GetItems()[len(page.GetItems())-1].GetHash()
		if len(last) != len(at) || !ID(last).within(at, t.To) {
			return fmt.Errorf("it lists %x, which is not behind %v", last, at)
		}
		at = ID(last)
	}
}

func (n *Node) pullPage(ctx context.Context, from Member, t task, at ID) (*kvv1.ListResponse, error) {
	store := n.disk.current().view.Store
	listCtx, cancel := context.WithTimeout(ctx, rpcTimeout)
	page, err := n.peer(from.Node).List(listCtx, &kvv1.ListRequest{Store: store, Epoch: t.epoch, From: at[:], To: t.To[:]})
	cancel()
	n.health.observe(from.Node, err)
	if err != nil {
		_, _ = n.exchange(ctx, from.Node) // it may not know the view yet
		return nil, err
	}
	missing, err := n.missing(page.GetItems())
	if err != nil {
		return nil, err
	}
	for len(missing) > 0 {
		fetchCtx, cancel := context.WithTimeout(ctx, pullTimeout)
		resp, err := n.peer(from.Node).Fetch(fetchCtx, &kvv1.FetchRequest{Store: store, Hashes: missing[:min(len(missing), maxFetch)]})
		cancel()
		if err != nil {
			return nil, err
		}
		if len(resp.GetEntries()) == 0 || len(resp.GetEntries()) > len(missing) {
			return nil, errors.New("it told nothing of what it has listed")
		}
		if err := n.mergeAll(ctx, resp.GetEntries()); err != nil {
			return nil, err
		}
		missing = missing[len(resp.GetEntries()):]
	}
	return page, nil
}

// missing are the positions at which this node has nothing, or something older.
func (n *Node) missing(items []*kvv1.ListResponse_Item) (missing [][]byte, err error) {
	err = n.disk.db.View(func(tx *bolt.Tx) error {
		data := tx.Bucket(bucketData)
		for _, item := range items {
			raw := data.Get(item.GetHash())
			if raw == nil || versionOf(raw).compare(versionFrom(item.GetVersion())) < 0 {
				missing = append(missing, item.GetHash())
			}
		}
		return nil
	})
	return missing, err
}

func (n *Node) mergeAll(ctx context.Context, entries []*kvv1.Entry) error {
	for _, e := range entries {
		if err := validEntry(e); err != nil {
			return err
		}
	}
	return n.disk.update(ctx, func(t *txn) error {
		for _, e := range entries {
			if err := t.merge(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// collect forgets what only former views are concerned with, once all members serve all that is
// theirs in the present one: then nobody will ever need to take anything over from a view
// before. What this node has of others' is deleted, and tasks that are left are needless.
func (n *Node) collect(ctx context.Context) error {
	s := n.disk.current()
	if s.isMember() && !s.ready() || !n.health.allReady(s.view, s.self) || n.collected == s.view.Epoch {
		return nil
	}
	for more := true; more; {
		err := n.disk.update(ctx, func(t *txn) (err error) {
			if t.state.view.Epoch != s.view.Epoch {
				more = false
				return nil
			}
			more, err = t.deleteOthers()
			t.state.pending = nil
			return errors.Join(err, t.putPending())
		})
		if err != nil {
			return err
		}
	}
	n.collected = s.view.Epoch
	return nil
}

// deleteOthers deletes some of the entries that this node is no replica for; more says that
// there may be further ones.
func (t *txn) deleteOthers() (more bool, err error) {
	var others [][]byte
	c := t.tx.Bucket(bucketData).Cursor()
	for k, _ := c.First(); k != nil && len(others) < maxDeletes; k, _ = c.Next() {
		if !slices.Contains(t.state.view.replicas(ID(k)), t.state.self) {
			others = append(others, k)
		}
	}
	for _, k := range others {
		if err := t.tx.Bucket(bucketData).Delete(k); err != nil {
			return false, err
		}
	}
	return len(others) == maxDeletes, nil
}
