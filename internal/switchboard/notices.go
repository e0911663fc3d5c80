package switchboard

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// drop throws a frame away and counts why.
func (s *Switch) drop(f *frame.Frame, why *atomic.Uint64) {
	why.Add(1)
	f.Release()
}

// refuse drops f, counts why, and tells its source. p is where it came in, nil
// if on no port.
func (s *Switch) refuse(p *Port, f *frame.Frame, why *atomic.Uint64, n frame.Notice) {
	src := f.Src()
	s.drop(f, why)
	if p != nil {
		p.notify(n, src)
		return
	}
	nf := frame.NewNotice(n)
	nf.SetDst(src)
	s.passNotice(nil, nf)
}

// throttle drops a frame over p's limits and says so once in a while.
func (s *Switch) throttle(p *Port, f *frame.Frame, dst identity.NodeID) {
	src := f.Src()
	s.drop(f, &s.count.throttled)
	p.count.throttled.Add(1)
	now, last := time.Now().UnixNano(), p.throttled.Load()
	if now-last < int64(throttledEvery) || !p.throttled.CompareAndSwap(last, now) {
		return
	}
	p.notify(frame.Notice{Code: frame.NoticeThrottled, Node: dst}, src)
	if fw := s.forwarding.Load(); fw != nil && fw.OnThrottled != nil {
		fw.OnThrottled(src, p.count.throttled.Load())
	}
}

// notify sends a notice for node to over p, within p's limit. If the neighbour
// is a relay, to is some node behind it, to which it passes the notice on.
func (p *Port) notify(n frame.Notice, to identity.NodeID) {
	f := frame.NewNotice(n)
	if p.relays() {
		f.SetDst(to)
	}
	p.sendNotice(f)
}

// sendNotice takes ownership of a notice and sends it within p's limit.
func (p *Port) sendNotice(f *frame.Frame) {
	if !p.notices.Allow() {
		p.s.drop(f, &p.s.count.noticesLimited)
		return
	}
	if p.link.Send(f) == nil {
		p.s.count.notices.Add(1)
	}
}

// Notify sends a notice to a node that is bound here; others are ignored.
func (s *Switch) Notify(to identity.NodeID, n frame.Notice) {
	if p := s.port(to); p != nil {
		p.notify(n, to)
	}
}

// tell sends n to all of known that are still bound.
func (s *Switch) tell(known *correspondents, n frame.Notice) {
	if !s.forwards() {
		return
	}
	for _, id := range known.snapshot() {
		s.Notify(id, n)
	}
}

// receiveNotice takes a notice that came in on p, nil if on no port: for this
// node, or for one attached here whose frame went to another relay.
func (s *Switch) receiveNotice(p *Port, f *frame.Frame) {
	n, err := frame.ParseNotice(f.Packet())
	if err != nil || p != nil && !p.relays() {
		s.drop(f, &s.count.badNotice)
		return
	}
	dst := f.Dst()
	switch {
	case dst == 0 || dst == s.cfg.Self:
		f.Release()
		s.count.noticesIn.Add(1)
		if s.cfg.Notice != nil {
			s.cfg.Notice(n, p)
		}
	case !s.forwards() || p != nil && p.ID() == 0:
		s.drop(f, &s.count.badNotice)
	default:
		s.passNotice(p, f)
	}
}

// passNotice takes ownership of a notice that came in on p, nil if on no port,
// and passes it on to the node it is for.
func (s *Switch) passNotice(p *Port, f *frame.Frame) {
	hops := f.HopLimit()
	out, direct, elsewhere := s.wayTo(f.Dst(), p)
	fw := s.forwarding.Load()
	switch {
	case hops == 0 || fw == nil || out == p && out != nil:
		s.drop(f, &s.count.badNotice)
	case out != nil:
		f.SetHopLimit(min(hops-1, backboneHops))
		if direct && !out.relays() {
			f.SetDst(0)
		}
		out.sendNotice(f)
	default:
		f.SetHopLimit(min(hops-1, backboneHops))
		if !elsewhere || fw.Elsewhere == nil || !fw.Elsewhere(f) {
			s.drop(f, &s.count.badNotice)
		}
	}
}

// correspondents are the nodes that exchanged frames with one bound node
// lately. The zero value is empty.
type correspondents struct {
	mu   sync.Mutex
	ids  []identity.NodeID
	next int // which one is replaced when the set is full
}

func (c *correspondents) add(id identity.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case slices.Contains(c.ids, id):
	case len(c.ids) < maxCorrespondents:
		c.ids = append(c.ids, id)
	default:
		c.ids[c.next] = id
		c.next = (c.next + 1) % maxCorrespondents
	}
}

func (c *correspondents) snapshot() []identity.NodeID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ids)
}

// departures remember for a while which nodes were bound and who talked to
// them. The zero value is empty; safe for concurrent use.
type departures struct {
	mu    sync.Mutex
	nodes map[identity.NodeID]*departure
	order []*departure // oldest first, with some that came back since
}

type departure struct {
	id    identity.NodeID
	at    time.Time
	how   uint32 // the Arg of notices about it
	known *correspondents
}

func (d *departures) add(id identity.NodeID, known *correspondents, how uint32, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nodes == nil {
		d.nodes = make(map[identity.NodeID]*departure)
	}
	e := &departure{id, now, how, known}
	d.nodes[id] = e
	d.order = append(d.order, e)
	d.expireLocked(now)
	if len(d.order) > 2*maxDeparted {
		d.order = slices.DeleteFunc(d.order, func(e *departure) bool { return d.nodes[e.id] != e })
	}
}

// expireLocked forgets what is too old or too much.
func (d *departures) expireLocked(now time.Time) {
	for len(d.order) > 0 {
		e := d.order[0]
		away := d.nodes[e.id] == e
		if away && now.Sub(e.at) < departedFor && len(d.nodes) <= maxDeparted {
			return
		}
		if away {
			delete(d.nodes, e.id)
		}
		d.order[0] = nil
		d.order = d.order[1:]
	}
	d.order = nil
}

// has reports whether id is remembered, and how it went away.
func (d *departures) has(id identity.NodeID, now time.Time) (how uint32, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expireLocked(now)
	e := d.nodes[id]
	if e == nil {
		return 0, false
	}
	return e.how, true
}

// take forgets id and returns who talked to it, nil if it is not remembered.
func (d *departures) take(id identity.NodeID) *correspondents {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.nodes[id]
	if e == nil {
		return nil
	}
	delete(d.nodes, id)
	return e.known
}
