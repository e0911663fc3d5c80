package relay

import (
	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
)

// Stats are the gauges and counters of a [Server].
type Stats struct {
	Network string // its name

	Links int // of nodes, accepted and open
	Nodes int // that have proven to be at the other end of a link
	// NodesOtherCA is how many of them are members by another secret than the
	// relay's, of overlay.Config.AlsoAccept. Once all have the new one, it is zero at
	// relays that have it, too, and the old one can be dropped.
	NodesOtherCA int
	Prefaces     int // conns in their first bytes
	HTTP         int // conns that speak HTTP

	MeshLinks  int // from other relays, which have proven to be some
	MeshClaims int // links that claim to be such, without a proof yet

	Accepted       uint64 // links
	RefusedAddress uint64 // conns closed at once: MaxPrefaces or MaxPrefacesPerAddress reached
	RefusedPreface uint64 // no complete preface, too slow (also for a full MaxPrefaces), or of another version
	// RefusedProtocol counts conns that spoke neither the link protocol nor HTTP.
	RefusedProtocol uint64
	RefusedNetwork  uint64 // links of another network
	RefusedBusy     uint64 // MaxLinks or MaxLinksPerAddress reached, or shutting down
	RefusedMeshBusy uint64 // links from other relays: MaxMeshLinks or MaxMeshClaims reached, or shutting down
	RefusedMeshRole uint64 // links closed that claimed to come from a relay, but from one that has proven to be none
	Unproven        uint64 // closed because nobody proved to be there in time
	NotAllowed      uint64 // closed because Server.Allow does not allow the node
	Conflicts       uint64 // closed because of who proved to be there: an ID of another key, or no room

	// Handshakes are those of the relay's node, which nodes and others begin.
	// Their limits are in overlay.Config.
	Handshakes session.Handshakes

	HTTPRequests uint64
	RefusedHTTP  uint64 // conns closed because MaxHTTP or MaxHTTPPerAddress was reached

	STUNAnswered  uint64 // requests for the own address, over UDP
	STUNMalformed uint64 // packets that were no such requests, without an answer
	STUNLimited   uint64 // requests beyond the limits, without an answer

	AcceptErrors     uint64 // of listeners
	ControlMalformed uint64 // control streams that broke the protocol
	// LimitedRequests and LimitedRegistrations count what was refused because of
	// RequestsPerSecondPerAddress and RegistrationsPerSecondPerAddress.
	LimitedRequests, LimitedRegistrations uint64
	RefusedMesh                           uint64 // streams of the backbone from nodes that are no relays, or have no link as relays have
	BadDatagrams                          uint64 // datagrams of the backbone that hold no frame

	LearnedDials   uint64 // attempts at addresses that relays give as their own
	LearnedWrong   uint64 // of which another node was there
	LearnedSkipped int    // relays that are not dialled because of MaxLearnedPeers

	Peers    []PeerStatus       // see [Server.PeerStatus]
	Relays   []gossip.RelayInfo // see [Server.Relays]
	Backbone gossip.Stats       // zero for a relay that works alone

	Forwarded      uint64 // frames, by the node's switch
	ForwardedBytes uint64
	Throttled      uint64 // frames dropped because of BytesPerSecond and PacketsPerSecond
	DroppedQueue   uint64 // frames dropped because a link's queue was full
	Directory      gossip.DirectoryStats
	Revocations    identity.RevocationStats
}

// Stats returns a snapshot, not taken at one instant.
func (s *Server) Stats() Stats {
	r := s.relay()
	links, prefaces := r.links.count()
	meshLinks, meshClaims := r.mesh.count()
	r.mu.Lock()
	nodes, otherCA := len(r.nodes), 0
	for _, m := range r.nodes {
		if m.otherCA {
			otherCA++
		}
	}
	r.mu.Unlock()
	moved := r.Switch.Counters()
	var backbone gossip.Stats
	if r.backbone != nil {
		backbone = r.backbone.Stats()
	}
	return Stats{
		Network:  r.Credentials.Network().Name(),
		Backbone: backbone,
		Peers:    s.PeerStatus(), Relays: s.Relays(),
		Links: links, Nodes: nodes, NodesOtherCA: otherCA, Prefaces: prefaces,
		MeshLinks: meshLinks, MeshClaims: meshClaims,
		Accepted:             r.stats.accepted.Load(),
		RefusedAddress:       r.stats.refusedAddress.Load(),
		RefusedPreface:       r.stats.refusedPreface.Load(),
		RefusedNetwork:       r.stats.refusedNetwork.Load(),
		RefusedBusy:          r.stats.refusedBusy.Load(),
		RefusedMeshBusy:      r.stats.refusedMeshBusy.Load(),
		RefusedMeshRole:      r.stats.refusedMeshRole.Load(),
		Unproven:             r.stats.unproven.Load(),
		NotAllowed:           r.stats.notAllowed.Load(),
		Conflicts:            r.stats.conflicts.Load(),
		RefusedProtocol:      r.web.stats.refusedProtocol.Load(),
		HTTP:                 r.web.places.taken(),
		HTTPRequests:         r.web.stats.requests.Load(),
		RefusedHTTP:          r.web.stats.refusedHTTP.Load(),
		STUNAnswered:         r.stun.answered.Load(),
		STUNMalformed:        r.stun.malformed.Load(),
		STUNLimited:          r.stun.limited.Load(),
		AcceptErrors:         r.stats.acceptErrors.Load(),
		ControlMalformed:     r.stats.controlMalformed.Load(),
		LimitedRequests:      r.stats.limitedRequests.Load(),
		LimitedRegistrations: r.stats.limitedRegistrations.Load(),
		RefusedMesh:          r.stats.refusedMesh.Load(),
		BadDatagrams:         r.stats.badDatagrams.Load(),
		Handshakes:           r.Endpoint.Handshakes(),
		Revocations:          r.Credentials.Revocations().Stats(),
		LearnedDials:         r.stats.learnedDials.Load(),
		LearnedWrong:         r.stats.learnedWrong.Load(),
		LearnedSkipped:       int(r.stats.learnedSkipped.Load()),
		Forwarded:            moved.Forwarded, ForwardedBytes: moved.ForwardedBytes,
		Throttled: moved.DroppedThrottled, DroppedQueue: moved.DroppedQueue,
		Directory: r.directory.Stats(),
	}
}
