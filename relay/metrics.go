package relay

import (
	"bufio"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode"

	"github.com/weftnet/weft/gossip"
)

// metricsType is the content type of the text exposition format of Prometheus.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// A metric is one line of /metrics. The names, and what they mean, are kept.
type metric struct {
	name, kind, help string
	value            func(*Stats) uint64
}

const (
	gauge   = "gauge"
	counter = "counter"
)

var metrics = append(backboneMetrics(), []metric{
	{"weft_relay_links", gauge, "Links of nodes that are accepted and open.", func(s *Stats) uint64 { return uint64(s.Links) }},
	{"weft_relay_nodes", gauge, "Nodes that have proven to be at the other end of a link.", func(s *Stats) uint64 { return uint64(s.Nodes) }},
	{"weft_relay_nodes_other_ca", gauge, "Of them, members by another secret than the relay's, while that is being replaced.", func(s *Stats) uint64 { return uint64(s.NodesOtherCA) }},
	{"weft_relay_prefaces", gauge, "Conns in their first bytes.", func(s *Stats) uint64 { return uint64(s.Prefaces) }},
	{"weft_relay_mesh_links", gauge, "Links from other relays.", func(s *Stats) uint64 { return uint64(s.MeshLinks) }},
	{"weft_relay_mesh_claims", gauge, "Links that claim to come from other relays, without a proof yet.", func(s *Stats) uint64 { return uint64(s.MeshClaims) }},
	{"weft_relay_http_conns", gauge, "Conns that speak HTTP.", func(s *Stats) uint64 { return uint64(s.HTTP) }},
	{"weft_relay_directory_attached", gauge, "Nodes in the directory that are attached.", func(s *Stats) uint64 { return uint64(s.Directory.Attached) }},
	{"weft_relay_directory_detached", gauge, "Nodes in the directory that have left lately.", func(s *Stats) uint64 { return uint64(s.Directory.Detached) }},
	{"weft_relay_peers_up", gauge, "Links to other relays that are up.", func(s *Stats) uint64 {
		return countPeers(s, func(p *PeerStatus) bool { return p.Up })
	}},
	{"weft_relay_learned_peers", gauge, "Relays known from the backbone that this one dials.", func(s *Stats) uint64 {
		return countPeers(s, func(p *PeerStatus) bool { return p.Learned })
	}},
	{"weft_relay_learned_peers_up", gauge, "Links to them that are up.", func(s *Stats) uint64 {
		return countPeers(s, func(p *PeerStatus) bool { return p.Learned && p.Up })
	}},
	{"weft_relay_learned_skipped", gauge, "Relays known from the backbone that are not dialled because there are too many.", func(s *Stats) uint64 { return uint64(s.LearnedSkipped) }},
	{"weft_relay_learned_dials_total", counter, "Dials of relays known from the backbone.", func(s *Stats) uint64 { return s.LearnedDials }},
	{"weft_relay_learned_wrong_total", counter, "Dials of relays known from the backbone that led to another node.", func(s *Stats) uint64 { return s.LearnedWrong }},
	{"weft_relay_accepted_total", counter, "Links accepted.", func(s *Stats) uint64 { return s.Accepted }},
	{"weft_relay_refused_address_total", counter, "Conns closed at once: too many in their first bytes.", func(s *Stats) uint64 { return s.RefusedAddress }},
	{"weft_relay_refused_preface_total", counter, "Conns that were too slow, or of another version.", func(s *Stats) uint64 { return s.RefusedPreface }},
	{"weft_relay_refused_protocol_total", counter, "Conns that spoke neither the link protocol nor HTTP.", func(s *Stats) uint64 { return s.RefusedProtocol }},
	{"weft_relay_refused_network_total", counter, "Links of another network.", func(s *Stats) uint64 { return s.RefusedNetwork }},
	{"weft_relay_refused_busy_total", counter, "Links beyond a limit, or during a shutdown.", func(s *Stats) uint64 { return s.RefusedBusy }},
	{"weft_relay_refused_http_total", counter, "HTTP conns beyond a limit.", func(s *Stats) uint64 { return s.RefusedHTTP }},
	{"weft_relay_refused_mesh_busy_total", counter, "Links from other relays beyond a limit, or during a shutdown.", func(s *Stats) uint64 { return s.RefusedMeshBusy }},
	{"weft_relay_refused_mesh_role_total", counter, "Links closed that claimed to come from a relay, of nodes that have proven to be none.", func(s *Stats) uint64 { return s.RefusedMeshRole }},
	{"weft_relay_unproven_total", counter, "Links closed because nobody proved to be there in time.", func(s *Stats) uint64 { return s.Unproven }},
	{"weft_relay_not_allowed_total", counter, "Links closed because the relay does not serve the node.", func(s *Stats) uint64 { return s.NotAllowed }},
	{"weft_relay_conflicts_total", counter, "Links closed because of who proved to be there.", func(s *Stats) uint64 { return s.Conflicts }},
	{"weft_relay_revocations", gauge, "Invites and keys that are revoked, as far as the relay knows.", func(s *Stats) uint64 { return uint64(s.Revocations.Known) }},
	{"weft_relay_revocations_forged_total", counter, "Revocations refused because the network's secret has not signed them.", func(s *Stats) uint64 { return s.Revocations.Forged }},
	{"weft_relay_revocations_full_total", counter, "Revocations for which there was no room.", func(s *Stats) uint64 { return s.Revocations.Full }},
	{"weft_relay_handshakes_unfinished", gauge, "Handshakes that others have begun.", func(s *Stats) uint64 { return uint64(s.Handshakes.Unfinished) }},
	{"weft_relay_handshakes_refused_full_total", counter, "Packets that began one too many of all handshakes.", func(s *Stats) uint64 { return s.Handshakes.RefusedFull }},
	{"weft_relay_handshakes_refused_node_total", counter, "Packets that began one too many in the name of a node.", func(s *Stats) uint64 { return s.Handshakes.RefusedNode }},
	{"weft_relay_handshakes_refused_address_total", counter, "Packets that began one too many of an address.", func(s *Stats) uint64 { return s.Handshakes.RefusedAddress }},
	{"weft_relay_accept_errors_total", counter, "Errors of listeners.", func(s *Stats) uint64 { return s.AcceptErrors }},
	{"weft_relay_control_malformed_total", counter, "Control streams that broke the protocol.", func(s *Stats) uint64 { return s.ControlMalformed }},
	{"weft_relay_limited_requests_total", counter, "Look-ups refused because the nodes of one address ask too fast.", func(s *Stats) uint64 { return s.LimitedRequests }},
	{"weft_relay_limited_registrations_total", counter, "Registrations refused because the nodes of one address register too fast.", func(s *Stats) uint64 { return s.LimitedRegistrations }},
	{"weft_relay_refused_mesh_total", counter, "Streams of the backbone from nodes that are no relays, or have no link as relays have.", func(s *Stats) uint64 { return s.RefusedMesh }},
	{"weft_relay_bad_datagrams_total", counter, "Datagrams of the backbone that held no frame.", func(s *Stats) uint64 { return s.BadDatagrams }},
	{"weft_relay_http_requests_total", counter, "HTTP requests.", func(s *Stats) uint64 { return s.HTTPRequests }},
	{"weft_relay_stun_answered_total", counter, "STUN requests answered.", func(s *Stats) uint64 { return s.STUNAnswered }},
	{"weft_relay_stun_malformed_total", counter, "UDP packets that were no STUN request.", func(s *Stats) uint64 { return s.STUNMalformed }},
	{"weft_relay_stun_limited_total", counter, "STUN requests beyond a limit.", func(s *Stats) uint64 { return s.STUNLimited }},
	{"weft_relay_forwarded_frames_total", counter, "Frames forwarded.", func(s *Stats) uint64 { return s.Forwarded }},
	{"weft_relay_forwarded_bytes_total", counter, "Bytes forwarded.", func(s *Stats) uint64 { return s.ForwardedBytes }},
	{"weft_relay_throttled_frames_total", counter, "Frames of nodes that sent more than they may.", func(s *Stats) uint64 { return s.Throttled }},
	{"weft_relay_dropped_queue_frames_total", counter, "Frames for which a link's queue was full.", func(s *Stats) uint64 { return s.DroppedQueue }},
}...)

