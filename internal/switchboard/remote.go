package switchboard

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// NodeGone says that a node that was attached to another relay is so no more,
// how as in notices about that: those here that talked to it are told, unless
// it is attached here.
func (s *Switch) NodeGone(id identity.NodeID, how uint32) {
	known := s.remote.take(id)
	if s.port(id) != nil {
		return
	}
	if known == nil {
		known = new(correspondents)
	}
	s.departed.add(id, known, how, time.Now())
	s.tell(known, frame.Notice{Code: frame.NoticeGone, Node: id, Arg: how})
}

// NodeMoved says that a node is attached to another relay than before: those
// here that talked to it are told to look at once, and routes to it are ready.
func (s *Switch) NodeMoved(id identity.NodeID) {
	known := s.departed.take(id)
	s.remote.merge(id, known)
	s.mu.Lock()
	woken := s.takeWaitersLocked(id, false)
	s.mu.Unlock()
	for w := range woken {
		w.Wake()
	}
	if known = s.remote.get(id); known != nil {
		s.tell(known, frame.Notice{Code: frame.NoticeBack, Node: id})
	}
}

// remotes remember which nodes here talk to which nodes on other relays. The
// zero value is empty; safe for concurrent use.
type remotes struct {
	generation atomic.Uint64 // grows when something is forgotten

	mu    sync.Mutex
	nodes map[identity.NodeID]*correspondents
}

// mark is what a port keeps once it has added id: another value after id may
// have been forgotten. It is never the epoch of a port.
func (r *remotes) mark(id identity.NodeID) uint64 {
	return (uint64(id) + r.generation.Load()) | 1<<63
}

func (r *remotes) get(id identity.NodeID) *correspondents {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes[id]
}

// add notes that src talks to id.
func (r *remotes) add(id, src identity.NodeID) {
	r.mu.Lock()
	known := r.entryLocked(id)
	r.mu.Unlock()
	known.add(src)
}

// merge notes that those who are known talk to id.
func (r *remotes) merge(id identity.NodeID, known *correspondents) {
	if known == nil {
		return
	}
	ids := known.snapshot()
	if len(ids) == 0 {
		return
	}
	r.mu.Lock()
	to := r.entryLocked(id)
	r.mu.Unlock()
	for _, src := range ids {
		to.add(src)
	}
}

// entryLocked makes room for id.
func (r *remotes) entryLocked(id identity.NodeID) *correspondents {
	if known := r.nodes[id]; known != nil {
		return known
	}
	if r.nodes == nil {
		r.nodes = make(map[identity.NodeID]*correspondents)
	}
	for other := range r.nodes {
		if len(r.nodes) < maxRemote {
			break
		}
		delete(r.nodes, other)
		r.generation.Add(1)
	}
	known := new(correspondents)
	r.nodes[id] = known
	return known
}

// take forgets id and returns who talked to it, nil if nobody did.
func (r *remotes) take(id identity.NodeID) *correspondents {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.nodes[id]
	if known != nil {
		delete(r.nodes, id)
		r.generation.Add(1)
	}
	return known
}
