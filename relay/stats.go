package relay

import "github.com/weftnet/weft/gossip"

// Stats are the gauges and counters of a [Server].
type Stats struct {
	Links    int // accepted and open
	Nodes    int // that have proven to be at the other end of a link
	Prefaces int // conns in their first bytes

	Accepted       uint64 // links
	RefusedAddress uint64 // conns closed at once: too many in their first bytes
	RefusedPreface uint64 // not a link, too slow, or of another version
	RefusedNetwork uint64 // links of another network
	RefusedBusy    uint64 // MaxLinks or MaxLinksPerAddress reached, or shutting down
	Unproven       uint64 // closed because nobody proved to be there in time
	Conflicts      uint64 // closed because of who proved to be there: an ID of another key, or no room

	AcceptErrors     uint64 // of listeners
	ControlMalformed uint64 // control streams that broke the protocol
	RefusedMesh      uint64 // streams of the backbone from nodes that are no relays

	Relays []PeerStatus // see [Server.Relays]

	Forwarded      uint64 // frames, by the node's switch
	ForwardedBytes uint64
	Directory      gossip.DirectoryStats
}

// Stats returns a snapshot, not taken at one instant.
func (s *Server) Stats() Stats {
	r := s.relay()
	links, prefaces := r.links.count()
	r.mu.Lock()
	nodes := len(r.nodes)
	r.mu.Unlock()
	moved := r.Switch.Counters()
	return Stats{
		Relays: s.Relays(),
		Links:  links, Nodes: nodes, Prefaces: prefaces,
		Accepted:         r.stats.accepted.Load(),
		RefusedAddress:   r.stats.refusedAddress.Load(),
		RefusedPreface:   r.stats.refusedPreface.Load(),
		RefusedNetwork:   r.stats.refusedNetwork.Load(),
		RefusedBusy:      r.stats.refusedBusy.Load(),
		Unproven:         r.stats.unproven.Load(),
		Conflicts:        r.stats.conflicts.Load(),
		AcceptErrors:     r.stats.acceptErrors.Load(),
		ControlMalformed: r.stats.controlMalformed.Load(),
		RefusedMesh:      r.stats.refusedMesh.Load(),
		Forwarded:        moved.Forwarded, ForwardedBytes: moved.ForwardedBytes,
		Directory: r.directory.Stats(),
	}
}
