package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftnet/weft/overlay"
)

// nodeFamilies are the metrics of a node. Their names, and what they mean, are kept.
var nodeFamilies = append(append([]family[nodeState]{
	{
		"weft_node_info", "Always 1. The labels say which node it is; name is empty for one without.",
		prometheus.GaugeValue, []string{"node", "name"},
		func(s *nodeState, put put) { put(1, s.ID.String(), s.Name) },
	},
	gauge("weft_node_sessions", "Sessions with peers, those with relays included.", func(s *nodeState) int { return s.sessions }),
	counter("weft_node_sessions_established_total", "Sessions that were established.", func(s *nodeState) uint64 { return s.Totals.Sessions }),
	{
		"weft_node_peers", "Peers with a session, relays in use left out, by the path that packets to them take: relay, link (TCP between the two nodes), udp, lan (udp to an address at which the peer announces itself there), or none at the moment.",
		prometheus.GaugeValue, []string{"path"}, countPaths,
	},
	gauge("weft_node_peers_other_ca", "Peers, relays included, that are members by another secret than the node's, while that is being replaced.", func(s *nodeState) (n int) {
		for _, p := range s.Peers {
			if p.OtherCA {
				n++
			}
		}
		return n
	}),
	gauge("weft_node_conns", "Open conns and other streams on all sessions.", func(s *nodeState) int { return s.conns }),
	counter("weft_node_sent_packets_total", "Packets sent on all sessions.", func(s *nodeState) uint64 { return s.Totals.PacketsSent }),
	counter("weft_node_received_packets_total", "Packets received on all sessions.", func(s *nodeState) uint64 { return s.Totals.PacketsReceived }),
	counter("weft_node_lost_packets_total", "Packets sent on all sessions that were lost.", func(s *nodeState) uint64 { return s.Totals.PacketsLost }),
	counter("weft_node_sent_bytes_total", "Bytes sent on all sessions, with all overhead.", func(s *nodeState) uint64 { return s.Totals.BytesSent }),
	counter("weft_node_received_bytes_total", "Bytes received on all sessions, with all overhead.", func(s *nodeState) uint64 { return s.Totals.BytesReceived }),
	{
		"weft_node_dials_total", "Dials of the node, by how they ended: connected, unknown_node, no_relay, not_allowed, refused, unanswered, canceled or failed (anything else).",
		prometheus.CounterValue, []string{"outcome"}, dials,
	},
	gauge("weft_node_ports", "Ports that are listened on.", func(s *nodeState) int { return len(s.Ports) }),
	counter("weft_node_accepted_conns_total", "Conns of peers given to a listener.", func(s *nodeState) uint64 { return s.Accepted }),
	{
		"weft_node_refused_conns_total", "Conns of peers refused, by why: no_listener, backlog_full, not_allowed or shutting_down.",
		prometheus.CounterValue, []string{"reason"}, refused,
	},
	counter("weft_node_dropped_datagrams_total", "Datagrams of packet conns received for nobody, from somebody who is not allowed, or while a queue was full.", func(s *nodeState) uint64 { return s.PacketsDropped }),
	counter("weft_node_handshakes_refused_total", "Packets not answered because they began too many handshakes.", func(s *nodeState) uint64 { return s.HandshakesRefused }),
	counter("weft_node_dropped_events_total", "Events for which Config.OnEvent was too slow.", func(s *nodeState) uint64 { return s.EventsDropped }),
	gauge("weft_node_also_accepted", "CAs accepted besides the network's own, while its secret is being replaced.", func(s *nodeState) int { return s.AlsoAccepted }),
	{
		"weft_node_invite_expires_timestamp_seconds", "When the invite ends by which the node is a member, as Unix time; missing for a node without an invite.",
		prometheus.GaugeValue, nil,
		func(s *nodeState, put put) {
			if s.Invite != nil {
				put(float64(s.Invite.Expires.Unix()))
			}
		},
	},
}, relayUseFamilies...), directFamilies...)

