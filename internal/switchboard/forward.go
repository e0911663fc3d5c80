package switchboard

import (
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// receive takes a frame that came in on p: the switch's rules, in order.
func (s *Switch) receive(p *Port, f *frame.Frame) {
	switch f.Type() {
	case frame.TypeData:
	case frame.TypeNotice:
		s.receiveNotice(p, f)
		return
	default:
		s.drop(f, &s.count.unknownType)
		return
	}
	id, src, dst := p.ID(), f.Src(), f.Dst()
	if !s.mayCarry(p, id, src) {
		s.drop(f, &s.count.wrongSource)
		return
	}
	switch {
	case dst == 0 || dst == s.cfg.Self:
		s.count.delivered.Add(1)
		s.cfg.Deliver(f, p)
	case !s.forwards():
		s.drop(f, &s.count.notForUs)
	case id == 0:
		s.refuse(p, f, &s.count.denied, frame.Notice{Code: frame.NoticeDenied, Node: dst})
	default:
		_ = s.forward(p, f, src, dst)
	}
}

// mayCarry reports whether a frame from src may come in on p, whose node is
// id: nobody speaks for another node but a relay, and nobody for this one.
func (s *Switch) mayCarry(p *Port, id, src identity.NodeID) bool {
	if src == 0 || src == s.cfg.Self {
		return false
	}
	if p.relays() {
		return true
	}
	if id == 0 {
		id = p.cfg.Claimed
	}
	return src == id || id == 0
}

// forward passes a frame on to dst, which is not this node. It came in on p,
// which is bound, or p is nil. It copies nothing and allocates nothing as long
// as the frame gets through.
func (s *Switch) forward(p *Port, f *frame.Frame, src, dst identity.NodeID) error {
	size := len(f.Bytes())
	if p != nil && !p.allow(size) {
		s.throttle(p, f, dst)
		return nil
	}
	hops := f.HopLimit()
	if hops == 0 {
		s.refuse(p, f, &s.count.hopLimit, frame.Notice{Code: frame.NoticeHopLimit, Node: dst})
		return ErrNoRoute
	}
	out, direct, elsewhere := s.wayTo(dst, p)
	if hops--; !direct {
		hops = min(hops, backboneHops)
	}
	f.SetHopLimit(hops)
	switch {
	case out == nil:
		return s.forwardElsewhere(p, f, dst, elsewhere)
	case out == p:
		s.drop(f, &s.count.loop)
		return ErrNoRoute
	}
	if limit := out.link.MaxPacket(); len(f.Packet()) > limit {
		s.refuse(p, f, &s.count.tooBig, frame.Notice{Code: frame.NoticeTooBig, Node: dst, Arg: uint32(limit)})
		return ErrTooBig
	}
	if p != nil && !p.relays() {
		p.note(out, src, dst, direct)
	}
	if err := out.link.Send(f); err != nil { // counted there, too
		s.count.queueFull.Add(1)
		return err
	}
	s.count.forwarded.Add(1)
	s.count.forwardedBytes.Add(uint64(size))
	out.count.forwardedTo.Add(1)
	if p != nil {
		p.count.forwardedFrom.Add(1)
	}
	return nil
}

// wayTo returns the port for frames to dst that came in on via; direct if dst
// itself is at its other end.
func (s *Switch) wayTo(dst identity.NodeID, via *Port) (out *Port, direct, elsewhere bool) {
	if out = s.port(dst); out != nil {
		return out, true, false
	}
	out, elsewhere = s.nextHop(dst, via)
	return out, false, elsewhere
}

// forwardElsewhere is for a frame that no port leads to.
func (s *Switch) forwardElsewhere(p *Port, f *frame.Frame, dst identity.NodeID, elsewhere bool) error {
	if fw := s.forwarding.Load(); elsewhere && fw != nil && fw.Elsewhere != nil {
		if p != nil && !p.relays() {
			p.note(nil, f.Src(), dst, false)
		}
		if fw.Elsewhere(f) {
			s.count.elsewhere.Add(1)
			return nil
		}
	}
	n := frame.Notice{Code: frame.NoticeUnknown, Node: dst}
	if how, ok := s.departed.has(dst, time.Now()); ok {
		n.Code, n.Arg = frame.NoticeGone, how
	}
	s.refuse(p, f, &s.count.unknown, n)
	return ErrNoRoute
}

// Inject takes ownership of a frame that reached this relay by other means than
// a link, and does with it what it does with one from a trusted port. The error
// says why it went no further; nil if it was queued, throttled or delivered.
func (s *Switch) Inject(f *frame.Frame) error {
	src, dst := f.Src(), f.Dst()
	switch {
	case f.Type() == frame.TypeNotice:
		s.receiveNotice(nil, f)
		return nil
	case f.Type() != frame.TypeData:
		s.drop(f, &s.count.unknownType)
		return ErrNoRoute
	case src == s.cfg.Self || src == 0 || dst == 0:
		s.drop(f, &s.count.wrongSource)
		return ErrNoRoute
	case dst == s.cfg.Self:
		s.count.delivered.Add(1)
		s.cfg.Deliver(f, nil)
		return nil
	case !s.forwards():
		s.drop(f, &s.count.notForUs)
		return ErrNoRoute
	}
	return s.forward(nil, f, src, dst)
}

// allow takes a frame of n bytes off the port's limits.
func (p *Port) allow(n int) bool {
	if p.bytes == nil && p.packets == nil || p.trusted.Load() {
		return true
	}
	now := time.Now()
	return (p.packets == nil || p.packets.AllowN(now, 1)) && (p.bytes == nil || p.bytes.AllowN(now, n))
}

// note makes sure that the nodes of p and out learn when the other goes away. If
// dst is not attached here, out does not matter.
func (p *Port) note(out *Port, src, dst identity.NodeID, direct bool) {
	var mark uint64
	if direct {
		mark = out.epoch.Load()
	} else {
		mark = p.s.remote.mark(dst)
	}
	slot := &p.recent[uint64(dst)%uint64(len(p.recent))]
	if *slot == mark {
		return
	}
	*slot = mark
	if !direct {
		p.s.remote.add(dst, src)
		return
	}
	p.correspondents.Load().add(dst)
	out.correspondents.Load().add(src)
}
