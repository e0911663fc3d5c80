package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/relay"
)

// NewRelay returns a collector of what a relay counts, and of what the servers in
// its Others do, each with the name of its network in the label network. It reads
// [relay.Server.Stats] when it is asked, and only then; the server need not serve yet
// when the collector is made, but when it is asked.
//
// The networks of one relay must have different names; of two with the same one,
// the second is not shown.
func NewRelay(server *relay.Server) prometheus.Collector {
	return newCollector(relayFamilies, func() []relay.Stats {
		all := []relay.Stats{server.Stats()}
		for _, other := range server.Others {
			all = append(all, other.Stats())
		}
		return all
	}, func(s *relay.Stats) string { return s.Network })
}

// relayFamilies are the metrics of a relay. Their names, and what they mean, are kept.
var relayFamilies = append([]family[relay.Stats]{
	gauge("weft_relay_links", "Links of nodes that are accepted and open.", func(s *relay.Stats) int { return s.Links }),
	gauge("weft_relay_nodes", "Nodes that have proven to be at the other end of a link.", func(s *relay.Stats) int { return s.Nodes }),
	gauge("weft_relay_nodes_other_ca", "Of them, members by another secret than the relay's, while that is being replaced.", func(s *relay.Stats) int { return s.NodesOtherCA }),
	gauge("weft_relay_prefaces", "Conns in their first bytes.", func(s *relay.Stats) int { return s.Prefaces }),
	gauge("weft_relay_mesh_links", "Links from other relays.", func(s *relay.Stats) int { return s.MeshLinks }),
	gauge("weft_relay_mesh_claims", "Links that claim to come from other relays, without a proof yet.", func(s *relay.Stats) int { return s.MeshClaims }),
	gauge("weft_relay_http_conns", "Conns that speak HTTP.", func(s *relay.Stats) int { return s.HTTP }),
	gauge("weft_relay_directory_attached", "Nodes in the directory that are attached.", func(s *relay.Stats) int { return s.Directory.Attached }),
	gauge("weft_relay_directory_detached", "Nodes in the directory that have left lately.", func(s *relay.Stats) int { return s.Directory.Detached }),
	counter("weft_relay_directory_conflicts_total", "Nodes not listed because another key holds the ID.", func(s *relay.Stats) uint64 { return s.Directory.Conflicts }),
	counter("weft_relay_directory_stale_total", "Nodes not listed because a newer attachment is known.", func(s *relay.Stats) uint64 { return s.Directory.Stale }),
	counter("weft_relay_directory_full_total", "Nodes not listed because there was no room, in all or for their relay.", func(s *relay.Stats) uint64 { return s.Directory.Full }),
	counter("weft_relay_directory_invalid_total", "Nodes not listed because of names that are not certified, or too many names or candidates.", func(s *relay.Stats) uint64 { return s.Directory.Invalid }),
	gauge("weft_relay_peers_up", "Links to other relays that are up.", func(s *relay.Stats) int {
		return countPeers(s, func(p *relay.PeerStatus) bool { return p.Up })
	}),
	gauge("weft_relay_learned_peers", "Relays known from the backbone that this one dials.", func(s *relay.Stats) int {
		return countPeers(s, func(p *relay.PeerStatus) bool { return p.Learned })
	}),
	gauge("weft_relay_learned_peers_up", "Links to them that are up.", func(s *relay.Stats) int {
		return countPeers(s, func(p *relay.PeerStatus) bool { return p.Learned && p.Up })
	}),
	gauge("weft_relay_learned_skipped", "Relays known from the backbone that are not dialled because there are too many.", func(s *relay.Stats) int { return s.LearnedSkipped }),
	counter("weft_relay_learned_dials_total", "Dials of relays known from the backbone.", func(s *relay.Stats) uint64 { return s.LearnedDials }),
	counter("weft_relay_learned_wrong_total", "Dials of relays known from the backbone that led to another node.", func(s *relay.Stats) uint64 { return s.LearnedWrong }),
	counter("weft_relay_accepted_total", "Links accepted.", func(s *relay.Stats) uint64 { return s.Accepted }),
	counter("weft_relay_refused_address_total", "Conns closed at once: too many in their first bytes.", func(s *relay.Stats) uint64 { return s.RefusedAddress }),
	counter("weft_relay_refused_preface_total", "Conns that were too slow, or of another version.", func(s *relay.Stats) uint64 { return s.RefusedPreface }),
	counter("weft_relay_refused_protocol_total", "Conns that spoke neither the link protocol nor HTTP.", func(s *relay.Stats) uint64 { return s.RefusedProtocol }),
	counter("weft_relay_refused_network_total", "Links of another network.", func(s *relay.Stats) uint64 { return s.RefusedNetwork }),
	counter("weft_relay_refused_busy_total", "Links beyond a limit, or during a shutdown.", func(s *relay.Stats) uint64 { return s.RefusedBusy }),
	counter("weft_relay_refused_http_total", "HTTP conns beyond a limit.", func(s *relay.Stats) uint64 { return s.RefusedHTTP }),
	counter("weft_relay_refused_mesh_busy_total", "Links from other relays beyond a limit, or during a shutdown.", func(s *relay.Stats) uint64 { return s.RefusedMeshBusy }),
	counter("weft_relay_refused_mesh_role_total", "Links closed that claimed to come from a relay, of nodes that have proven to be none.", func(s *relay.Stats) uint64 { return s.RefusedMeshRole }),
	counter("weft_relay_unproven_total", "Links closed because nobody proved to be there in time.", func(s *relay.Stats) uint64 { return s.Unproven }),
	counter("weft_relay_not_allowed_total", "Links closed because the relay does not serve the node.", func(s *relay.Stats) uint64 { return s.NotAllowed }),
	counter("weft_relay_conflicts_total", "Links closed because of who proved to be there.", func(s *relay.Stats) uint64 { return s.Conflicts }),
	gauge("weft_relay_revocations", "Invites and keys that are revoked, as far as the relay knows.", func(s *relay.Stats) int { return s.Revocations.Known }),
	counter("weft_relay_revocations_forged_total", "Revocations refused because the network's secret has not signed them.", func(s *relay.Stats) uint64 { return s.Revocations.Forged }),
	counter("weft_relay_revocations_full_total", "Revocations for which there was no room.", func(s *relay.Stats) uint64 { return s.Revocations.Full }),
	gauge("weft_relay_handshakes_unfinished", "Handshakes that others have begun.", func(s *relay.Stats) int { return s.Handshakes.Unfinished }),
	counter("weft_relay_handshakes_refused_full_total", "Packets that began one too many of all handshakes.", func(s *relay.Stats) uint64 { return s.Handshakes.RefusedFull }),
	counter("weft_relay_handshakes_refused_node_total", "Packets that began one too many in the name of a node.", func(s *relay.Stats) uint64 { return s.Handshakes.RefusedNode }),
	counter("weft_relay_handshakes_refused_address_total", "Packets that began one too many of an address.", func(s *relay.Stats) uint64 { return s.Handshakes.RefusedAddress }),
	counter("weft_relay_accept_errors_total", "Errors of listeners.", func(s *relay.Stats) uint64 { return s.AcceptErrors }),
	counter("weft_relay_control_malformed_total", "Control streams that broke the protocol.", func(s *relay.Stats) uint64 { return s.ControlMalformed }),
	counter("weft_relay_limited_requests_total", "Look-ups refused because the nodes of one address ask too fast.", func(s *relay.Stats) uint64 { return s.LimitedRequests }),
	counter("weft_relay_limited_registrations_total", "Registrations refused because the nodes of one address register too fast.", func(s *relay.Stats) uint64 { return s.LimitedRegistrations }),
	counter("weft_relay_refused_mesh_total", "Streams of the backbone from nodes that are no relays, or have no link as relays have.", func(s *relay.Stats) uint64 { return s.RefusedMesh }),
	counter("weft_relay_bad_datagrams_total", "Datagrams of the backbone that held no frame.", func(s *relay.Stats) uint64 { return s.BadDatagrams }),
	counter("weft_relay_http_requests_total", "HTTP requests.", func(s *relay.Stats) uint64 { return s.HTTPRequests }),
	counter("weft_relay_stun_answered_total", "STUN requests answered.", func(s *relay.Stats) uint64 { return s.STUNAnswered }),
	counter("weft_relay_stun_malformed_total", "UDP packets that were no STUN request.", func(s *relay.Stats) uint64 { return s.STUNMalformed }),
	counter("weft_relay_stun_limited_total", "STUN requests beyond a limit.", func(s *relay.Stats) uint64 { return s.STUNLimited }),
	counter("weft_relay_forwarded_frames_total", "Frames forwarded.", func(s *relay.Stats) uint64 { return s.Forwarded }),
	counter("weft_relay_forwarded_bytes_total", "Bytes forwarded.", func(s *relay.Stats) uint64 { return s.ForwardedBytes }),
	counter("weft_relay_throttled_frames_total", "Frames of nodes that sent more than they may.", func(s *relay.Stats) uint64 { return s.Throttled }),
	counter("weft_relay_dropped_queue_frames_total", "Frames for which a link's queue was full.", func(s *relay.Stats) uint64 { return s.DroppedQueue }),
	gauge("weft_relay_backbone_relays", "Relays in the backbone, as far as this one knows.", func(s *relay.Stats) int { return len(s.Relays) }),
}, backboneFamilies...)

