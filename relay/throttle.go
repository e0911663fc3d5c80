package relay

import (
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
