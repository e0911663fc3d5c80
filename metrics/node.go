package metrics

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftnet/weft/overlay"
)

// maxRelays is how many relays a node's metrics name. A node uses two, or three for
// a while; others are in its Config.Relays.
const maxRelays = 32

// A NodeConfig is which metrics of a node there are. The zero value is what [NewNode]
// does.
type NodeConfig struct {
	// MaxPeers is how many peers get metrics of their own, weft_node_peer_*, by node
	// ID: those with the lowest IDs of all that have a session, so that it is not
	// others each time. Each costs Prometheus seven time series, and new ones for
	// every peer that ever comes. Zero or negative: none.
	MaxPeers int
}

// NewNode returns a collector of what a node counts, each with the name of its
// network in the label network. It reads [overlay.Node.Status] when it is asked, and
// only then.
func NewNode(node *overlay.Node) prometheus.Collector { return NodeConfig{}.New(node) }

// New is like [NewNode].
func (c NodeConfig) New(node *overlay.Node) prometheus.Collector { return c.collect(node.Status) }

func (c NodeConfig) collect(status func() overlay.Status) prometheus.Collector {
	families := nodeFamilies
	if c.MaxPeers > 0 {
		families = append(slices.Clone(families), peerFamilies...)
	}
	return newCollector(families, func() []nodeState {
		return []nodeState{newNodeState(status(), c.MaxPeers)}
	}, func(s *nodeState) string { return s.Network })
}

// A nodeState is a node's status as its metrics have it.
type nodeState struct {
	overlay.Status
	sessions int                  // with relays, too
	conns    int                  // on all of them
	others   []overlay.PeerStatus // one for each peer that is no relay in use
	named    []overlay.PeerStatus // of others, those with metrics of their own
}

func newNodeState(st overlay.Status, maxPeers int) nodeState {
	s := nodeState{Status: st, sessions: len(st.Peers)}
	for _, p := range st.Peers { // by ID; there may be several sessions for a moment
		s.conns += p.Conns
		if slices.ContainsFunc(st.Relays, func(r overlay.RelayStatus) bool { return r.ID == p.ID }) {
			continue
		}
		if last := len(s.others) - 1; last < 0 || s.others[last].ID != p.ID {
			s.others = append(s.others, p)
		}
	}
	s.named = s.others[:min(len(s.others), max(0, maxPeers))]
	return s
}

// home returns the relay at which the node is registered.
func (s *nodeState) home() (overlay.RelayStatus, bool) {
	for _, r := range s.Relays {
		if r.Home && r.Up {
			return r, true
		}
	}
	return overlay.RelayStatus{}, false
}

// eachRelay puts a value for each relay, as far as there is one.
func eachRelay(value func(*overlay.RelayStatus) (float64, bool)) func(*nodeState, put) {
	return func(s *nodeState, put put) {
		for i := range s.Relays[:min(len(s.Relays), maxRelays)] {
			if v, ok := value(&s.Relays[i]); ok {
				put(v, s.Relays[i].Addr)
			}
		}
	}
}

// pathNone is the label path of peers to which there is no way at the moment.
const pathNone = "none"

// allPaths are the values of the label path.
var allPaths = []string{string(overlay.PathRelay), string(overlay.PathLink), string(overlay.PathUDP), string(overlay.PathLAN), pathNone}

// pathOf says which kind of path packets to a peer take.
func pathOf(p *overlay.PeerStatus) string {
	for _, w := range p.Paths {
		switch {
		case !w.Active:
		case w.Kind == overlay.PathRelay && !strings.HasPrefix(w.Path, "relay "): // no relay to go over
			return pathNone
		default:
			return string(w.Kind)
		}
	}
	return pathNone
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(d time.Duration) float64 { return d.Seconds() }