// countPeers counts the links to other relays that are of a kind.
func countPeers(s *relay.Stats, is func(*relay.PeerStatus) bool) (n int) {
	for i := range s.Peers {
		if is(&s.Peers[i]) {
			n++
		}
	}
	return n
}

// backbone makes a counter of a field of [gossip.Stats].
func backbone(name, help string, value func(*gossip.Stats) uint64) family[relay.Stats] {
	return counter("weft_relay_backbone_"+name+"_total", help, func(s *relay.Stats) uint64 { return value(&s.Backbone) })
}

// backboneFamilies are the metrics of what a relay tells and hears in the backbone.
var backboneFamilies = []family[relay.Stats]{
	backbone("merged", "Records in the gossip that were new.", func(s *gossip.Stats) uint64 { return s.Merged }),
	backbone("known", "Records in the gossip that were not new.", func(s *gossip.Stats) uint64 { return s.Known }),
	backbone("refused", "Records for which there was no room.", func(s *gossip.Stats) uint64 { return s.Refused }),
	backbone("refuted", "Records of nodes that are not attached here, as others thought.", func(s *gossip.Stats) uint64 { return s.Refuted }),
	backbone("forged", "Records with wrong signatures or certificates.", func(s *gossip.Stats) uint64 { return s.Forged }),
	backbone("not_relays", "Relay records whose certificate is not that of a relay.", func(s *gossip.Stats) uint64 { return s.NotRelays }),
	backbone("conflicts", "Records of another key for an ID that is known.", func(s *gossip.Stats) uint64 { return s.Conflicts }),
	backbone("name_clashes", "Relays that share the low 48 bits of their node ID with another.", func(s *gossip.Stats) uint64 { return s.NameClashes }),
	backbone("unknown_relay", "Records and requests of relays that are not known.", func(s *gossip.Stats) uint64 { return s.UnknownRelay }),
	backbone("relays_full", "Relays for which there was no room.", func(s *gossip.Stats) uint64 { return s.RelaysFull }),
	backbone("malformed", "Messages that were malformed or too long.", func(s *gossip.Stats) uint64 { return s.Malformed }),
	backbone("renew_errors", "Times when the relay's own certificate could not be had.", func(s *gossip.Stats) uint64 { return s.RenewErrors }),
	backbone("pulls", "Times when a digest differed and its sender was asked.", func(s *gossip.Stats) uint64 { return s.Pulls }),
	backbone("pull_bytes", "Bytes in such requests.", func(s *gossip.Stats) uint64 { return s.PullBytes }),
	backbone("pulled_bytes", "Bytes in answers to them.", func(s *gossip.Stats) uint64 { return s.PulledBytes }),
	backbone("answer_bytes", "Bytes in answers to other relays.", func(s *gossip.Stats) uint64 { return s.AnswerBytes }),
	backbone("pull_timeouts", "Relays that did not answer.", func(s *gossip.Stats) uint64 { return s.PullTimeouts }),
	backbone("throttled", "Answers not given because the asker had its share.", func(s *gossip.Stats) uint64 { return s.Throttled }),
	backbone("unasked", "Answers to no request.", func(s *gossip.Stats) uint64 { return s.Unasked }),
	backbone("liars", "Answers that no honest relay gives.", func(s *gossip.Stats) uint64 { return s.Liars }),
	backbone("inbox_drops", "Messages dropped that came faster than they could be read.", func(s *gossip.Stats) uint64 { return s.InboxDrops }),
	backbone("dirty_drops", "Changes that were not broadcast because there were too many.", func(s *gossip.Stats) uint64 { return s.DirtyDrops }),
	backbone("broadcasts", "Broadcasts sent.", func(s *gossip.Stats) uint64 { return s.Broadcasts }),
	backbone("unsent", "Messages to relays for which there was no way.", func(s *gossip.Stats) uint64 { return s.Unsent }),
	backbone("datagrams", "Datagrams sent through the gossip, for relays without a link.", func(s *gossip.Stats) uint64 { return s.Datagrams }),
	backbone("datagram_bytes", "Bytes of datagrams sent through the gossip.", func(s *gossip.Stats) uint64 { return s.DatagramBytes }),
	backbone("datagram_drops", "Datagrams not sent because the queue was full.", func(s *gossip.Stats) uint64 { return s.DatagramDrops }),
	backbone("datagram_no_way", "Datagrams not sent because the relay cannot be reached.", func(s *gossip.Stats) uint64 { return s.DatagramNoWay }),
	backbone("datagrams_received", "Datagrams received through the gossip.", func(s *gossip.Stats) uint64 { return s.DatagramsReceived }),
	backbone("datagrams_bad", "Datagrams received that were malformed or from nobody known.", func(s *gossip.Stats) uint64 { return s.DatagramsBad }),
}
