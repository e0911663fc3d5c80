package session

import (
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/handshake"
	"github.com/weftnet/weft/internal/recovery"
	"github.com/weftnet/weft/internal/wire"
)

type packet = recovery.Packet

// controlRoom is the room kept for the frames of one stream that are not
// data: five frames of a type and up to three integers.
const controlRoom = 5 * 25

// ackBase and ackRange bound the size of an ACK frame and the IMMEDIATE_ACK
// that may follow it: fixed part, and each range.
const (
	ackBase  = 24
	ackRange = 8
)

// A part is a run of stream data in a packet that is being planned.
type part struct {
	st    *Stream
	off   uint64
	data  []byte
	c     chunk
	first bool // data is the beginning of c
	more  bool // the previous part continues here: no header of its own
	fin   bool
}

// A plan is a packet before its buffer is taken: frames that are already
// encoded, and data that are still where Write put them.
type plan struct {
	ctrl      []byte
	parts     []part
	sent      []wire.SentFrame
	eliciting bool
	probing   bool // nothing but a path frame: not tracked
}

func (p *plan) reset() {
	p.ctrl, p.sent, p.eliciting, p.probing = p.ctrl[:0], p.sent[:0], false, false
	clear(p.parts)
	p.parts = p.parts[:0]
}

// add records a frame that was appended to ctrl and must arrive.
func (p *plan) add(kind uint8, id uint64) {
	p.sent = append(p.sent, wire.SentFrame{Type: kind, ID: id})
	p.eliciting = true
}

// size is the length of the payload, with every part's header at its largest.
func (p *plan) size() int {
	n := len(p.ctrl)
	for i := range p.parts {
		n += len(p.parts[i].data)
		if !p.parts[i].more {
			n += wire.StreamOverhead + 4
		}
	}
	return n
}

// pathReady reports whether the path takes a packet now; if not, the session
// will be woken when it does.
func (s *Session) pathReady() bool {
	return s.ownPath.Ready(s)
}

// send sends all that may be sent now.
func (s *Session) send(now time.Time) {
	s.paceUntil = time.Time{}
	s.updateWindow()
	s.sendResponses(now)
	for s.closing == nil {
		if !s.pathReady() {
			s.det.AppLimited()
			return
		}
		f := s.buildHandshake(now)
		if f == nil {
			f = s.buildApp(now)
		}
		if f == nil {
			return
		}
		s.transmit(f, s.ownPath)
	}
}

// transmit hands a packet to a path.
func (s *Session) transmit(f *frame.Frame, p Path) {
	f.SetDst(s.peerID)
	s.count.PacketsSent++
	s.count.BytesSent += uint64(len(f.Packet()))
	if p == s.paths.route {
		s.paths.routeOut += uint64(len(f.Packet()))
	}
	if s.unsure && s.state == handshaking {
		if s.budget -= f.Len(); s.budget < 0 {
			s.budget += f.Len()
			s.count.Unproven++
			f.Release()
			return
		}
	}
	if s.quick {
		f.SetUrgent()
	}
	_ = p.Send(f) // a frame that a path drops is found lost like any other
}

// buildApp builds the next 1-RTT packet, or returns nil if there is nothing to
// send or not now.
func (s *Session) buildApp(now time.Time) *frame.Frame {
	if s.app == nil || !s.hs.CanSendApp() || s.state != established {
		return nil
	}
	sp, p := &s.spaces[wire.SpaceApp], &s.plan
	p.reset()
	probing := s.probes[wire.SpaceApp] > 0
	ok, when := s.det.CanSend(now, wire.MinPacket)
	if ok || probing {
		s.planControl()
		s.planDatagrams(now)
		s.planStreams()
		if probing && !p.eliciting {
			p.ctrl = append(p.ctrl, wire.TypePing)
			p.eliciting = true
		}
		if !p.eliciting {
			s.det.AppLimited()
		}
	} else if s.wantsToSend() {
		s.paceUntil = when
	}
	if !p.eliciting && !sp.ackDue(now) {
		return nil
	}
	if (sp.pending > 0 || sp.ackNow) && s.room() >= 0 {
		largest := sp.largest()
		p.ctrl = sp.appendAck(p.ctrl, now)
		p.sent = append(p.sent, wire.SentFrame{Type: wire.TypeAck, Off: largest})
	}
	if p.eliciting && s.det.InFlight()+p.size() >= s.det.Window() {
		p.ctrl = append(p.ctrl, wire.TypeImmediateAck)
	}
	if probing && p.eliciting {
		s.probes[wire.SpaceApp]--
	}
	return s.sealApp(now)
}

// wantsToSend reports whether anything but acknowledgements waits.
func (s *Session) wantsToSend() bool {
	return s.round.len() > 0 || s.sendMaxData || s.sendMaxStreams || s.sendDone || s.cands.due || s.pingsDue() || s.datagramsDue()
}

// planControl plans the frames that concern the whole session.
func (s *Session) planControl() {
	p := &s.plan
	s.planCandidates()
	if s.sendDone {
		s.sendDone = false
		p.ctrl = append(p.ctrl, wire.TypeHandshakeDone)
		p.add(wire.TypeHandshakeDone, 0)
	}
	if s.sendMaxData {
		s.sendMaxData = false
		p.ctrl = wire.AppendValues(p.ctrl, wire.TypeMaxData, s.recvMax)
		p.add(wire.TypeMaxData, 0)
	}
	if s.sendMaxStreams {
		s.sendMaxStreams = false
		p.ctrl = wire.AppendValues(p.ctrl, wire.TypeMaxStreams, s.maxAccept)
		p.add(wire.TypeMaxStreams, 0)
	}
	s.planPings()
}

