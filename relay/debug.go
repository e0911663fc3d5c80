package relay

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/statuspage"
)

// DebugHandler returns a handler for the page of overlay.DebugHandler about the server's
// node, with the relay in it: the nodes that are attached, the other relays of the
// backbone, what is forwarded, and which nodes send more than they may. All that is said
// there holds here; in particular, the page must not be public. With Others, there is a page
// for each of them, under network/NAME/.
func (s *Server) DebugHandler() http.Handler {
	own, others := s.pageHandler(), make(map[string]http.Handler)
	for _, other := range s.Others {
		others[other.network()] = other.pageHandler()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		rest, under := strings.CutPrefix(strings.TrimPrefix(req.URL.Path, "/"), "network/")
		name, rest, _ := strings.Cut(rest, "/")
		other := others[name]
		if !under || other == nil {
			own.ServeHTTP(w, req)
			return
		}
		at := req.Clone(req.Context())
		at.URL.Path, at.URL.RawPath = rest, ""
		other.ServeHTTP(w, at)
	})
}

// network is the name of the server's network.
func (s *Server) network() string { return s.relay().Credentials.Network().Name() }

// pageHandler is DebugHandler for this network alone.
func (s *Server) pageHandler() http.Handler {
	r := s.relay()
	source := r.Page
	source.Snapshot = func() statuspage.Snapshot {
		p := r.Page.Snapshot()
		p.Drops = append(p.Drops, s.drops()...)
		p.Hosted = s.hosted()
		return p
	}
	return statuspage.New(r.ctx, source)
}

// hosted is the relay's part of the page.
func (s *Server) hosted() *statuspage.Hosted {
	r := s.relay()
	links, _ := r.links.count()
	moved := r.Switch.Counters()
	h := &statuspage.Hosted{
		Links: links, Frames: moved.Forwarded, Throttled: moved.DroppedThrottled,
		BytesPerSecond: max(0, s.BytesPerSecond), PacketsPerSecond: max(0, s.PacketsPerSecond),
		Networks: []string{}, Relays: neighbours(s.PeerStatus(), s.Relays()), ThrottledNodes: []statuspage.Throttled{},
	}
	for _, other := range s.Others {
		h.Networks = append(h.Networks, other.network())
	}
	h.Attached, h.Nodes = r.attached(statuspage.MaxAttached)
	for i := range h.Attached {
		h.Attached[i].Names = r.namesOf(h.Attached[i].ID)
	}
	for _, n := range s.ThrottledNodes(statuspage.MaxThrottled) {
		h.ThrottledNodes = append(h.ThrottledNodes, statuspage.Throttled{
			ID: n.ID.String(), Names: r.namesOf(n.ID.String()), Attached: n.Attached, Frames: n.Frames,
		})
	}
	return h
}

// attached returns the nodes with a link here, those with the most traffic if there are
// more than limit, by ID, without their names, and how many there are.
func (r *relay) attached(limit int) (list []statuspage.Attached, total int) {
	r.mu.Lock()
	found := make([]*member, 0, len(r.nodes))
	ids := make(map[*member]identity.NodeID, len(r.nodes))
	for id, m := range r.nodes {
		if !m.port.Trusted() { // a relay of the backbone
			found = append(found, m)
			ids[m] = id
		}
	}
	r.mu.Unlock()
	total = len(found)
	if total > limit {
		traffic := make(map[*member]uint64, total)
		for _, m := range found {
			c := m.port.Counters()
			traffic[m] = c.ForwardedFrom + c.ForwardedTo
		}
		slices.SortFunc(found, func(a, b *member) int {
			return cmp.Or(cmp.Compare(traffic[b], traffic[a]), cmp.Compare(ids[a], ids[b]))
		})
		found = found[:limit]
	}
	slices.SortFunc(found, func(a, b *member) int { return cmp.Compare(ids[a], ids[b]) })
	list = make([]statuspage.Attached, 0, len(found))
	for _, m := range found {
		c, l := m.port.Counters(), m.port.Link()
		list = append(list, statuspage.Attached{
			ID: ids[m].String(), Addr: l.RemoteAddr().String(), Since: m.port.Since(),
			RTT:  statuspage.Milliseconds(l.Counters().RTT),
			From: c.ForwardedFrom, To: c.ForwardedTo, Throttled: c.Throttled,
		})
	}
	return list, total
}

// namesOf returns the names under which the directory lists a node.
func (r *relay) namesOf(id string) []string {
	parsed, err := identity.ParseNodeID(id)
	if err != nil {
		return []string{}
	}
	for _, rec := range r.directory.Find(identity.Target{ID: parsed}) {
		return statuspage.List(rec.Names)
	}
	return []string{}
}

// neighbours joins what is known of links to other relays with what the backbone knows of
// these relays.
func neighbours(links []PeerStatus, relays []gossip.RelayInfo) []statuspage.Neighbour {
	all := []statuspage.Neighbour{}
	at := make(map[identity.NodeID]int)
	for _, l := range links {
		n := statuspage.Neighbour{Addr: l.Addr, Up: l.Up, Reachable: l.Up, State: l.State, RTT: statuspage.Milliseconds(l.RTT)}
		if l.ID != 0 {
			n.ID = l.ID.String()
		}
		if l.Err != nil && !l.Up {
			n.Error = l.Err.Error()
		}
		if i, known := at[l.ID]; known && l.ID != 0 {
			if l.Up && !all[i].Up {
				all[i] = n
			}
			continue
		}
		at[l.ID] = len(all)
		all = append(all, n)
	}
	for _, info := range relays {
		i, known := at[info.ID]
		if !known {
			i = len(all)
			all = append(all, statuspage.Neighbour{ID: info.ID.String(), State: "no link"})
			if len(info.Addrs) > 0 {
				all[i].Addr = info.Addrs[0]
			}
		}
		all[i].Reachable, all[i].Nodes = info.Reachable, info.Nodes
	}
	return all
}

// drops are the counters of what the relay refused or dropped.
func (s *Server) drops() []statuspage.Count {
	st := s.Stats()
	counts := []statuspage.Count{
		{What: "frames over the limits for a node", N: st.Throttled},
		{What: "frames for which a link's queue was full", N: st.DroppedQueue},
		{What: "conns refused: too many in their first bytes", N: st.RefusedAddress},
		{What: "conns refused: no preface in time, or another version", N: st.RefusedPreface},
		{What: "conns refused: neither links nor HTTP", N: st.RefusedProtocol},
		{What: "links refused: of another network", N: st.RefusedNetwork},
		{What: "links refused: too many", N: st.RefusedBusy + st.RefusedMeshBusy},
		{What: "links closed: nobody proved to be there", N: st.Unproven},
		{What: "links closed: the node is not allowed", N: st.NotAllowed},
		{What: "links closed: another key has the node's ID, or no room", N: st.Conflicts},
		{What: "HTTP conns refused: too many", N: st.RefusedHTTP},
		{What: "requests refused: too many from one address", N: st.LimitedRequests + st.LimitedRegistrations},
		{What: "STUN requests beyond the limit", N: st.STUNLimited},
	}
	return slices.DeleteFunc(counts, func(c statuspage.Count) bool { return c.N == 0 })
}
