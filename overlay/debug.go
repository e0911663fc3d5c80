package overlay

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/statuspage"
)

// DebugHandler returns a handler that serves a web page about a node: its relays and
// peers as a graph, the paths to each, traffic, and the last dials. It works under any
// prefix, which http.StripPrefix takes off, answers only GET and HEAD, and loads nothing
// from elsewhere.
//
// The page shows who talks to whom, when and from where, and the handler asks nobody who
// they are: it must not be public. Serve it on a loopback address, behind a check of your
// own, or over the overlay itself to nodes that a [Rule] allows. On a loopback address a
// web page of somebody else's could read it through a name that it makes point there (DNS
// rebinding): check the request's Host.
//
// Under the page, api/status is a snapshot in JSON, for the page and for other programs;
// docs/status-page.md describes it. A snapshot is made twice a second at most, and
// requests beyond 32 at one time are answered with status 503. The traffic is recorded
// from the first request on, until nobody has asked for ten minutes or the node closes;
// each call of DebugHandler makes a handler with a record of its own. Multiple goroutines
// may use it.
func DebugHandler(node *Node) http.Handler { return statuspage.New(node.ctx, node.pageSource()) }

// pageSource is what a page needs of the node.
func (n *Node) pageSource() statuspage.Source {
	return statuspage.Source{Snapshot: n.page, Traffic: n.traffic}
}

// traffic counts the bytes of all sessions so far.
func (n *Node) traffic() statuspage.Traffic {
	all := n.sessionTotals()
	return statuspage.Traffic{Sent: all.BytesSent, Received: all.BytesReceived, Forwarded: n.sw.Counters().ForwardedBytes}
}

// page is the node's state as its page shows it.
func (n *Node) page() statuspage.Snapshot {
	sessions := n.ep.Sessions()
	st := n.statusOf(busiest(sessions, statuspage.MaxPeers))
	p := statuspage.Snapshot{
		Node: st.ID.String(), Key: st.Key.String(), Name: st.Name, Network: st.Network, Layer: st.Layer,
		Ports:   statuspage.List(st.Ports),
		UDP:     statuspage.UDP{Mapping: st.UDP.Mapping, Filtering: st.UDP.Filtering, Candidates: statuspage.List(st.UDP.Candidates)},
		Traffic: n.traffic(), Sessions: len(sessions),
		Relays: []statuspage.Relay{}, Peers: []statuspage.Peer{}, LAN: []statuspage.LANPeer{}, Dials: []statuspage.Dial{},
		Drops: st.drops(),
	}
	if st.UDP.Addr.IsValid() {
		p.UDP.Addr = st.UDP.Addr.String()
	}
	for _, r := range st.Relays {
		p.Relays = append(p.Relays, r.page())
	}
	for _, peer := range st.Peers {
		p.Peers = append(p.Peers, peer.page())
	}
	for _, near := range st.LAN {
		l := statuspage.LANPeer{ID: near.ID.String(), Addrs: []string{}}
		for _, a := range near.Addrs {
			l.Addrs = append(l.Addrs, a.String())
		}
		p.LAN = append(p.LAN, l)
	}
	for _, d := range st.RecentDials {
		p.Dials = append(p.Dials, d.page())
	}
	return p
}

// busiest returns the sessions with the most traffic, limit at most.
func busiest(all []*session.Session, limit int) []*session.Session {
	if len(all) <= limit {
		return all
	}
	bytes := make(map[*session.Session]uint64, len(all))
	for _, s := range all {
		st := s.Stats()
		bytes[s] = st.BytesSent + st.BytesReceived
	}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *session.Session) int {
		return cmp.Or(cmp.Compare(bytes[b], bytes[a]), cmp.Compare(a.Peer().ID, b.Peer().ID))
	})
	return all[:limit]
}

// drops are the counters of what the node refused or dropped.
func (st *Status) drops() []statuspage.Count {
	counts := []statuspage.Count{
		{What: "conns refused: nobody listened on the port", N: st.NoListener},
		{What: "conns refused: the listener's backlog was full", N: st.BacklogFull},
		{What: "conns refused: not allowed", N: st.NotAllowed},
		{What: "conns refused: the node was leaving", N: st.ShuttingDown},
		{What: "packets for nobody, or beyond a queue", N: st.PacketsDropped},
		{What: "UDP packets dropped", N: st.UDP.PacketsDropped},
		{What: "handshakes refused: too many at once", N: st.HandshakesRefused},
		{What: "links from peers refused", N: st.Links.Refused},
		{What: "links that nobody proved to be at", N: st.Links.Unproven},
		{What: "events that the program was too slow for", N: st.EventsDropped},
	}
	return slices.DeleteFunc(counts, func(c statuspage.Count) bool { return c.N == 0 })
}

func (r RelayStatus) page() statuspage.Relay {
	p := statuspage.Relay{
		Addr: r.Addr, Name: r.Name, Up: r.Up, Home: r.Home, State: r.State, Since: r.Since,
		RTT: statuspage.Milliseconds(r.RTT), Observed: r.ObservedAddr, Dropped: r.Dropped,
		GoingAway: r.GoingAway, Learned: r.Learned,
	}
	if r.ID != 0 {
		p.ID = r.ID.String()
	}
	if r.Err != nil && !r.Up {
		p.Error = r.Err.Error()
	}
	return p
}

func (s PeerStatus) page() statuspage.Peer {
	p := statuspage.Peer{
		ID: s.ID.String(), Key: s.Key.String(), Names: statuspage.List(s.Names), Roles: statuspage.List(s.Roles),
		Path: s.Path, NotDirect: s.NotDirect, Conns: s.Conns,
		RTT: statuspage.Milliseconds(s.RTT), MinRTT: statuspage.Milliseconds(s.MinRTT),
		Sent: s.BytesSent, Received: s.BytesReceived, Packets: s.PacketsSent, Lost: s.PacketsLost,
		Paths: []statuspage.Path{},
	}
	for _, w := range s.Paths {
		path := statuspage.Path{
			Kind: string(w.Kind), Path: w.Path, Active: w.Active, State: w.State, Since: w.Since,
			RTT: statuspage.Milliseconds(w.RTT), Sent: w.BytesSent, Received: w.BytesReceived,
			Packets: w.PacketsSent, Lost: w.PacketsLost, MaxPacket: w.MaxPacket, Reason: w.Reason,
		}
		if via, ok := strings.CutPrefix(w.Path, relayPrefix); ok {
			path.Via = via
		}
		if w.Active {
			p.Kind = path.Kind
		}
		p.Paths = append(p.Paths, path)
	}
	return p
}

func (d DialReport) page() statuspage.Dial {
	p := statuspage.Dial{
		Time: d.Time, Duration: statuspage.Milliseconds(d.Duration), Addr: d.Addr, Path: d.Path,
		OK: d.Err == nil, Steps: []statuspage.Step{},
	}
	if d.Peer != 0 {
		p.Peer = d.Peer.String()
	}
	for _, a := range d.Attempts {
		p.Steps = append(p.Steps, statuspage.Step{Target: a.Target, Path: a.Path, Error: a.Err.Error()})
	}
	return p
}