// room is how much payload the plan still has room for. An ACK frame and
// IMMEDIATE_ACK may have to fit as well.
func (s *Session) room() int {
	ack := ackBase + ackRange*min(len(s.spaces[wire.SpaceApp].recv), maxSentRanges)
	return s.packetLimit() - wire.ShortHeaderLen - handshake.Overhead - ack - s.plan.size()
}

// planStreams lets streams take turns until the packet is full.
func (s *Session) planStreams() {
	for s.round.len() > 0 && s.room() >= controlRoom+wire.StreamOverhead {
		st := s.round.pop()
		if st.plan(s) {
			s.round.push(st) // its turn comes again
			return
		}
		st.enlisted = false
	}
}

// sealApp turns the plan into a sealed packet and records it as sent.
func (s *Session) sealApp(now time.Time) *frame.Frame {
	sp, p := &s.spaces[wire.SpaceApp], &s.plan
	if s.leaveOut.due(sp.next) {
		s.det.LeftOut(wire.SpaceApp, sp.next)
		sp.next++
	}
	pn := sp.next
	sp.next++
	if s.app.NeedsUpdate() {
		s.app.Update()
	}
	h := wire.Header{Space: wire.SpaceApp, Dst: s.remoteID, Phase: s.app.Phase(), Number: uint32(pn)}

	var f *frame.Frame
	if text := p.inPlace(); text != nil {
		f = frame.New(wire.ShortHeaderLen + len(text) + handshake.Overhead)
		header := wire.AppendShort(f.Packet()[:0], h)
		s.app.Seal(header, header, text, pn)
	} else {
		f = frame.New(wire.ShortHeaderLen + p.size() + handshake.Overhead)
		header := wire.AppendShort(f.Packet()[:0], h)
		text := p.assemble(header)[wire.ShortHeaderLen:]
		out := s.app.Seal(header, header, text, pn)
		f.Truncate(len(out))
	}
	if p.probing {
		s.det.Untracked(wire.SpaceApp, pn)
		s.fail(s.usedUp())
		return f
	}
	rec := s.det.NewPacket()
	rec.Number, rec.Space, rec.Size = pn, wire.SpaceApp, len(f.Packet())
	rec.AckEliciting, rec.InFlight = p.eliciting, p.eliciting
	rec.Frames = append(rec.Frames, p.sent...)
	s.det.Sent(now, rec)
	if p.eliciting {
		s.progress.sent(now)
	}
	if p.eliciting && s.awaiting.IsZero() {
		s.awaiting = now
	}
	s.fail(s.usedUp())
	return f
}

// inPlace returns the payload if it can be laid out in the headroom before
// the data of the plan's only part, without copying these; nil otherwise.
func (p *plan) inPlace() []byte {
	if len(p.parts) != 1 || !p.parts[0].first || len(p.parts[0].data) < chunkSplit {
		return nil
	}
	pt := &p.parts[0]
	p.ctrl = wire.AppendStreamHeader(p.ctrl, pt.st.id, pt.off, len(pt.data), pt.fin, false)
	if len(p.ctrl) > chunkHeadroom {
		p.ctrl = p.ctrl[:len(p.ctrl)-streamHeaderLen(pt)]
		return nil
	}
	copy(pt.c.prefix(len(p.ctrl)), p.ctrl)
	start := chunkHeadroom - len(p.ctrl)
	return pt.c.f.Bytes()[frame.HeaderLen+start : frame.HeaderLen+chunkHeadroom+len(pt.data)]
}

func streamHeaderLen(pt *part) int {
	var b [wire.StreamOverhead]byte
	return len(wire.AppendStreamHeader(b[:0], pt.st.id, pt.off, len(pt.data), pt.fin, false))
}

// assemble appends the payload to b by copying.
func (p *plan) assemble(b []byte) []byte {
	b = append(b, p.ctrl...)
	for i := 0; i < len(p.parts); {
		pt, n, fin, j := &p.parts[i], len(p.parts[i].data), p.parts[i].fin, i+1
		for ; j < len(p.parts) && p.parts[j].more; j++ {
			n += len(p.parts[j].data)
			fin = p.parts[j].fin
		}
		b = wire.AppendStreamHeader(b, pt.st.id, pt.off, n, fin, j < len(p.parts))
		for ; i < j; i++ {
			b = append(b, p.parts[i].data...)
		}
	}
	return b
}

// closeCopies is how often a CONNECTION_CLOSE is sent on a path that has lost
// packets: nobody acknowledges it, and a peer that misses it while the whole
// node goes away finds out only by its timeouts.
const closeCopies = 4

// sendClose tells the peer that the session has ended. Should it be lost, the
// peer's next packet is answered with a stateless reset.
func (s *Session) sendClose(now time.Time) {
	if s.peerClosed {
		return
	}
	code, reason, tell := wireCause(s.closing.err)
	if !tell {
		return
	}
	if s.state == established {
		copies := 1
		if s.det.Stats().Lost > 0 {
			copies = closeCopies
		}
		for range copies {
			s.plan.reset()
			s.plan.ctrl = wire.AppendClose(s.plan.ctrl, code, reason)
			s.transmit(s.sealApp(now), s.ownPath)
		}
		return
	}
	s.sendHandshakeClose(now, code, reason)
}
