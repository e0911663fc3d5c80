package overlay

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/udp"
)

// A PathKind is what sort of way to a peer a path is. There may be more kinds one day.
type PathKind string

// The kinds of paths.
const (
	PathRelay PathKind = "relay" // over a relay
	PathLink  PathKind = "link"  // a link with the peer itself, such as a TCP connection
	PathUDP   PathKind = "udp"   // UDP packets to the peer itself
	PathLAN   PathKind = "lan"   // the same, to an address at which the peer announces itself on the LAN
)

// A PathStatus is the state of one way to a peer.
type PathStatus struct {
	Kind        PathKind
	Path        string // in words, such as "relay relay.example.org:9999" or "udp 192.0.2.7:4000"
	Direct      bool   // no relay in between
	Active      bool   // packets to the peer take it
	State       string // probing, validated, suspect or failed
	Since       time.Time
	RTT, MinRTT time.Duration // zero: not measured

	PacketsSent, PacketsLost uint64
	BytesSent, BytesReceived uint64 // of a direct path, of all sessions over it
	MaxPacket                int    // bytes
	Reason                   string // why it is not in use; empty if it is
}

// A UDPStatus is what a node has for direct paths. The zero value is that of a
// node without (Config.NoDirect).
type UDPStatus struct {
	Addr       netip.AddrPort // of the socket; without an IP address in particular it is for all
	Candidates []string       // what peers are told, such as "reflexive 192.0.2.7:4000"
	Mapping    string         // of the NAT before the node (RFC 4787 section 4.1), in words
	Filtering  string         // of the NAT or firewall (section 5), in words
	// Seen is where servers outside see the socket, also if no NAT changes that; at
	// most four of each IP version. Empty: none has answered.
	Seen []netip.AddrPort

	PacketsSent, PacketsReceived uint64
	PacketsDropped               uint64 // sent or received, for whatever reason
}

func (d *directPaths) status() UDPStatus {
	if d == nil {
		return UDPStatus{}
	}
	st := d.socketStatus()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.local.Candidates {
		st.Candidates = append(st.Candidates, c.String())
	}
	return st
}

// socketStatus is the part about the UDP socket, zero if there is none.
func (d *directPaths) socketStatus() UDPStatus {
	if d.sock == nil {
		return UDPStatus{}
	}
	c := d.sock.Counters()
	prober := d.nat.get()
	nat, others := prober.Result(), prober.Counters()
	return UDPStatus{
		Addr:    d.sock.LocalAddr(),
		Mapping: nat.Mapping.String(), Filtering: nat.Filtering.String(),
		Seen:        nat.Reflexive,
		PacketsSent: c.FramesOut, PacketsReceived: c.FramesIn,
		PacketsDropped: d.stray.Load() + c.DroppedMalformed + c.DroppedOther + c.DroppedQueue + c.DroppedClosed +
			c.DroppedTooBig + c.DroppedUnvalidated + c.DroppedUnreachable + c.DroppedFailed + others.Malformed + others.Stray,
	}
}

// A LinkStatus is the state of a node's listener for links with peers. The zero
// value is that of a node without (Config.LinkAddr).
type LinkStatus struct {
	Addr     netip.AddrPort // without an IP address in particular it is for all
	Links    int            // accepted, from peers that have proven who they are
	Waiting  int            // accepted, from somebody who has not, yet
	Accepted uint64         // since the start
	Refused  uint64         // too many, or not of this network
	Unproven uint64         // ended because nobody proved in time to be there, dialled ones included
}

func (d *directPaths) linkStatus() LinkStatus {
	if d == nil {
		return LinkStatus{}
	}
	l := d.links
	now := l.gate.count()
	return LinkStatus{
		Addr: l.addr(), Links: now.proven, Waiting: now.unproven,
		Accepted: l.accepted.Load(), Refused: l.refused.Load(), Unproven: l.unproven.Load(),
	}
}

// pathsOf describes the ways to a peer, and says why none of them is direct.
func (n *Node) pathsOf(s *session.Session) (paths []PathStatus, notDirect string) {
	inUse, slower := false, ""
	for _, st := range s.Paths() {
		p := PathStatus{
			Kind: n.kindOf(s.Peer().ID, st.Path), Path: st.Path.String(), Direct: isDirect(st.Path), Active: st.Active, State: st.State.String(), Since: st.Since,
			RTT: st.RTT, MinRTT: st.MinRTT,
			PacketsSent: st.Sent, PacketsLost: st.Lost,
			BytesSent: st.Out, BytesReceived: st.In,
			MaxPacket: st.MaxPacket, Reason: st.Reason,
		}
		inUse = inUse || p.Direct && p.Active
		if p.Direct && st.State == session.PathValidated && slower == "" {
			slower = p.Path + ": " + p.Reason
		}
		paths = append(paths, p)
	}
	switch {
	case inUse:
		return paths, ""
	case slower != "":
		return paths, slower
	case n.direct == nil:
		return paths, "this node has no direct paths (Config.NoDirect)"
	}
	if p := n.direct.puncher(s); p != nil {
		notDirect = p.snapshot().Reason
	}
	if notDirect != "" && n.direct.nat.unanswered() {
		notDirect += "; no server answers this node over UDP, which may be blocked"
	}
	return paths, notDirect
}

// kindOf says what sort of way to a peer a path is.
func (n *Node) kindOf(peer NodeID, p session.Path) PathKind {
	if f, ok := p.(*udp.Flow); ok {
		if near, ok := n.lan.near(peer); ok && slices.Contains(near.Addrs, f.Addr()) {
			return PathLAN
		}
		return PathUDP
	}
	if isDirect(p) && !strings.HasPrefix(p.String(), relayPrefix) {
		return PathLink
	}
	return PathRelay
}

// relayPrefix is how the names begin of paths over a relay, before its address.
const relayPrefix = "relay "

// isDirect reports whether a path leads to the peer itself.
func isDirect(p session.Path) bool {
	switch p := p.(type) {
	case *udp.Flow:
		return true
	case interface{ Neighbour() bool }:
		return p.Neighbour()
	}
	return false
}

// pathEvent is session.Config.OnPath.
func (d *directPaths) pathEvent(s *session.Session, e session.PathEvent) {
	if p := d.puncher(s); p != nil {
		poke(p.wake)
	}
	if e.Kind != session.PathMoved {
		return
	}
	from, to := isDirect(e.From), isDirect(e.To)
	kind := EventPathMoved
	switch {
	case !from && !to:
		return
	case !from:
		kind = EventPathUp
	case !to:
		kind = EventPathDown
	}
	ev := Event{Kind: kind, Time: time.Now(), Peer: s.Peer().ID, Path: e.To.String(), Reason: e.Reason}
	if e.From != nil {
		ev.From = e.From.String()
	}
	d.node.log.WithField("peer", ev.Peer.String()).WithField("path", ev.Path).Debug(ev.Kind.String())
	d.node.events.put(ev)
}
