package switchboard

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
)

// A Waker is told when a route that was not ready may be so now. Wake must not
// block.
type Waker = link.Waker

// A Switch moves frames between ports. All methods are safe for concurrent
// use.
type Switch struct {
	cfg        Config
	count      counters
	forwarding atomic.Pointer[Forwarding] // nil: no relay

	bound   sync.Map                                  // identity.NodeID -> *Port; changed with mu held
	uplinks atomic.Pointer[[]*Port]                   // bound uplinks, oldest first; changed with mu held
	detours atomic.Pointer[map[identity.NodeID]*Port] // peers to which another uplink leads than the first; changed with mu held

	departed departures
	remote   remotes

	mu      sync.Mutex
	closed  bool
	ports   map[*Port]struct{}
	spares  map[identity.NodeID][]*Port            // further ports to relays, the next to be used last
	epoch   uint64                                 // counts bindings
	waiters map[identity.NodeID]map[Waker]struct{} // who wants a route to whom
}

// New returns a switch without ports.
func New(cfg Config) *Switch {
	s := &Switch{
		cfg:     cfg,
		ports:   make(map[*Port]struct{}),
		spares:  make(map[identity.NodeID][]*Port),
		waiters: make(map[identity.NodeID]map[Waker]struct{}),
	}
	s.uplinks.Store(new([]*Port))
	s.detours.Store(new(map[identity.NodeID]*Port))
	s.SetForwarding(cfg.Forwarding)
	return s
}

// SetForwarding makes the switch that of a relay, or no longer if f is nil, in
// place of Config.Forwarding. The limits apply to ports that are attached from
// now on. f must not be changed afterwards.
func (s *Switch) SetForwarding(f *Forwarding) { s.forwarding.Store(f) }

func (s *Switch) forwards() bool { return s.forwarding.Load() != nil }

// nextHop asks Forwarding.NextHop.
func (s *Switch) nextHop(dst identity.NodeID, via *Port) (out *Port, elsewhere bool) {
	fw := s.forwarding.Load()
	if fw == nil || fw.NextHop == nil {
		return nil, false
	}
	return fw.NextHop(dst, via)
}

// Attach starts a link on fc, which the switch owns from now on, and returns
// its port. The port goes away by itself when the link ends. On a closed
// switch the port is closed already.
func (s *Switch) Attach(fc link.FrameConn, cfg PortConfig) *Port {
	p := newPort(s, fc, cfg)
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.ports[p] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		p.link.CloseWithError(ErrClosed)
		return p
	}
	p.link.Start()
	s.log(p, nil, "link attached")
	return p
}

// Bind says that the neighbour on p has proven to be id. From now on frames
// with that source are accepted from p, and frames to id go there. A former
// port of id is closed: the newest wins. If one is trusted, both stay: two relays
// may have dialled each other, or one may use the other as its nodes do. Trusted
// ones are used first, of those the newest, and the next when that ends.
func (s *Switch) Bind(p *Port, id identity.NodeID) {
	if id == s.cfg.Self || id == 0 {
		p.link.CloseWithError(ErrSelf)
		return
	}
	s.mu.Lock()
	if _, ok := s.ports[p]; !ok || p.ID() == id {
		s.mu.Unlock()
		return
	}
	other, _ := s.unbindLocked(p, 0)
	former := s.port(id)
	var known *correspondents
	first := p
	switch {
	case former == nil:
		known = s.departed.take(id)
	case p.Trusted() || former.Trusted():
		known = former.correspondents.Load()
		first = s.spareLocked(id, p, former)
		former = nil
	default:
		known = former.correspondents.Load()
		s.forgetLocked(former)
	}
	back := known != nil
	if !back {
		known = s.remote.take(id)
	}
	if known == nil {
		known = new(correspondents)
	}
	s.epoch++
	p.epoch.Store(s.epoch)
	p.correspondents.Store(known)
	p.id.Store(uint64(id))
	s.bound.Store(id, first)
	if p.cfg.Uplink {
		s.uplinks.Store(new(append(slices.Clone(*s.uplinks.Load()), p)))
	}
	woken := s.takeWaitersLocked(id, p.cfg.Uplink)
	s.mu.Unlock()

	s.log(p, nil, "link bound")
	if former != nil {
		former.link.CloseWithError(ErrReplaced)
	}
	if other != 0 && s.cfg.OnUnbind != nil {
		s.cfg.OnUnbind(other, p)
	}
	for w := range woken {
		w.Wake()
	}
	if back {
		s.tell(known, frame.Notice{Code: frame.NoticeBack, Node: id})
	}
}

