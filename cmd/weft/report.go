package main

import (
	"time"

	"github.com/weftnet/weft/cmd/weft/internal/tunnel"
	"github.com/weftnet/weft/overlay"
)

// A report is what weft status tells of a node, also as JSON: fields are only
// ever added. Times are in RFC 3339, durations in milliseconds, sizes in bytes.
type report struct {
	Node    string        `json:"node"`
	Key     string        `json:"key"`
	Name    string        `json:"name,omitempty"`
	Network string        `json:"network"`
	Layer   string        `json:"layer"`
	Ports   []uint16      `json:"ports,omitempty"`
	Relays  []relayReport `json:"relays"`
	UDP     udpReport     `json:"udp"`
	Links   *linksReport  `json:"links,omitempty"` // that peers make to this node
	Peers   []peerReport  `json:"peers"`

	Forwards []tunnel.Status `json:"forwards,omitempty"`

	Up        bool   `json:"up,omitempty"`         // other commands may use the node
	NetworkID string `json:"network_id,omitempty"` // of a node that is up

	StatusPage string `json:"status_page,omitempty"` // its address, with the token if it needs one

	AlsoAccepted int `json:"also_accepted,omitempty"` // CAs besides the own one, while the secret is replaced

	LAN    []string      `json:"lan,omitempty"`    // IDs of nodes that announce themselves on the LAN
	Invite *inviteReport `json:"invite,omitempty"` // by which the node is a member
}

type relayReport struct {
	Addr      string  `json:"addr"`
	ID        string  `json:"id,omitempty"`
	Up        bool    `json:"up"`
	Home      bool    `json:"home"`
	State     string  `json:"state"`
	RTT       float64 `json:"rtt_ms,omitempty"`
	Observed  string  `json:"observed_addr,omitempty"`
	Throttled uint64  `json:"throttled,omitempty"`
	Error     string  `json:"error,omitempty"`
}

type udpReport struct {
	Addr       string   `json:"addr,omitempty"`
	Mapping    string   `json:"nat_mapping,omitempty"`
	Filtering  string   `json:"nat_filtering,omitempty"`
	Candidates []string `json:"candidates,omitempty"`
	Seen       []string `json:"seen,omitempty"` // where relays see the socket
}

type inviteReport struct {
	ID      string    `json:"id"`
	Expires time.Time `json:"expires"`
	Expired bool      `json:"expired,omitempty"`
}

type linksReport struct {
	Addr     string `json:"addr"`
	Links    int    `json:"links"`
	Waiting  int    `json:"waiting"`
	Refused  uint64 `json:"refused"`
	Unproven uint64 `json:"unproven"`
}

type peerReport struct {
	Node      string       `json:"node"`
	Key       string       `json:"key"`
	Names     []string     `json:"names,omitempty"`
	Roles     []string     `json:"roles,omitempty"`
	OtherCA   bool         `json:"other_ca,omitempty"` // a member by another secret than the node's
	Path      string       `json:"path"`
	NotDirect string       `json:"not_direct,omitempty"`
	Conns     int          `json:"conns"`
	RTT       float64      `json:"rtt_ms,omitempty"`
	Sent      uint64       `json:"bytes_sent"`
	Received  uint64       `json:"bytes_received"`
	Packets   uint64       `json:"packets_sent"`
	Lost      uint64       `json:"packets_lost"`
	Paths     []pathReport `json:"paths"`
}

type pathReport struct {
	Path      string    `json:"path"`
	Direct    bool      `json:"direct"`
	Active    bool      `json:"active"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	RTT       float64   `json:"rtt_ms,omitempty"`
	Sent      uint64    `json:"bytes_sent"`
	Received  uint64    `json:"bytes_received"`
	Packets   uint64    `json:"packets_sent"`
	Lost      uint64    `json:"packets_lost"`
	MaxPacket int       `json:"max_packet"`
	Reason    string    `json:"reason,omitempty"`
}

func newReport(st overlay.Status) report {
	r := report{
		Node: st.ID.String(), Key: st.Key.String(), Name: st.Name, Network: st.Network, Layer: st.Layer, Ports: st.Ports, AlsoAccepted: st.AlsoAccepted,
		Relays: []relayReport{}, Peers: []peerReport{},
		UDP: udpReport{Mapping: st.UDP.Mapping, Filtering: st.UDP.Filtering, Candidates: st.UDP.Candidates},
	}
	if st.UDP.Addr.IsValid() {
		r.UDP.Addr = st.UDP.Addr.String()
	}
	if l := st.Links; l.Addr.IsValid() {
		r.Links = &linksReport{Addr: l.Addr.String(), Links: l.Links, Waiting: l.Waiting, Refused: l.Refused, Unproven: l.Unproven}
	}
	for _, a := range st.UDP.Seen {
		r.UDP.Seen = append(r.UDP.Seen, a.String())
	}
	for _, p := range st.LAN {
		r.LAN = append(r.LAN, p.ID.String())
	}
	if in := st.Invite; in != nil {
		r.Invite = &inviteReport{in.ID.String(), in.Expires, in.Expired}
	}
	for _, rs := range st.Relays {
		r.Relays = append(r.Relays, newRelayReport(rs))
	}
	for _, p := range st.Peers {
		r.Peers = append(r.Peers, newPeerReport(p))
	}
	return r
}

func newRelayReport(rs overlay.RelayStatus) relayReport {
	r := relayReport{
		Addr: rs.Addr, Up: rs.Up, Home: rs.Home, State: rs.State, RTT: milliseconds(rs.RTT),
		Observed: rs.ObservedAddr, Throttled: rs.Throttled,
	}
	if rs.ID != 0 {
		r.ID = rs.ID.String()
	}
	if rs.Err != nil {
		r.Error = rs.Err.Error()
	}
	return r
}

func newPeerReport(p overlay.PeerStatus) peerReport {
	r := peerReport{
		Node: p.ID.String(), Key: p.Key.String(), Names: p.Names, Roles: p.Roles, OtherCA: p.OtherCA, Path: p.Path, NotDirect: p.NotDirect,
		Conns: p.Conns, RTT: milliseconds(p.RTT), Sent: p.BytesSent, Received: p.BytesReceived,
		Packets: p.PacketsSent, Lost: p.PacketsLost, Paths: []pathReport{},
	}
	for _, w := range p.Paths {
		r.Paths = append(r.Paths, pathReport{
			Path: w.Path, Direct: w.Direct, Active: w.Active, State: w.State, Since: w.Since, RTT: milliseconds(w.RTT),
			Sent: w.BytesSent, Received: w.BytesReceived, Packets: w.PacketsSent, Lost: w.PacketsLost,
			MaxPacket: w.MaxPacket, Reason: w.Reason,
		})
	}
	return r
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