// countPeers counts the links to other relays that are of a kind.
func countPeers(s *Stats, is func(*PeerStatus) bool) (n uint64) {
	for i := range s.Peers {
		if is(&s.Peers[i]) {
			n++
		}
	}
	return n
}

// backboneMetrics makes a counter of each field of [gossip.Stats], which say
// there what they mean: PullBytes is weft_relay_backbone_pull_bytes_total.
func backboneMetrics() []metric {
	ms := []metric{{
		"weft_relay_backbone_relays", gauge, "Relays in the backbone, as far as this one knows.",
		func(s *Stats) uint64 { return uint64(len(s.Relays)) },
	}}
	of := reflect.TypeFor[gossip.Stats]()
	for i := range of.NumField() {
		f := of.Field(i)
		if f.Type.Kind() != reflect.Uint64 {
			continue
		}
		ms = append(ms, metric{
			"weft_relay_backbone_" + snake(f.Name) + "_total", counter, "gossip.Stats." + f.Name + " of the backbone.",
			func(s *Stats) uint64 { return reflect.ValueOf(s.Backbone).Field(i).Uint() },
		})
	}
	return ms
}

// snake writes a Go name as metrics are named.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// writeMetrics writes the metrics of the relay of a network, whose name needs
// no escaping.
func writeMetrics(w io.Writer, all ...measured) {
	b := bufio.NewWriter(w)
	defer b.Flush()
	for _, m := range metrics {
		_, _ = fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
		for i := range all {
			_, _ = fmt.Fprintf(b, "%s{network=%q} %d\n", m.name, all[i].network, m.value(&all[i].stats))
		}
	}
}

// A measured network is one with what its relay has counted.
type measured struct {
	network string
	stats   Stats
}