// remove forgets a port whose link has ended.
func (s *Switch) remove(p *Port, err error) {
	how := uint32(0)
	if link.HungUp(err) {
		how = frame.GoneHungUp
	}
	s.mu.Lock()
	delete(s.ports, p)
	id, known := s.unbindLocked(p, how)
	if id == 0 {
		s.mu.Unlock()
		s.log(p, err, "link down")
		return
	}
	woken := s.takeWaitersLocked(id, p.cfg.Uplink) // there may be another way
	s.mu.Unlock()
	s.log(p, err, "link down")
	for w := range woken {
		w.Wake()
	}
	if out, elsewhere := s.nextHop(id, nil); out != nil || elsewhere {
		s.NodeMoved(id)
	} else {
		s.tell(known, frame.Notice{Code: frame.NoticeGone, Node: id, Arg: how})
	}
	if s.cfg.OnUnbind != nil {
		s.cfg.OnUnbind(id, p)
	}
}

// unbindLocked makes p's node, if it has one and no other port leads to it, a
// departed one; how is the Arg of notices about that.
func (s *Switch) unbindLocked(p *Port, how uint32) (identity.NodeID, *correspondents) {
	id := p.ID()
	if id == 0 {
		return 0, nil
	}
	if s.unspareLocked(p, id) {
		s.forgetLocked(p)
		return 0, nil
	}
	known := p.correspondents.Load()
	s.departed.add(id, known, how, time.Now())
	s.bound.Delete(id)
	s.forgetLocked(p)
	return id, known
}

// spareLocked makes p or former, at least one of which is trusted, a spare port to
// the relay id, and returns the other.
func (s *Switch) spareLocked(id identity.NodeID, p, former *Port) (first *Port) {
	switch {
	case !p.Trusted():
		s.spares[id] = slices.Insert(s.spares[id], 0, p)
		return former
	case !former.Trusted():
		s.spares[id] = slices.Insert(s.spares[id], 0, former)
	default:
		s.spares[id] = append(s.spares[id], former)
	}
	return p
}

// unspareLocked makes do without p, which is bound to the relay id, if another
// port leads there.
func (s *Switch) unspareLocked(p *Port, id identity.NodeID) bool {
	spares := s.spares[id]
	if len(spares) == 0 {
		return false
	}
	if s.port(id) == p {
		last := len(spares) - 1
		s.bound.Store(id, spares[last])
		spares = spares[:last]
	} else {
		spares = slices.DeleteFunc(spares, func(q *Port) bool { return q == p })
	}
	if s.spares[id] = spares; len(spares) == 0 {
		delete(s.spares, id)
	}
	return true
}

// forgetLocked makes p an unbound port.
func (s *Switch) forgetLocked(p *Port) {
	p.id.Store(0)
	if p.cfg.Uplink {
		rest := slices.Clone(*s.uplinks.Load())
		rest = slices.DeleteFunc(rest, func(q *Port) bool { return q == p })
		s.uplinks.Store(&rest)
		s.endDetoursLocked(p)
	}
}

// port returns the port that id is bound to, or nil.
func (s *Switch) port(id identity.NodeID) *Port {
	v, _ := s.bound.Load(id)
	p, _ := v.(*Port)
	return p
}

// Port returns the port that id is bound to, or nil.
func (s *Switch) Port(id identity.NodeID) *Port { return s.port(id) }

// Ports returns the attached ports, bound or not, in no order.
func (s *Switch) Ports() []*Port {
	s.mu.Lock()
	defer s.mu.Unlock()
	ps := make([]*Port, 0, len(s.ports))
	for p := range s.ports {
		ps = append(ps, p)
	}
	return ps
}

// Close closes all ports and waits for them. It must not be called from a
// callback.
func (s *Switch) Close() error {
	s.mu.Lock()
	s.closed = true
	woken := s.takeWaitersLocked(0, true)
	s.mu.Unlock()
	ports := s.Ports()
	for _, p := range ports {
		p.link.CloseWithError(ErrClosed)
	}
	for _, p := range ports {
		<-p.Done()
	}
	for w := range woken {
		w.Wake()
	}
	return nil
}

func (s *Switch) log(p *Port, err error, what string) {
	if s.cfg.Logger == nil {
		return
	}
	entry := s.cfg.Logger.WithFields(logrus.Fields{"link": p.String(), "node": p.who().String()})
	if err != nil {
		entry = entry.WithError(err)
	}
	entry.Debug(what)
}
