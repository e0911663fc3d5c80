package overlay

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/uplink"
)

// A Status is the state of a node at one moment.
type Status struct {
	ID      NodeID
	Key     PublicKey
	Name    string
	Network string
	// AlsoAccepted is how many CAs the node accepts besides its own, because of
	// Config.AlsoAccept; the Peers that need that have OtherCA set.
	AlsoAccepted int
	Layer        string        // Config.Reliability's name
	Relays       []RelayStatus // those of Config.Relays in their order, then others in use
	Peers        []PeerStatus  // by ID
	Invite       *InviteStatus // by which the node is a member; nil if it has the secret or the network is open
	Ports        []uint16      // that are listened on, in order
	UDP          UDPStatus     // what there is for direct paths
	Links        LinkStatus    // links that peers have made to this node
	LAN          []LANPeer     // nodes that announce themselves on the LAN, by ID

	// LearnedRelays is how many relays the node knows from other relays, in use
	// or not.
	LearnedRelays int
	// EventsDropped counts events that Config.OnEvent was too slow for.
	EventsDropped uint64

	Totals SessionTotals // of all sessions since the start
	Dials  DialTotals    // of this node, by how they ended

	// What became of the conns that peers asked for.
	Accepted     uint64 // given to a listener
	NoListener   uint64 // refused: nobody listened on the port
	BacklogFull  uint64 // refused: the listener's backlog was full
	NotAllowed   uint64 // refused: by Config.Allow or ListenConfig.Allow
	ShuttingDown uint64 // refused: the node was leaving

	RecentDials []DialReport // newest first, at most MaxRecentDials

	// PacketsDropped counts packets of ListenPacket and DialPacket that were
	// received for nobody or from somebody who is not allowed, or that found a
	// queue full.
	PacketsDropped uint64
	// HandshakesRefused counts packets that were not answered because of
	// MaxHandshakes, MaxHandshakesPerNode or MaxHandshakesPerAddress in Config.
	HandshakesRefused uint64
}

// A RelayStatus is the state of a node's link to one relay.
type RelayStatus struct {
	Addr    string    // as configured, or as another relay told
	Learned bool      // another relay told of it
	Up      bool      // it forwards for this node and answers
	Home    bool      // the node is registered there: others find it there
	State   string    // in words
	Since   time.Time // when the state began
	Next    time.Time // when the next attempt begins; zero if none is due
	Err     error     // why the last attempt failed or the last link broke

	// What the relay told when it was up last.
	ID           NodeID
	Name         string
	Version      string
	ObservedAddr string // this node's address as the relay sees it
	GoingAway    bool   // the relay is about to stop

	RTT time.Duration // smoothed; zero while unknown

	Throttled uint64 // how often the relay told that it dropped frames of this node
	Dropped   uint64 // the frames that it told of
}

// A PeerStatus is the state of a session with a peer.
type PeerStatus struct {
	Peer
	Path      string       // the way that packets take, in words
	Paths     []PathStatus // all ways: first the one over a relay or link, then direct ones
	NotDirect string       // why packets go over a relay; empty if they do not
	Layer     string       // the peer's
	Initiator bool         // this side began the session
	Conns     int          // open conns and other streams
	RTT       time.Duration
	MinRTT    time.Duration

	PacketsSent, PacketsReceived uint64
	PacketsLost                  uint64 // that this side sent
	BytesSent, BytesReceived     uint64 // with all overhead
}

// Peers returns the peers with which there is a session, relays included,
// ordered by ID.
func (n *Node) Peers() iter.Seq[PeerStatus] {
	return func(yield func(PeerStatus) bool) { n.peersOf(n.ep.Sessions())(yield) }
}

// peersOf is Peers for some sessions, in a slice that nobody else has.
func (n *Node) peersOf(sessions []*session.Session) iter.Seq[PeerStatus] {
	return func(yield func(PeerStatus) bool) {
		slices.SortStableFunc(sessions, func(a, b *session.Session) int {
			return cmp.Compare(a.Peer().ID, b.Peer().ID)
		})
		for _, s := range sessions {
			if !yield(n.peerStatus(s)) {
				return
			}
		}
	}
}

func (n *Node) peerStatus(s *session.Session) PeerStatus {
	st := s.Stats()
	paths, notDirect := n.pathsOf(s)
	return PeerStatus{
		Paths: paths, NotDirect: notDirect,
		Peer:      s.Peer(),
		Path:      s.Path().String(),
		Layer:     s.PeerLayer(),
		Initiator: s.Initiator(),
		Conns:     st.Streams,
		RTT:       st.RTT, MinRTT: st.MinRTT,
		PacketsSent: st.PacketsSent, PacketsReceived: st.PacketsReceived, PacketsLost: st.PacketsLost,
		BytesSent: st.BytesSent, BytesReceived: st.BytesReceived,
	}
}

// Status returns a snapshot.
func (n *Node) Status() Status { return n.statusOf(n.ep.Sessions()) }

// statusOf is Status with the peers of some sessions.
func (n *Node) statusOf(sessions []*session.Session) Status {
	st := Status{
		ID: n.ID(), Key: n.Key(), Name: n.Name(),
		Network: n.credentials.Network().Name(), AlsoAccepted: len(n.credentials.Network().Accepted()),
		Layer: n.layer.Name(),
		Peers: slices.Collect(n.peersOf(sessions)),
	}
	st.Invite = n.inviteStatus()
	st.Ports = n.ports.Ports()
	st.UDP = n.direct.status()
	st.Links = n.direct.linkStatus()
	st.LAN = n.lan.status()
	counts := n.ports.Stats()
	st.Accepted, st.NoListener, st.BacklogFull = counts.Accepted, counts.NoListener, counts.BacklogFull
	st.NotAllowed = counts.NotAllowed + n.refused.Load()
	st.ShuttingDown = counts.ShuttingDown
	st.PacketsDropped = n.packets.dropped.Load()
	h := n.ep.Handshakes()
	st.HandshakesRefused = h.RefusedFull + h.RefusedNode + h.RefusedAddress
	st.Totals, st.Dials = n.sessionTotals(), n.dialCount.totals()
	st.RecentDials = n.dials.recent()
	st.LearnedRelays = len(n.uplinks.Known())
	st.EventsDropped = n.events.dropped.Load()
	for _, u := range n.uplinks.Status() {
		st.Relays = append(st.Relays, n.relayStatus(u))
	}
	return st
}

func (n *Node) relayStatus(u uplink.Status) RelayStatus {
	st := RelayStatus{
		Addr: u.Addr, Learned: u.Learned,
		Up: u.Phase == uplink.PhaseUp, Home: u.Registered, State: u.String(),
		Throttled: u.Throttled, Dropped: u.Dropped,
		Since: u.Since, Next: u.Next, Err: u.Err,
		ID: u.Relay.ID, Name: u.RelayName, Version: u.RelayVersion,
		ObservedAddr: u.ObservedAddr, GoingAway: u.GoingAway,
	}
	if s := n.ep.Session(u.Relay.ID); s != nil {
		st.RTT = s.Stats().RTT
	}
	return st
}
