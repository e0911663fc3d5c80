package switchboard

import (
	"maps"
	"slices"

	"github.com/weftnet/weft/internal/identity"
)

// maxDetours is for how many peers the switch remembers that another uplink than the
// first leads to them; a further one replaces any.
const maxDetours = 1024

// Detour makes frames for the peer take the next uplink, because nothing comes back
// over the present one. It reports false if there is no other, or if the way to
// the peer leads over no uplink.
func (r Route) Detour() bool {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	now, elsewhere := r.find()
	all := *s.uplinks.Load()
	i := slices.Index(all, now)
	if i < 0 || elsewhere || s.port(r.peer) == now {
		return false
	}
	for range len(all) - 1 {
		i = (i + 1) % len(all)
		if all[i].link.Up() {
			s.detourLocked(r.peer, all[i])
			return true
		}
	}
	return false
}

// Over returns the node at the other end of the port that the next frame takes, 0 if
// there is none.
func (r Route) Over() identity.NodeID {
	if p := r.Port(); p != nil {
		return p.ID()
	}
	return 0
}

// Follow makes frames for the peer take the uplink to a relay, because the peer's
// own come from there. It reports false if nothing has changed.
func (r Route) Follow(relay identity.NodeID) bool {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	now, elsewhere := r.find()
	all := *s.uplinks.Load()
	i := slices.IndexFunc(all, func(p *Port) bool { return p.ID() == relay && p.link.Up() })
	if i < 0 || all[i] == now || elsewhere || !slices.Contains(all, now) || s.port(r.peer) == now {
		return false
	}
	s.detourLocked(r.peer, all[i])
	return true
}

// detourLocked makes frames for a peer take p.
func (s *Switch) detourLocked(peer identity.NodeID, p *Port) {
	known := maps.Clone(*s.detours.Load())
	delete(known, peer)
	if p != (*s.uplinks.Load())[0] {
		for id := range known {
			if len(known) < maxDetours {
				break
			}
			delete(known, id)
		}
		if known == nil {
			known = make(map[identity.NodeID]*Port)
		}
		known[peer] = p
	}
	s.detours.Store(&known)
}

// detour returns the port that frames for a peer take instead of the first uplink,
// or nil.
func (s *Switch) detour(peer identity.NodeID) *Port {
	if p := (*s.detours.Load())[peer]; p != nil && p.link.Up() {
		return p
	}
	return nil
}

// endDetoursLocked forgets the detours over p, all of them if it is nil.
func (s *Switch) endDetoursLocked(p *Port) {
	known := *s.detours.Load()
	if len(known) == 0 {
		return
	}
	known = maps.Clone(known)
	maps.DeleteFunc(known, func(_ identity.NodeID, q *Port) bool { return p == nil || q == p })
	s.detours.Store(&known)
}
