package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// copies is how many members keep a key.
	copies = 2
	// maxValue and maxKey are in bytes: values are kept in memory and sent whole.
	maxValue = 1 << 20
	maxKey   = 256
	// maxStored is how much a member keeps, in bytes of keys and values.
	maxStored = 256 << 20
	// overhead is what an entry counts for besides.
	overhead = 200
	// buryAfter is how long a deletion is remembered: so long must nobody keep the
	// value and be unreachable.
	buryAfter = 10 * time.Minute
)

// An entry is what a member keeps of a key. The newer one of two wins, by the clocks of
// those who wrote.
type entry struct {
	value   []byte
	deleted bool
	version int64               // nanoseconds, and more than any before
	at      map[string]struct{} // other members that have this version
}

type store struct {
	mu      sync.Mutex
	entries map[string]*entry
	bytes   int
}

func newStore() *store { return &store{entries: make(map[string]*entry)} }

func (e *entry) size(key string) int { return len(key) + len(e.value) + overhead }

// errFull means that a member has no room.
type errFull struct{ bytes int }

func (e errFull) Error() string {
	return fmt.Sprintf("no room: it keeps %d bytes already, and %d at most", e.bytes, maxStored)
}

// write makes a new version of a key and returns it.
func (s *store) write(key string, value []byte, deleted bool) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	version := time.Now().UnixNano()
	if old := s.entries[key]; old != nil {
		version = max(version, old.version+1)
	}
	return version, s.keep(key, &entry{value: value, deleted: deleted, version: version})
}

// merge keeps a version that another member has, unless there is a newer one, and notes
// whether that one keeps it, too.
func (s *store) merge(key string, e *entry, from string, keeps bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.entries[key]
	if old == nil || e.version > old.version {
		if err := s.keep(key, e); err != nil {
			return err
		}
		old = e
	}
	if keeps && e.version == old.version {
		old.at[from] = struct{}{}
	} else {
		delete(old.at, from)
	}
	return nil
}

func (s *store) keep(key string, e *entry) error {
	now := s.bytes + e.size(key)
	if old := s.entries[key]; old != nil {
		now -= old.size(key)
	}
	if now > maxStored && !e.deleted {
		return errFull{s.bytes}
	}
	s.bytes, s.entries[key] = now, e
	e.at = make(map[string]struct{})
	return nil
}

// read returns what is kept of a key. The value must not be modified.
func (s *store) read(key string) (entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[key]
	if e == nil {
		return entry{}, false
	}
	return entry{value: e.value, deleted: e.deleted, version: e.version}, true
}

func (s *store) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.entries))
}

// missing returns those of names that are not known to have what is kept of a key.
func (s *store) missing(key string, names []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[key]
	if e == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, has := e.at[name]; return has })
}

// has notes that a member has a version.
func (s *store) has(key, name string, version int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[key]; e != nil && e.version == version {
		e.at[name] = struct{}{}
	}
}

// drop forgets a version of a key.
func (s *store) drop(key string, version int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[key]; e != nil && e.version == version {
		s.bytes -= e.size(key)
		delete(s.entries, key)
	}
}

// lost notes that a member has nothing any more.
func (s *store) lost(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		delete(e.at, name)
	}
}
