package gossip

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weftnet/weft/internal/identity"
)

// A Change says that a node is now attached to another relay than before.
type Change struct {
	Node  identity.NodeID
	Relay identity.NodeID // where it is attached; 0: nowhere
	Was   identity.NodeID // where it was attached; 0: nowhere
	// HungUp says, with Relay 0, that the node ended its link to that relay
	// itself, as a process does that dies. False: the link went silent, the
	// relay has gone, or nobody knows.
	HungUp bool
}

// The methods of this file are what a backbone does to a directory.

// stale returns an error if the directory would not take s.
func (d *Directory) stale(s *signed) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.staleLocked(s)
}

func (d *Directory) staleLocked(s *signed) error {
	e := d.entry(s.ID)
	switch {
	case e == nil:
		return nil
	case e.key != s.Key:
		return &ConflictError{ID: s.ID, Known: e.key, Refused: s.Key}
	case e.state == none:
		return nil
	case !e.isSigned && s.compare(e.attachment()) >= 0:
		return nil
	case e.isSigned && s.newer(e.wire(s.ID)):
		return nil
	}
	return &StaleError{ID: s.ID, Epoch: e.epoch, Seq: e.seq}
}

// merge takes a record whose signatures have been checked, unless it knows a
// newer one. A relay that has limit live records gets no further ones. With
// unnamed the node is not found by its names. The error is a [*StaleError],
// a [*ConflictError] or matches [ErrFull].
func (d *Directory) merge(s *signed, st state, unnamed bool, limit int) (Change, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetExpired()
	if err := d.staleLocked(s); err != nil {
		switch err.(type) { //nolint:errorlint // staleLocked wraps nothing
		case *StaleError:
			d.stats.Stale++
		case *ConflictError:
			d.stats.Conflicts++
		}
		return Change{}, err
	}
	if known := d.entry(s.ID); st == live && d.origin[s.Relay] >= limit &&
		(known == nil || known.relay != s.Relay || known.state != live) {
		d.stats.Full++
		return Change{}, fmt.Errorf("%w: relay %v has %d nodes", ErrFull, s.Relay, limit)
	}
	e, err := d.claim(s.ID, s.Key)
	if err != nil {
		return Change{}, err
	}
	c := Change{Node: s.ID, Was: e.at()}
	d.change(s.ID, e, func() { e.set(s, st); e.unnamed = unnamed })
	c.Relay = e.at()
	c.HungUp = s.hungUp && c.Relay == 0
	return c, nil
}

// register is merge for a record that the node itself brings to its relay, here.
// What the relay knows already may come again.
func (d *Directory) register(s *signed, limit int) (c Change, isNew bool, err error) {
	d.mu.Lock()
	if e := d.entry(s.ID); e != nil && e.isSigned && e.key == s.Key && e.state != departed && e.wire(s.ID).hash() == s.hash() {
		c = Change{Node: s.ID, Was: e.at()}
		isNew = e.state != live
		d.change(s.ID, e, func() { e.state = live })
		c.Relay = e.at()
		d.mu.Unlock()
		return c, isNew, nil
	}
	d.mu.Unlock()
	c, err = d.merge(s, live, false, limit)
	return c, err == nil, err
}

// withdraw does what Detach does, and returns the record of which the relay is
// to sign that it has ended, nil if there is none.
func (d *Directory) withdraw(id, relay identity.NodeID) *signed {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.detach(id, relay); e != nil && e.isSigned {
		return e.wire(id)
	}
	return nil
}

// bound reports whether the relay itself has said with Attach that the node is
// attached to it.
func (d *Directory) bound(id, relay identity.NodeID) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	e := d.entry(id)
	return e != nil && e.here == relay
}

// wire returns a node's signed record, nil if there is none.
func (d *Directory) wire(id identity.NodeID) *signed {
	d.mu.RLock()
	defer d.mu.RUnlock()
	e := d.entry(id)
	if e == nil || !e.signed() || e.state == expired {
		return nil
	}
	return e.wire(id)
}

// turn changes the state of all signed records of a relay: from live to expired
// when it has been away for too long, and back when it has returned. It takes
// the lock for one bucket at a time.
func (d *Directory) turn(relay identity.NodeID, from, to state, report func(Change)) {
	for i := range d.shards {
		for _, c := range d.turnShard(i, relay, from, to) {
			report(c)
		}
	}
}

func (d *Directory) turnShard(i int, relay identity.NodeID, from, to state) []Change {
	d.mu.Lock()
	defer d.mu.Unlock()
	var changed []Change
	for id, e := range d.shards[i].nodes {
		if !e.isSigned || e.relay != relay || e.state != from {
			continue
		}
		c := Change{Node: id, Was: e.at()}
		d.change(id, e, func() { e.state = to })
		if c.Relay = e.at(); c.Relay != c.Was {
			changed = append(changed, c)
		}
	}
	return changed
}

// digest returns the sums of all buckets.
func (d *Directory) digest() *[buckets]bucketSum {
	var sums [buckets]bucketSum
	d.mu.RLock()
	defer d.mu.RUnlock()
	for i := range d.shards {
		sums[i] = d.shards[i].bucketSum
	}
	return &sums
}

// A brief says which version of a node's record somebody has.
type brief struct {
	id         identity.NodeID
	epoch, seq uint64
	hash       uint64
	state      state // not sent
}

// briefs returns what is known of the nodes from lo to hi that are in the
// buckets, in ascending order of their IDs: at most limit, and the last ID that
// they cover.
func (d *Directory) briefs(lo, hi identity.NodeID, in *bucketSet, limit int) (list []brief, upto identity.NodeID) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for b := bucketOf(lo); b <= bucketOf(hi); b++ {
		if !in.has(b) {
			continue
		}
		first := len(list)
		for id, e := range d.shards[b].nodes {
			if id >= lo && id <= hi && e.signed() {
				list = append(list, brief{id: id, epoch: e.epoch, seq: e.seq, state: e.state})
			}
		}
		slices.SortFunc(list[first:], func(a, b brief) int { return cmp.Compare(a.id, b.id) })
		full := len(list) > limit
		if full {
			list = list[:limit]
			hi = list[limit-1].id
		}
		for i := first; i < len(list); i++ {
			list[i].hash = d.entry(list[i].id).wire(list[i].id).hash()
		}
		if full {
			break
		}
	}
	return list, hi
}

// countOf returns how many nodes are attached to a relay by signed records.
func (d *Directory) countOf(relay identity.NodeID) int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.origin[relay]
}

// refuse counts what was refused before the table was asked.
func (d *Directory) refuse() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Invalid++
}

// expire forgets the nodes that were detached long enough ago.
func (d *Directory) expire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetExpired()
}