// relayUseFamilies are about the relays that a node uses.
var relayUseFamilies = []family[nodeState]{
	gauge("weft_node_registered", "1 if the node is registered with a relay that is up, so that others find it; otherwise 0, also if it has no relay configured.", func(s *nodeState) float64 {
		_, ok := s.home()
		return truth(ok)
	}),
	{
		"weft_node_home_rtt_seconds", "Smoothed round trip to the relay at which the node is registered; missing while there is none or it is unknown.",
		prometheus.GaugeValue, nil,
		func(s *nodeState, put put) {
			if r, ok := s.home(); ok && r.RTT > 0 {
				put(seconds(r.RTT))
			}
		},
	},
	gauge("weft_node_learned_relays", "Relays known from other relays, in use or not.", func(s *nodeState) int { return s.LearnedRelays }),
	gauge("weft_node_relays_up", "Relays in use that answer.", func(s *nodeState) (n int) {
		for _, r := range s.Relays {
			if r.Up {
				n++
			}
		}
		return n
	}),
	{
		"weft_node_relay_up", "1 if the relay forwards for this node and answers, 0 if not, be it that it is not needed: a node uses two of its relays. At most 32 relays are listed.",
		prometheus.GaugeValue, []string{"relay"},
		eachRelay(func(r *overlay.RelayStatus) (float64, bool) { return truth(r.Up), true }),
	},
	{
		"weft_node_relay_rtt_seconds", "Smoothed round trip to the relay; missing while it is unknown.",
		prometheus.GaugeValue, []string{"relay"},
		eachRelay(func(r *overlay.RelayStatus) (float64, bool) { return seconds(r.RTT), r.RTT > 0 }),
	},
	{
		"weft_node_relay_throttled_total", "How often the relay told that it dropped frames because the node sent too much.",
		prometheus.CounterValue, []string{"relay"},
		eachRelay(func(r *overlay.RelayStatus) (float64, bool) { return float64(r.Throttled), true }),
	},
	{
		"weft_node_relay_dropped_frames_total", "Frames of the node that the relay told it dropped for that.",
		prometheus.CounterValue, []string{"relay"},
		eachRelay(func(r *overlay.RelayStatus) (float64, bool) { return float64(r.Dropped), true }),
	},
}

// directFamilies are about what a node has for direct paths.
var directFamilies = []family[nodeState]{
	{
		"weft_node_nat_info", "Always 1. The labels say what the NAT or firewall before the node does (RFC 4787, sections 4.1 and 5); missing for a node without UDP.",
		prometheus.GaugeValue, []string{"mapping", "filtering"},
		func(s *nodeState, put put) {
			if s.UDP.Addr.IsValid() {
				put(1, s.UDP.Mapping, s.UDP.Filtering)
			}
		},
	},
	gauge("weft_node_candidates", "Addresses that peers are told to try, for direct paths.", func(s *nodeState) int { return len(s.UDP.Candidates) }),
	gauge("weft_node_lan_nodes", "Nodes that announce themselves on the LAN.", func(s *nodeState) int { return len(s.LAN) }),
	counter("weft_node_udp_sent_packets_total", "Packets sent on the node's UDP socket.", func(s *nodeState) uint64 { return s.UDP.PacketsSent }),
	counter("weft_node_udp_received_packets_total", "Packets received on the node's UDP socket.", func(s *nodeState) uint64 { return s.UDP.PacketsReceived }),
	counter("weft_node_udp_dropped_packets_total", "Packets of the node's UDP socket dropped, sent or received, for whatever reason.", func(s *nodeState) uint64 { return s.UDP.PacketsDropped }),
	gauge("weft_node_links", "Links of peers to this node itself that are accepted and proven.", func(s *nodeState) int { return s.Links.Links }),
	gauge("weft_node_links_waiting", "Links of peers that are accepted, without a proof yet.", func(s *nodeState) int { return s.Links.Waiting }),
	counter("weft_node_links_accepted_total", "Links of peers accepted.", func(s *nodeState) uint64 { return s.Links.Accepted }),
	counter("weft_node_links_refused_total", "Links of peers refused: too many, or of another network.", func(s *nodeState) uint64 { return s.Links.Refused }),
	counter("weft_node_links_unproven_total", "Links with peers ended because nobody proved in time to be there.", func(s *nodeState) uint64 { return s.Links.Unproven }),
}

