package switchboard

import (
	"slices"

	"github.com/weftnet/weft/internal/identity"
)

// Prefer makes frames without a way of their own take the uplink to the relay
// with the given ID, as long as there is one, instead of the oldest; detours
// end. It does nothing if no uplink is bound to the relay.
func (s *Switch) Prefer(relay identity.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(*s.uplinks.Load())
	i := slices.IndexFunc(list, func(p *Port) bool { return p.ID() == relay })
	if i <= 0 {
		return
	}
	p := list[i]
	copy(list[1:], list[:i])
	list[0] = p
	s.uplinks.Store(&list)
	s.endDetoursLocked(nil)
}
