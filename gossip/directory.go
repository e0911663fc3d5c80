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
	DefaultMaxRecords       = 1 << 16
	DefaultMaxNamesPerNode  = identity.MaxNames
	DefaultMaxCandidates    = 32
	DefaultRememberDetached = 10 * time.Minute
)

// DirectoryConfig configures a [Directory]. Zero values are the defaults.
type DirectoryConfig struct {
	// MaxRecords bounds the table; when it is full, detached nodes make room
	// for new ones, attached ones do not. Zero: 65536.
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
type Directory struct {
	cfg DirectoryConfig

	mu       sync.RWMutex
	nodes    map[identity.NodeID]*entry
	names    map[string]map[identity.NodeID]*entry // attached nodes only
	detached list.List                             // of *entry, longest detached first
	stats    DirectoryStats                        // the counters; gauges are computed
}

// An entry is a node that is attached, or was not long ago.
type entry struct {
	Record
	gone   *list.Element // in detached; nil while attached
	forget time.Time     // when a detached node is forgotten
}

// DirectoryStats are the gauges and counters of a [Directory].
type DirectoryStats struct {
	Attached, Detached int
	Conflicts          uint64 // refused: another key holds the ID
	Stale              uint64 // refused: a newer attachment is known
	Full               uint64 // refused: no room
	Invalid            uint64 // refused: names not certified, too many names or candidates
}

// NewDirectory makes an empty directory.
func NewDirectory(cfg DirectoryConfig) *Directory {
	cfg.MaxRecords = cmp.Or(cfg.MaxRecords, DefaultMaxRecords)
	cfg.MaxNamesPerNode = cmp.Or(cfg.MaxNamesPerNode, DefaultMaxNamesPerNode)
	cfg.MaxCandidates = cmp.Or(cfg.MaxCandidates, DefaultMaxCandidates)
	cfg.RememberDetached = cmp.Or(cfg.RememberDetached, DefaultRememberDetached)
	return &Directory{
		cfg:   cfg,
		nodes: make(map[identity.NodeID]*entry),
		names: make(map[string]map[identity.NodeID]*entry),
	}
}

// Attach lists a verified peer as attached to a relay. A node that is known
// keeps its names and version until Put brings newer ones. The error is a
// [*ConflictError] or [ErrFull].
func (d *Directory) Attach(peer identity.Peer, relay identity.NodeID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetExpired(time.Now())
	e, err := d.claim(peer)
	if err != nil {
		return err
	}
	a := e.Attachment
	a.Relay = relay
	d.set(e, a)
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
	d.forgetExpired(time.Now())
	if e := d.nodes[peer.ID]; e != nil && e.Key == peer.Key && a.olderThan(e.Attachment) {
		d.stats.Stale++
		return &StaleError{ID: peer.ID, Epoch: e.Epoch, Seq: e.Seq}
	}
	e, err := d.claim(peer)
	if err != nil {
		return err
	}
	d.set(e, a)
	return nil
}

// Detach says that a node is no longer attached to a relay; lookups do not
// find it from now on. It does nothing when the node is attached elsewhere.
func (d *Directory) Detach(id, relay identity.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.nodes[id]
	if e == nil || e.gone != nil || e.Relay != relay {
		return
	}
	d.unname(e)
	e.forget = time.Now().Add(d.cfg.RememberDetached)
	e.gone = d.detached.PushBack(e)
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
	e := d.nodes[id]
	if e == nil || e.gone != nil || t.Key != (identity.PublicKey{}) && t.Key != e.Key {
		return nil
	}
	return []Record{e.Record}
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

// All returns the attached nodes as they are when the iteration starts, in no
// order.
func (d *Directory) All() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for _, r := range d.snapshot() {
			if !yield(r) {
				return
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
	s.Attached = len(d.nodes) - s.Detached
	return s
}

func (d *Directory) snapshot() []Record {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]Record, 0, len(d.nodes)-d.detached.Len())
	for _, e := range d.nodes {
		if e.gone == nil {
			all = append(all, e.Record)
		}
	}
	return all
}

// findName does Find for a name in lower case. d.mu is held.
func (d *Directory) findName(name string) []Record {
	var found []Record
	for _, e := range d.names[name] {
		if len(found) == MaxMatches {
			break
		}
		found = append(found, e.Record)
	}
	slices.SortFunc(found, func(a, b Record) int { return cmp.Compare(a.ID, b.ID) })
	return found
}
