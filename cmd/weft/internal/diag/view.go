package diag

import (
	"time"

	"github.com/weftnet/weft/overlay"
)

// A View is what a node sees of itself and of the way to another one. Its JSON is only
// ever added to.
type View struct {
	Node      string    `json:"node"`
	Name      string    `json:"name,omitempty"`
	Version   string    `json:"version,omitempty"`
	Now       time.Time `json:"now"`
	Relays    []Relay   `json:"relays,omitempty"`
	Mapping   string    `json:"nat_mapping,omitempty"`
	Filtering string    `json:"nat_filtering,omitempty"`
	UDP       bool      `json:"udp"`            // it has a socket
	Seen      []string  `json:"seen,omitempty"` // where relays see that
	Told      []string  `json:"told,omitempty"` // the addresses that it tells its peers

	Path      string `json:"path,omitempty"` // to who asks
	NotDirect string `json:"not_direct,omitempty"`
	Paths     []Path `json:"paths,omitempty"`
}

// A Relay is one that the node has.
type Relay struct {
	Addr  string `json:"addr"`
	Up    bool   `json:"up"`
	Home  bool   `json:"home"`
	State string `json:"state,omitempty"`
}

// A Path is one way to who asks.
type Path struct {
	Path   string  `json:"path"`
	Direct bool    `json:"direct"`
	Active bool    `json:"active"`
	State  string  `json:"state"`
	Reason string  `json:"reason,omitempty"`
	RTT    float64 `json:"rtt_ms,omitempty"`
}

// maxListed bounds the lists in a view, so that it fits into a line.
const maxListed = 24

// viewFor is what a node tells a peer.
func viewFor(st overlay.Status, peer overlay.NodeID, version string) *View {
	v := &View{
		Node: st.ID.String(), Name: st.Name, Version: version, Now: time.Now(),
		Mapping: st.UDP.Mapping, Filtering: st.UDP.Filtering, UDP: st.UDP.Addr.IsValid(), Told: first(st.UDP.Candidates),
	}
	for _, a := range st.UDP.Seen {
		v.Seen = append(v.Seen, a.String())
	}
	for _, r := range first(st.Relays) {
		v.Relays = append(v.Relays, Relay{shorten(r.Addr), r.Up, r.Home, shorten(r.State)})
	}
	for _, p := range st.Peers {
		if p.ID != peer {
			continue
		}
		v.Path, v.NotDirect = shorten(p.Path), shorten(p.NotDirect)
		for _, w := range first(p.Paths) {
			v.Paths = append(v.Paths, Path{shorten(w.Path), w.Direct, w.Active, w.State, shorten(w.Reason), float64(w.RTT) / float64(time.Millisecond)})
		}
	}
	return v
}

func first[T any](all []T) []T { return all[:min(len(all), maxListed)] }

// shorten keeps one text from filling the line.
func shorten(s string) string { return s[:min(len(s), 160)] }
