package gossip

import (
	"fmt"
	"slices"

	"github.com/weftnet/weft/internal/identity"
)

// buckets is how many parts of the ID space digests tell apart, by the first
// bits of the node ID. With a million nodes one has about a thousand.
const (
	bucketBits = 10
	buckets    = 1 << bucketBits
)

// A shard holds the nodes of one bucket, and the digest of the records that are
// live and signed.
type shard struct {
	nodes map[identity.NodeID]*entry // nil while empty
	bucketSum
}

// A bucketSum says which records a bucket has: how many, and the sum of their
// hashes modulo 2^64.
type bucketSum struct {
	count uint32
	sum   uint64
}

func bucketOf(id identity.NodeID) int { return int(id >> (64 - bucketBits)) }

// The methods of this file change the table; d.mu is held.

// entry returns what is known of a node, nil if nothing is.
func (d *Directory) entry(id identity.NodeID) *entry { return d.shards[bucketOf(id)].nodes[id] }

// check reports why a peer must not have an attachment.
func (d *Directory) check(peer identity.Peer, a Attachment) error {
	if len(a.Names) > d.cfg.MaxNamesPerNode || len(a.Candidates) > d.cfg.MaxCandidates {
		return fmt.Errorf("%w: %d names and %d candidates, at most %d and %d are allowed",
			ErrTooMuch, len(a.Names), len(a.Candidates), d.cfg.MaxNamesPerNode, d.cfg.MaxCandidates)
	}
	for _, name := range a.Names {
		if !slices.Contains(peer.Names, name) {
			return fmt.Errorf("%w: %.64q", ErrNotCertified, name)
		}
	}
	return nil
}

// claim returns the node's entry; it makes one if the ID is free and there is
// room.
func (d *Directory) claim(id identity.NodeID, key identity.PublicKey) (*entry, error) {
	shard := &d.shards[bucketOf(id)]
	if e := shard.nodes[id]; e != nil {
		if e.key != key {
			d.stats.Conflicts++
			return nil, &ConflictError{ID: id, Known: e.key, Refused: key}
		}
		return e, nil
	}
	if d.nodes >= d.cfg.MaxRecords && !d.forgetOldest() {
		d.stats.Full++
		return nil, ErrFull
	}
	e := &entry{key: key}
	if shard.nodes == nil {
		shard.nodes = make(map[identity.NodeID]*entry)
	}
	shard.nodes[id] = e
	d.nodes++
	return e, nil
}

// change lets f change an entry and keeps everything that depends on it right:
// the names, the digest, the counts, and the list of those that are detached.
func (d *Directory) change(id identity.NodeID, e *entry, f func()) {
	d.unname(id, e)
	d.count(id, e, false)
	f()
	d.count(id, e, true)
	switch attached := e.at() != 0; {
	case attached:
		if e.gone != nil {
			d.detached.Remove(e.gone)
			e.gone = nil
		}
		d.name(id, e)
	case e.gone == nil:
		e.gone = d.detached.PushBack(departedNode{id, d.now().Add(d.cfg.RememberDetached)})
	}
}

// count adds an entry's record to the digest, or takes it out.
func (d *Directory) count(id identity.NodeID, e *entry, in bool) {
	if !e.signed() || e.state != live {
		return
	}
	s := &d.shards[bucketOf(id)].bucketSum
	h := e.wire(id).hash()
	if in {
		s.count, s.sum = s.count+1, s.sum+h
		d.origin[e.relay]++
		return
	}
	s.count, s.sum = s.count-1, s.sum-h
	if d.origin[e.relay]--; d.origin[e.relay] == 0 {
		delete(d.origin, e.relay)
	}
}

// name makes e known under its names.
func (d *Directory) name(id identity.NodeID, e *entry) {
	if e.more == nil || e.unnamed {
		return
	}
	for _, name := range e.more.names {
		holders := d.names[name]
		if holders == nil {
			holders = make(map[identity.NodeID]*entry, 1)
			d.names[name] = holders
		}
		holders[id] = e
	}
}

// unname makes e unknown under its names.
func (d *Directory) unname(id identity.NodeID, e *entry) {
	if e.more == nil {
		return
	}
	for _, name := range e.more.names {
		holders := d.names[name]
		delete(holders, id)
		if len(holders) == 0 {
			delete(d.names, name)
		}
	}
}

// detach does what Detach does, and returns the node's entry if its record was
// that of the relay.
func (d *Directory) detach(id, relay identity.NodeID) *entry {
	e := d.entry(id)
	if e == nil {
		return nil
	}
	mine := e.state == live && e.relay == relay
	if !mine && e.here != relay {
		return nil
	}
	d.change(id, e, func() {
		if e.here == relay {
			e.here = 0
		}
		if mine {
			e.state = expired
		}
	})
	if !mine {
		return nil
	}
	return e
}

// forgetExpired forgets the nodes that were detached long enough ago.
func (d *Directory) forgetExpired() {
	if d.detached.Len() == 0 {
		return
	}
	now := d.now()
	for first := d.detached.Front(); first != nil; first = d.detached.Front() {
		if now.Before(first.Value.(departedNode).forget) {
			return
		}
		d.forgetOldest()
	}
}

// forgetOldest forgets the node that was detached first, if there is one.
func (d *Directory) forgetOldest() bool {
	first := d.detached.Front()
	if first == nil {
		return false
	}
	id := d.detached.Remove(first).(departedNode).id
	shard := &d.shards[bucketOf(id)]
	delete(shard.nodes, id)
	if len(shard.nodes) == 0 {
		shard.nodes = nil // a map keeps the room of what it once held
	}
	d.nodes--
	return true
}
