package switchboard

import (
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// minMaxPacket is what a route without a link promises to carry one day.
const minMaxPacket = 1200

// A Route is the way to one peer, looked up anew for each frame: the peer's
// own port, else the port of its relay or what Forwarding.Elsewhere does, else
// the uplink that Detour or Follow have chosen, else the oldest bound uplink. Routes of one switch to one peer are equal. All
// methods are safe for concurrent use and never block.
type Route struct {
	s    *Switch
	peer identity.NodeID
}

// Route returns the way to peer, which need not exist yet.
func (s *Switch) Route(peer identity.NodeID) Route { return Route{s, peer} }

// Peer returns whom the route leads to.
func (r Route) Peer() identity.NodeID { return r.peer }

// Port returns the port that the next frame takes, or nil.
func (r Route) Port() *Port {
	p, _ := r.find()
	return p
}

// find is Port, and reports whether there is a way without one.
func (r Route) find() (p *Port, elsewhere bool) {
	if p := r.s.port(r.peer); p != nil && p.link.Up() {
		return p, false
	}
	p, elsewhere = r.s.nextHop(r.peer, nil)
	if p != nil && p.link.Up() || elsewhere {
		return p, elsewhere
	}
	if p := r.s.detour(r.peer); p != nil {
		return p, false
	}
	for _, p := range *r.s.uplinks.Load() {
		if p.link.Up() {
			return p, false
		}
	}
	return nil, false
}

// Ready reports whether the route takes frames now; if not, w is woken once
// when it may.
func (r Route) Ready(w Waker) bool {
	p, elsewhere := r.find()
	if p != nil {
		return p.Ready(w)
	}
	if elsewhere || r.peer == r.s.cfg.Self {
		return true
	}
	if r.s.await(r, w) {
		return false
	}
	p = r.Port()
	return p != nil && p.Ready(w)
}

// await has w woken when a route to r's peer appears. It reports false if there
// is one now.
func (s *Switch) await(r Route, w Waker) bool {
	s.mu.Lock()
	if p, elsewhere := r.find(); p != nil || elsewhere {
		s.mu.Unlock()
		return false
	}
	var evicted map[Waker]struct{}
	ws := s.waiters[r.peer]
	switch {
	case s.closed:
		s.mu.Unlock()
		return true
	case ws == nil:
		if len(s.waiters) >= maxAwaited {
			for id := range s.waiters {
				evicted = s.takeWaitersLocked(id, false)
				break
			}
		}
		ws = make(map[Waker]struct{})
		s.waiters[r.peer] = ws
	}
	ws[w] = struct{}{}
	s.mu.Unlock()
	for w := range evicted {
		w.Wake()
	}
	return true
}

// takeWaitersLocked removes and returns who waits for a route to id, or to
// anyone.
func (s *Switch) takeWaitersLocked(id identity.NodeID, anyone bool) map[Waker]struct{} {
	if !anyone {
		ws := s.waiters[id]
		delete(s.waiters, id)
		return ws
	}
	all := make(map[Waker]struct{})
	for _, ws := range s.waiters {
		for w := range ws {
			all[w] = struct{}{}
		}
	}
	clear(s.waiters)
	return all
}

// Send takes ownership of f, whose destination is set, sets its source and
// queues it. [ErrNoRoute] means that no link leads to the peer.
func (r Route) Send(f *frame.Frame) error {
	if r.peer == r.s.cfg.Self {
		r.s.count.toSelf.Add(1)
		f.Release()
		return ErrSelf
	}
	p, elsewhere := r.find()
	if p != nil {
		return p.Send(f)
	}
	f.SetSrc(r.s.cfg.Self)
	if fw := r.s.forwarding.Load(); elsewhere && fw != nil && fw.Elsewhere(f) {
		r.s.count.elsewhere.Add(1)
		return nil
	}
	r.s.count.noRoute.Add(1)
	f.Release()
	return ErrNoRoute
}

// MaxPacket is the largest packet that the route carries now, 1200 if there is
// no route.
func (r Route) MaxPacket() int {
	if p := r.Port(); p != nil {
		return p.MaxPacket()
	}
	return minMaxPacket
}

// Neighbour reports whether the peer itself is at the other end of a link.
func (r Route) Neighbour() bool { return r.s.port(r.peer) != nil }

// ID returns 0: a route is no link, so nobody is at its other end.
func (r Route) ID() identity.NodeID { return 0 }

// String names the link in use for people.
func (r Route) String() string {
	if p := r.Port(); p != nil {
		return p.String()
	}
	return "no route"
}
