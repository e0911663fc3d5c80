package relay

import (
	"cmp"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
)

// throttler is the switch's Forwarding.OnThrottled: it tells a node how many of
// its frames the server's limits have dropped so far.
func (r *relay) throttler(s *Server) func(id identity.NodeID, dropped uint64) {
	allowed := control.Throttled{
		BytesPerSecond:   uint64(max(0, s.BytesPerSecond)),
		PacketsPerSecond: uint64(max(0, s.PacketsPerSecond)),
	}
	return func(id identity.NodeID, dropped uint64) {
		if r.throttled.Allow() {
			r.log.WithFields(logrus.Fields{"peer": id.String(), "dropped": dropped}).Warn("a node sends more than it may; its frames are dropped")
		}
		sess := r.Endpoint.Session(id)
		r.mu.Lock()
		c := r.consoles[sess]
		r.mu.Unlock()
		if c == nil {
			return // it has no session with this relay, or not yet
		}
		m := allowed
		m.Dropped = dropped
		c.push(&m)
	}
}

// maxOvers is how many nodes are remembered that have sent too much and left. A node
// that reconnects to begin anew is seen all the same, if not many others do.
const maxOvers = 256

// An over is what a node sent over the limits on links that have ended.
type over struct {
	frames uint64
	until  time.Time // when the last of them ended
}

// A ThrottledNode is one that has sent more than Server.BytesPerSecond or
// PacketsPerSecond allow.
type ThrottledNode struct {
	ID       identity.NodeID
	Attached bool   // it has a link now
	Frames   uint64 // that were dropped, on all links that are remembered
}

// ThrottledNodes returns the nodes that have sent the most over the limits, worst first,
// at most limit. Those that are attached are all counted, of those that have left the
// last 256.
func (s *Server) ThrottledNodes(limit int) []ThrottledNode {
	r := s.relay()
	r.mu.Lock()
	found := make(map[identity.NodeID]ThrottledNode)
	for id, o := range r.overs {
		found[id] = ThrottledNode{ID: id, Frames: o.frames}
	}
	for id, m := range r.nodes {
		n := found[id]
		if n.Frames += m.port.Counters().Throttled; n.Frames > 0 {
			n.ID, n.Attached = id, true
			found[id] = n
		}
	}
	r.mu.Unlock()
	all := make([]ThrottledNode, 0, len(found))
	for _, n := range found {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b ThrottledNode) int {
		return cmp.Or(cmp.Compare(b.Frames, a.Frames), cmp.Compare(a.ID, b.ID))
	})
	return all[:min(len(all), max(limit, 0))]
}

// rememberLocked keeps what the node of a link that has ended sent over the limits.
// r.mu is held.
func (r *relay) rememberLocked(m *member) {
	frames := m.port.Counters().Throttled
	if m.id == 0 || frames == 0 {
		return
	}
	if _, known := r.overs[m.id]; !known && len(r.overs) >= maxOvers {
		r.evictOverLocked()
	}
	r.overs[m.id] = over{frames: r.overs[m.id].frames + frames, until: time.Now()}
}

// evictOverLocked forgets who left first. r.mu is held.
func (r *relay) evictOverLocked() {
	var oldest identity.NodeID
	for id, o := range r.overs {
		if oldest == 0 || o.until.Before(r.overs[oldest].until) {
			oldest = id
		}
	}
	delete(r.overs, oldest)
}
