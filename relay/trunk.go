package relay

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/switchboard"
)

// A PeerStatus is what a relay knows about a link to another one, or about an
// address of Server.Peers.
type PeerStatus struct {
	ID      identity.NodeID // zero before the first session
	Addr    string          // as configured or learned, or where the other relay's link comes from
	Dialled bool            // this relay dials; otherwise the other one did
	Learned bool            // known from the backbone, not from Server.Peers
	Up      bool            // frames are forwarded over the link
	State   string          // in words
	Since   time.Time       // when the state began
	Err     error           // why the last attempt failed or the last link broke
	RTT     time.Duration   // smoothed; zero while unknown
}

// PeerStatus returns the state of Server.Peers, in their order, and after them
// the relays that were learned and those that have dialled this one, ordered by
// ID.
func (s *Server) PeerStatus() []PeerStatus {
	r := s.relay()
	var all []PeerStatus
	for _, p := range r.peers {
		all = append(all, p.state())
	}
	configured := len(all)
	r.mu.Lock()
	for _, p := range r.learned {
		all = append(all, p.state())
	}
	for id, links := range r.trunks {
		for _, t := range links {
			if t.by == nil {
				all = append(all, PeerStatus{ID: id, Addr: t.port.String(), Up: true, State: "up", Since: t.port.Since()})
			}
		}
	}
	r.mu.Unlock()
	slices.SortFunc(all[configured:], func(a, b PeerStatus) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), a.Since.Compare(b.Since))
	})
	for i := range all {
		if sess := r.Endpoint.Session(all[i].ID); sess != nil && all[i].Up {
			all[i].RTT = sess.Stats().RTT
		}
	}
	return all
}

// decideMesh says whether a link from remote that claims to be one of the
// backbone is accepted. It leaves the budget of the nodes for that of the claims.
func (r *relay) decideMesh(s *slot, remote net.Addr) link.Status {
	if !s.move(r.mesh, remote) {
		r.stats.refusedMeshBusy.Add(1)
		return link.StatusBusy
	}
	status := s.room()
	if status != link.StatusOK {
		r.stats.refusedMeshBusy.Add(1)
	}
	return status
}

// Why links end that claimed to be of the backbone.
var (
	errNoRole   = errors.New("relay: the node that has dialled as a relay is none; its invite lacks the role relay")
	errMeshFull = errors.New("relay: there are as many links from other relays as may be; see Server.MaxMeshLinks")
)

// admitRelay makes the link m one of the backbone if peer, who has proven to be
// at its other end, may have one.
func (r *relay) admitRelay(m *member, peer identity.Peer) error {
	err := errNoRole
	switch {
	case !peer.Has(identity.RoleRelay):
		r.stats.refusedMeshRole.Add(1)
	case m.slot.link() != link.StatusOK:
		r.stats.refusedMeshBusy.Add(1)
		err = errMeshFull
	default:
		return nil
	}
	if r.refusals.Allow() {
		r.log.WithError(err).WithField("id", peer.ID).WithField("link", m.port.String()).Info("link of the backbone refused")
	}
	return err
}

// A trunk is a link to another relay.
type trunk struct {
	port *switchboard.Port
	by   *peer // who has dialled it; nil: the other relay has
}

// joined notes a link to the relay id. by is nil if that has dialled it.
func (r *relay) joined(by *peer, port *switchboard.Port, id identity.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joinedLocked(by, port, id)
}

// joinedLocked is joined with r.mu held.
func (r *relay) joinedLocked(by *peer, port *switchboard.Port, id identity.NodeID) {
	for _, t := range r.trunks[id] {
		if t.port == port {
			return
		}
		if t.by != nil {
			t.by.recheck()
		}
	}
	r.trunks[id] = append(r.trunks[id], trunk{port, by})
}

// left undoes joined.
func (r *relay) left(port *switchboard.Port, id identity.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leftLocked(port, id)
}

// leftLocked is left with r.mu held.
func (r *relay) leftLocked(port *switchboard.Port, id identity.NodeID) {
	rest := slices.DeleteFunc(r.trunks[id], func(t trunk) bool { return t.port == port })
	if r.trunks[id] = rest; len(rest) == 0 {
		delete(r.trunks, id)
	}
}

// rival returns a *standbyError when another link to the relay id makes port,
// which this relay has dialled, superfluous. Of two relays that have dialled
// each other the one with the smaller ID keeps its link, so that never both give
// up theirs.
func (r *relay) rival(port *switchboard.Port, id identity.NodeID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	older := true // than port
	for _, t := range r.trunks[id] {
		switch {
		case t.port == port:
			older = false
		case t.port.Err() != nil:
		case t.by != nil && older, t.by == nil && id < r.self:
			return &standbyError{why: "another link leads to the same relay", until: t.port.Done(), limit: standbyPause}
		}
	}
	return nil
}

// trunkTo returns a link to the relay id that lives, nil if there is none.
func (r *relay) trunkTo(id identity.NodeID) *switchboard.Port {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.trunks[id] {
		if t.port.Err() == nil {
			return t.port
		}
	}
	return nil
}