// peerFamilies are about single peers; see [NodeConfig].MaxPeers.
var peerFamilies = []family[nodeState]{
	ofPeers("weft_node_peer_path_info", "Always 1. The label path says which path packets to the peer take, as in weft_node_peers.", prometheus.GaugeValue, []string{"peer", "path"},
		func(p *overlay.PeerStatus) float64 { return 1 }),
	ofPeers("weft_node_peer_rtt_seconds", "Smoothed round trip to the peer.", prometheus.GaugeValue, []string{"peer"},
		func(p *overlay.PeerStatus) float64 { return seconds(p.RTT) }),
	ofPeers("weft_node_peer_conns", "Open conns and other streams with the peer.", prometheus.GaugeValue, []string{"peer"},
		func(p *overlay.PeerStatus) float64 { return float64(p.Conns) }),
	ofPeers("weft_node_peer_sent_bytes_total", "Bytes sent on the session with the peer; a new session begins at 0.", prometheus.CounterValue, []string{"peer"},
		func(p *overlay.PeerStatus) float64 { return float64(p.BytesSent) }),
	ofPeers("weft_node_peer_received_bytes_total", "Bytes received on the session with the peer.", prometheus.CounterValue, []string{"peer"},
		func(p *overlay.PeerStatus) float64 { return float64(p.BytesReceived) }),
	ofPeers("weft_node_peer_sent_packets_total", "Packets sent on the session with the peer.", prometheus.CounterValue, []string{"peer"},
		func(p *overlay.PeerStatus) float64 { return float64(p.PacketsSent) }),
	ofPeers("weft_node_peer_lost_packets_total", "Packets sent on the session with the peer that were lost.", prometheus.CounterValue, []string{"peer"},
		func(p *overlay.PeerStatus) float64 { return float64(p.PacketsLost) }),
}

// ofPeers makes a family with a value for each peer that has some. The labels are
// the peer's ID and, if there are two, its path.
func ofPeers(name, help string, kind prometheus.ValueType, labels []string, value func(*overlay.PeerStatus) float64) family[nodeState] {
	return family[nodeState]{name, help, kind, labels, func(s *nodeState, put put) {
		for i := range s.named {
			p := &s.named[i]
			put(value(p), []string{p.ID.String(), pathOf(p)}[:len(labels)]...)
		}
	}}
}

func countPaths(s *nodeState, put put) {
	n := make(map[string]int)
	for i := range s.others {
		n[pathOf(&s.others[i])]++
	}
	for _, path := range allPaths { // with those that no peer takes, so that graphs show it
		put(float64(n[path]), path)
	}
}

func dials(s *nodeState, put put) {
	d := &s.Dials
	put(float64(d.Connected), "connected")
	put(float64(d.UnknownNode), "unknown_node")
	put(float64(d.NoRelay), "no_relay")
	put(float64(d.NotAllowed), "not_allowed")
	put(float64(d.Refused), "refused")
	put(float64(d.Unanswered), "unanswered")
	put(float64(d.Canceled), "canceled")
	put(float64(d.Failed), "failed")
}

func refused(s *nodeState, put put) {
	put(float64(s.NoListener), "no_listener")
	put(float64(s.BacklogFull), "backlog_full")
	put(float64(s.NotAllowed), "not_allowed")
	put(float64(s.ShuttingDown), "shutting_down")
}
