package udp

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// A table is the flows that a socket knows, by address. Those that are kept
// stay. Those that something was heard of are few, and the newest replace the
// oldest: who invents addresses makes the socket forget other invented ones,
// and never one that is kept.
type table struct {
	maxKept int
	// removals changes whenever a flow is removed, so that a reader need not
	// look up the same flow again and again.
	removals atomic.Uint64

	mu    sync.Mutex
	flows map[netip.AddrPort]*Flow
	kept  int
	heard []*Flow // a ring; nil: a free place
	next  int     // the oldest place of the ring
}

func (t *table) init(maxKept, maxHeard int) {
	t.maxKept = maxKept
	t.flows = make(map[netip.AddrPort]*Flow)
	t.heard = make([]*Flow, max(maxHeard, 1))
}

func (t *table) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.flows)
}

// find returns a flow that is known, or nil.
func (t *table) find(addr netip.AddrPort) *Flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flows[addr]
}

// keep returns the flow of an address, made by create if there is none, and
// whether there was room to keep it.
func (t *table) keep(addr netip.AddrPort, create func() *Flow) (*Flow, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fl := t.flows[addr]
	switch {
	case fl != nil && fl.users > 0:
		fl.users++
		return fl, true
	case t.kept >= t.maxKept:
		if fl == nil {
			fl = create()
		}
		return fl, false
	case fl == nil:
		fl = create()
		t.flows[addr] = fl
		fl.listed = true
	}
	t.kept++
	fl.users++
	return fl, true
}

// retain keeps a flow that the caller has, and reports whether there was room.
// One that was replaced meanwhile is put back, unless another has its place.
func (t *table) retain(fl *Flow) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if fl.users == 0 {
		if t.kept >= t.maxKept {
			return false
		}
		if !fl.listed {
			if t.flows[fl.addr] != nil {
				return false
			}
			t.flows[fl.addr] = fl
			fl.listed = true
		}
		t.kept++
	}
	fl.users++
	return true
}

// release is the reverse of keep and retain. The last one leaves the flow
// among those that were heard of.
func (t *table) release(fl *Flow) (evicted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if fl.users == 0 {
		return false
	}
	if fl.users--; fl.users > 0 {
		return false
	}
	t.kept--
	return t.hearLocked(fl)
}

// hear returns the flow of an address that a frame came from.
func (t *table) hear(addr netip.AddrPort, create func() *Flow) (fl *Flow, evicted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if fl := t.flows[addr]; fl != nil {
		return fl, false
	}
	fl = create()
	t.flows[addr] = fl
	fl.listed = true
	return fl, t.hearLocked(fl)
}

// hearLocked gives a flow that nobody keeps a place in the ring.
func (t *table) hearLocked(fl *Flow) (evicted bool) {
	if fl.inRing {
		return false
	}
	old := t.heard[t.next]
	t.heard[t.next] = fl
	fl.inRing = true
	t.next = (t.next + 1) % len(t.heard)
	if old == nil {
		return false
	}
	old.inRing = false
	if old.users > 0 {
		return false
	}
	delete(t.flows, old.addr)
	old.listed = false
	t.removals.Add(1)
	return true
}
