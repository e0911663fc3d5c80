package gossip

import (
	"cmp"
	"container/list"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// MaxMatches is how many nodes one lookup returns at most.
const MaxMatches = 8

// The defaults of [DirectoryConfig].
const (
	DefaultMaxRecords       = 1 << 20
	DefaultMaxNamesPerNode  = identity.MaxNames
	DefaultMaxCandidates    = 32
	DefaultRememberDetached = 10 * time.Minute
)

// DirectoryConfig configures a [Directory]. Zero values are the defaults.
type DirectoryConfig struct {
	// MaxRecords bounds the table; when it is full, detached nodes make room
	// for new ones, attached ones do not. An idle node without names takes about
	// 250 bytes. Zero: 1048576, the nodes of a whole backbone.
	MaxRecords int
	// MaxNamesPerNode is how many names one node may have. Zero: 16.
	MaxNamesPerNode int
	// MaxCandidates is how many candidate addresses one node may have. Zero: 32.
	MaxCandidates int
	// RememberDetached is how long the key and the newest epoch of a node are
	// kept after it was detached, so that nobody else takes over its ID and no
	// older attachment is taken for a newer one. Zero: 10 minutes.
	RememberDetached time.Duration
}

// A Directory is a table of nodes and where they are attached. A node ID
// belongs to the key that it was first seen with. Multiple goroutines may
// invoke methods on a Directory simultaneously; none of them blocks.
//
// What a directory knows of a node comes from two sides. The node's record says
// where it is attached and under which names; it may be signed by the node and
// come from another relay (see [Backbone]). And a relay whose link to the node
// is proven says so with Attach; that counts as long as no record says
// otherwise, as for a node's spare link.
type Directory struct {
	cfg DirectoryConfig
	now func() time.Time

	mu       sync.RWMutex
	shards   [buckets]shard
	names    map[string]map[identity.NodeID]*entry // attached nodes only
	detached list.List                             // of departedNode, longest detached first
	nodes    int                                   // known, detached ones included
	origin   map[identity.NodeID]int               // signed records that are valid, by their relay
	stats    DirectoryStats                        // the counters; gauges are computed
}

// DirectoryStats are the gauges and counters of a [Directory].
type DirectoryStats struct {
	Attached, Detached int
	Conflicts          uint64 // refused: another key holds the ID
	Stale              uint64 // refused: a newer attachment is known
	Full               uint64 // refused: no room, in all or for the relay
	Invalid            uint64 // refused: names not certified, too many names or candidates
}

// NewDirectory makes an empty directory.
func NewDirectory(cfg DirectoryConfig) *Directory {
	cfg.MaxRecords = cmp.Or(cfg.MaxRecords, DefaultMaxRecords)
	cfg.MaxNamesPerNode = cmp.Or(cfg.MaxNamesPerNode, DefaultMaxNamesPerNode)
	cfg.MaxCandidates = cmp.Or(cfg.MaxCandidates, DefaultMaxCandidates)
	cfg.RememberDetached = cmp.Or(cfg.RememberDetached, DefaultRememberDetached)
	return &Directory{
		cfg: cfg, now: time.Now,
		names:  make(map[string]map[identity.NodeID]*entry),
		origin: make(map[identity.NodeID]int),
	}
}

// Attach lists a verified peer as attached to a relay. A node that is known
// keeps its names and version until Put brings newer ones; one whose record says
// that it is attached to another relay stays listed there. The error is a
// [*ConflictError] or [ErrFull].
func (d *Directory) Attach(peer identity.Peer, relay identity.NodeID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetExpired()
	e, err := d.claim(peer.ID, peer.Key)
	if err != nil {
		return err
	}
	d.change(peer.ID, e, func() {
		e.here = relay
		if !e.signed() { // nobody else knows better
			e.relay = 0
		}
	})
	return nil
}

// Put records a verified peer's attachment, unless a newer one is known; of
// two of the same version, the one put last holds. The error is a
// [*ConflictError], a [*StaleError], [ErrFull], [ErrTooMuch] or matches
// [ErrNotCertified]; nothing has changed then.
func (d *Directory) Put(peer identity.Peer, a Attachment) error {
	a = a.clone()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(peer, a); err != nil {
		d.stats.Invalid++
		return err
	}
	d.forgetExpired()
	if e := d.entry(peer.ID); e != nil && e.key == peer.Key && a.compare(e.attachment()) < 0 {
		d.stats.Stale++
		return &StaleError{ID: peer.ID, Epoch: e.epoch, Seq: e.seq}
	}
	e, err := d.claim(peer.ID, peer.Key)
	if err != nil {
		return err
	}
	d.change(peer.ID, e, func() { e.set(&signed{Record: Record{ID: peer.ID, Key: peer.Key, Attachment: a}}, live) })
	return nil
}

// Detach says that a node is no longer attached to a relay; lookups do not
// find it from now on. It does nothing when the node is attached elsewhere.
func (d *Directory) Detach(id, relay identity.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.detach(id, relay)
}

// Find returns the attached nodes that a target means, in ascending order of
// their IDs: at most one for an ID or a key, up to [MaxMatches] for a name.
func (d *Directory) Find(t identity.Target) []Record {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if t.Name != "" {
		return d.findName(strings.ToLower(t.Name))
	}
	id := t.ID
	if id == 0 {
		id = t.Key.ID()
	}
	e := d.entry(id)
	if e == nil || e.at() == 0 || t.Key != (identity.PublicKey{}) && t.Key != e.key {
		return nil
	}
	return []Record{e.record(id)}
}

// RelayOf returns the relay that a node is attached to, false when it is not
// attached. It allocates nothing.
func (d *Directory) RelayOf(id identity.NodeID) (identity.NodeID, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	e := d.entry(id)
	if e == nil {
		return 0, false
	}
	return e.at(), e.at() != 0
}

// Lookup returns the one attached node that a target means. The error matches
// [ErrNotFound], or is an [*AmbiguousError].
func (d *Directory) Lookup(t identity.Target) (Record, error) {
	found := d.Find(t)
	switch len(found) {
	case 0:
		return Record{}, ErrNotFound
	case 1:
		return found[0], nil
	}
	e := &AmbiguousError{Name: t.Name}
	for _, r := range found {
		e.IDs = append(e.IDs, r.ID)
	}
	return Record{}, e
}

// All returns the attached nodes as they are when the iteration comes to them,
// in no order. The directory may be changed meanwhile.
func (d *Directory) All() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for i := range d.shards {
			for _, r := range d.snapshot(i) {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// Stats returns the directory's gauges and counters.
func (d *Directory) Stats() DirectoryStats {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := d.stats
	s.Detached = d.detached.Len()
	s.Attached = d.nodes - s.Detached
	return s
}

// snapshot returns the attached nodes of one shard.
func (d *Directory) snapshot(i int) []Record {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]Record, 0, len(d.shards[i].nodes))
	for id, e := range d.shards[i].nodes {
		if e.at() != 0 {
			all = append(all, e.record(id))
		}
	}
	return all
}

// findName does Find for a name in lower case. d.mu is held.
func (d *Directory) findName(name string) []Record {
	var found []Record
	for id, e := range d.names[name] {
		if len(found) == MaxMatches {
			break
		}
		found = append(found, e.record(id))
	}
	slices.SortFunc(found, func(a, b Record) int { return cmp.Compare(a.ID, b.ID) })
	return found
}
