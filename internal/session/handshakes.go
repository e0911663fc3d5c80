package session

import (
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/origin"
)

// The defaults of the limits in [Config] on unfinished handshakes that others
// begin.
const (
	DefaultMaxHandshakes           = 1024
	DefaultMaxHandshakesPerNode    = 8
	DefaultMaxHandshakesPerAddress = 256
)

// An Originator is a path that knows who answers for the packets that come in on
// it: two paths with one origin have one address, or are one link. Empty: a
// relay's, whose packets are of many nodes.
type Originator interface{ Origin() string }

// originOf returns who answers for what came in on a path, empty if that is not
// known.
func originOf(via Path) string {
	switch p := via.(type) {
	case Direct:
		return origin.Of(p.Addr().Addr())
	case Originator:
		return p.Origin()
	}
	return ""
}

// Handshakes counts the handshakes that others have begun.
type Handshakes struct {
	Unfinished     int    // at the moment
	RefusedFull    uint64 // packets without an answer because of MaxHandshakes
	RefusedNode    uint64 // because of MaxHandshakesPerNode
	RefusedAddress uint64 // because of MaxHandshakesPerAddress
}

// openings are the unfinished handshakes that others have begun. The endpoint's
// mutex guards them.
type openings struct {
	Handshakes
	nodes   map[identity.NodeID]int
	origins map[string]int
}

func newOpenings() openings {
	return openings{nodes: make(map[identity.NodeID]int), origins: make(map[string]int)}
}

// begin counts one more, unless that would be more than cfg allows.
func (o *openings) begin(cfg *Config, src identity.NodeID, from string) bool {
	switch {
	case o.nodes[src] >= cfg.MaxHandshakesPerNode:
		o.RefusedNode++
		return false
	case from != "" && o.origins[from] >= cfg.MaxHandshakesPerAddress:
		o.RefusedAddress++
		return false
	case o.Unfinished >= cfg.MaxHandshakes:
		o.RefusedFull++
		return false
	}
	o.Unfinished++
	o.nodes[src]++
	if from != "" {
		o.origins[from]++
	}
	return true
}

// end undoes begin.
func (o *openings) end(src identity.NodeID, from string) {
	o.Unfinished--
	if o.nodes[src]--; o.nodes[src] <= 0 {
		delete(o.nodes, src)
	}
	if from == "" {
		return
	}
	if o.origins[from]--; o.origins[from] <= 0 {
		delete(o.origins, from)
	}
}

// Handshakes returns a snapshot of the counters.
func (e *Endpoint) Handshakes() Handshakes {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.openings.Handshakes
}
