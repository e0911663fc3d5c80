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
		s.forward(p, f, src, dst)
	}
}

// mayCarry reports whether a frame from src may come in on p, whose node is
// id: nobody speaks for another node but a relay, and nobody for this one.
func (s *Switch) mayCarry(p *Port, id, src identity.NodeID) bool {
	if src == 0 || src == s.cfg.Self {
		return false
	}
	if p.cfg.Uplink {
		return true
	}
	if id == 0 {
		id = p.cfg.Claimed
	}
	return src == id || id == 0
}

// forward passes a frame of a bound port on to dst. It copies nothing and
// allocates nothing as long as the frame gets through.
func (s *Switch) forward(p *Port, f *frame.Frame, src, dst identity.NodeID) {
	size := len(f.Bytes())
	if !p.allow(size) {
		s.throttle(p, f, dst)
		return
	}
	hops := f.HopLimit()
	if hops == 0 {
		s.refuse(p, f, &s.count.hopLimit, frame.Notice{Code: frame.NoticeHopLimit, Node: dst})
		return
	}
	f.SetHopLimit(hops - 1)
	out := s.port(dst)
	direct := out != nil
	if !direct && s.cfg.NextHop != nil {
		out = s.cfg.NextHop(dst, p)
	}
	switch {
	case out == nil:
		s.forwardElsewhere(p, f, dst)
		return
	case out == p:
		s.drop(f, &s.count.loop)
		return
	}
	if limit := out.link.MaxPacket(); len(f.Packet()) > limit {
		s.refuse(p, f, &s.count.tooBig, frame.Notice{Code: frame.NoticeTooBig, Node: dst, Arg: uint32(limit)})
		return
	}
	if direct && !p.cfg.Uplink {
		p.note(out, src, dst)
	}
	if out.link.Send(f) != nil { // counted there, too
		s.count.queueFull.Add(1)
		return
	}
	s.count.forwarded.Add(1)
	s.count.forwardedBytes.Add(uint64(size))
	p.count.forwardedFrom.Add(1)
	out.count.forwardedTo.Add(1)
}

// forwardElsewhere is for a frame that no port leads to.
func (s *Switch) forwardElsewhere(p *Port, f *frame.Frame, dst identity.NodeID) {
	if s.cfg.Elsewhere != nil && s.cfg.Elsewhere(f, p) {
		s.count.elsewhere.Add(1)
		return
	}
	n := frame.Notice{Code: frame.NoticeUnknown, Node: dst}
	if how, ok := s.departed.has(dst, time.Now()); ok {
		n.Code, n.Arg = frame.NoticeGone, how
	}
	s.refuse(p, f, &s.count.unknown, n)
}

// Inject takes ownership of a data frame that reached this relay by other means
// than a link, and delivers it or sends it to the node it is for, which must be
// attached here. The error is [ErrNoRoute], [ErrTooBig], or that of the link.
func (s *Switch) Inject(f *frame.Frame) error {
	dst := f.Dst()
	if f.Type() != frame.TypeData || f.Src() == s.cfg.Self || f.Src() == 0 {
		s.drop(f, &s.count.wrongSource)
		return ErrNoRoute
	}
	if dst == s.cfg.Self {
		s.count.delivered.Add(1)
		s.cfg.Deliver(f, nil)
		return nil
	}
	out, hops := s.port(dst), f.HopLimit()
	switch {
	case out == nil || !s.forwards():
		s.drop(f, &s.count.unknown)
		return ErrNoRoute
	case hops == 0:
		s.drop(f, &s.count.hopLimit)
		return ErrNoRoute
	case len(f.Packet()) > out.link.MaxPacket():
		s.drop(f, &s.count.tooBig)
		return ErrTooBig
	}
	f.SetHopLimit(hops - 1)
	if err := out.link.Send(f); err != nil {
		s.count.queueFull.Add(1)
		return err
	}
	s.count.forwarded.Add(1)
	out.count.forwardedTo.Add(1)
	return nil
}

// allow takes a frame of n bytes off the port's limits.
func (p *Port) allow(n int) bool {
	if p.bytes == nil && p.packets == nil {
		return true
	}
	now := time.Now()
	return (p.packets == nil || p.packets.AllowN(now, 1)) && (p.bytes == nil || p.bytes.AllowN(now, n))
}

// note makes sure that the nodes of p and out learn when the other goes away.
func (p *Port) note(out *Port, src, dst identity.NodeID) {
	epoch := out.epoch.Load()
	slot := &p.recent[uint64(dst)%uint64(len(p.recent))]
	if *slot == epoch {
		return
	}
	*slot = epoch
	p.correspondents.Load().add(dst)
	out.correspondents.Load().add(src)
}
