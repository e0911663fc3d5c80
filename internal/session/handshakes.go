package session

import (
	"maps"
	"time"

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

// A share is what one node or address has of the handshakes. It has at most as
// many at a time as its limit says, and begins at most as many each second, so
// that who fails fast costs no more processor time than who is slow costs memory.
type share struct {
	unfinished int
	level      float64 // what it has begun, less the limit each second
	at         time.Time
}

// settle makes level what it is now.
func (s *share) settle(now time.Time, limit int) {
	s.level = max(0, s.level-now.Sub(s.at).Seconds()*float64(limit))
	s.at = now
}

// full reports whether it may begin no other one now.
func (s *share) full(now time.Time, limit int) bool {
	s.settle(now, limit)
	return s.unfinished >= limit || s.level+1 > float64(limit)
}

func (s *share) begin() {
	s.unfinished++
	s.level++
}

// openings are the unfinished handshakes that others have begun. The endpoint's
// mutex guards them.
type openings struct {
	Handshakes
	all     share
	nodes   map[identity.NodeID]*share
	origins map[string]*share
	swept   time.Time // when shares were last forgotten
}

func newOpenings() openings {
	return openings{nodes: make(map[identity.NodeID]*share), origins: make(map[string]*share)}
}

// begin counts one more, unless that would be more than cfg allows.
func (o *openings) begin(cfg *Config, src identity.NodeID, from string, now time.Time) bool {
	o.sweep(cfg, now)
	node, origin := shareOf(o.nodes, src), shareOf(o.origins, from)
	switch {
	case node.full(now, cfg.MaxHandshakesPerNode):
		o.RefusedNode++
		return false
	case from != "" && origin.full(now, cfg.MaxHandshakesPerAddress):
		o.RefusedAddress++
		return false
	case o.all.full(now, cfg.MaxHandshakes):
		o.RefusedFull++
		return false
	}
	o.all.begin()
	o.Unfinished = o.all.unfinished
	node.begin()
	o.nodes[src] = node
	if from != "" {
		origin.begin()
		o.origins[from] = origin
	}
	return true
}

// shareOf returns a share, or one that nobody keeps yet.
func shareOf[K comparable](shares map[K]*share, key K) *share {
	if s := shares[key]; s != nil {
		return s
	}
	return new(share)
}

// end counts one less that is unfinished.
func (o *openings) end(src identity.NodeID, from string) {
	o.all.unfinished--
	o.Unfinished = o.all.unfinished
	o.nodes[src].unfinished--
	if from != "" {
		o.origins[from].unfinished--
	}
}

// sweep forgets, once a second, the shares that are as good as new. As many are
// kept as handshakes are begun in two seconds, or are unfinished.
func (o *openings) sweep(cfg *Config, now time.Time) {
	if now.Sub(o.swept) < time.Second {
		return
	}
	o.swept = now
	sweep(o.nodes, now, cfg.MaxHandshakesPerNode)
	sweep(o.origins, now, cfg.MaxHandshakesPerAddress)
}

func sweep[K comparable](shares map[K]*share, now time.Time, limit int) {
	maps.DeleteFunc(shares, func(_ K, s *share) bool {
		s.settle(now, limit)
		return s.unfinished == 0 && s.level == 0
	})
}

// Handshakes returns a snapshot of the counters.
func (e *Endpoint) Handshakes() Handshakes {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.openings.Handshakes
}
