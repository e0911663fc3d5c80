package tunnel

import (
	"sync/atomic"

	"github.com/weftnet/weft/cmd/weft/internal/join"
)

// Stats is what became of the conns of one forward, or of the flows if it is of UDP.
// Sent went to the target, Received came from there, in bytes.
type Stats struct {
	Open     int64  `json:"open"`
	Total    uint64 `json:"total"`
	Failed   uint64 `json:"failed"`  // the target could not be reached, or was not allowed
	Refused  uint64 `json:"refused"` // for want of room
	Broken   uint64 `json:"broken"`  // ended in disorder
	Sent     uint64 `json:"bytes_sent"`
	Received uint64 `json:"bytes_received"`
	Dropped  uint64 `json:"packets_dropped,omitempty"` // of UDP: no room, too long, or no flow
}

// Status is one forward, as others see it.
type Status struct {
	Kind   string `json:"kind"`             // local, remote or dynamic
	Net    string `json:"net"`              // tcp or udp
	Listen string `json:"listen"`           // host:port, or node:port
	Target string `json:"target,omitempty"` // as in Spec
	Stats
}

// counters are Stats that change.
type counters struct {
	open                                    atomic.Int64
	total, failed, refused, broken, dropped atomic.Uint64

	bytes join.Counters // A is the side that is listened on
}

func (c *counters) snapshot() Stats {
	return Stats{
		Open: c.open.Load(), Total: c.total.Load(), Failed: c.failed.Load(), Refused: c.refused.Load(), Broken: c.broken.Load(),
		Dropped: c.dropped.Load(), Sent: c.bytes.AtoB.Load(), Received: c.bytes.BtoA.Load(),
	}
}
