package session

import (
	"math"

	"github.com/weftnet/weft/internal/wire"
)

// plan adds the stream's frames to the session's plan: control frames first,
// then data. It reports whether the stream has more that the next packet can
// take. It runs in the session's goroutine.
func (st *Stream) plan(s *Session) (more bool) {
	st.mu.Lock()
	st.planControl(s)
	more = st.planData(s)
	room := sendQueue - st.out.buf.unsent()
	done := st.done()
	st.mu.Unlock()
	if room >= sendQueue/2 {
		st.writable.set()
	}
	if done {
		s.forget(st)
		return false
	}
	return more
}

// planControl adds what is to be said about the stream. st.mu is held.
func (st *Stream) planControl(s *Session) {
	p, in, out := &s.plan, &st.in, &st.out
	if out.sendOpen {
		out.sendOpen = false
		p.ctrl = wire.AppendValues(p.ctrl, wire.TypeStreamOpen, st.id, uint64(st.kind))
		p.add(wire.TypeStreamOpen, st.id)
	}
	if out.sendYes {
		out.sendYes = false
		p.ctrl = wire.AppendValues(p.ctrl, wire.TypeStreamAccept, st.id)
		p.add(wire.TypeStreamAccept, st.id)
	}
	if in.sendMax {
		in.sendMax = false
		p.ctrl = wire.AppendValues(p.ctrl, wire.TypeMaxStreamData, st.id, in.limit)
		p.add(wire.TypeMaxStreamData, st.id)
	}
	if in.sendStop {
		in.sendStop = false
		p.ctrl = wire.AppendValues(p.ctrl, wire.TypeStopSending, st.id, in.stopCode)
		p.add(wire.TypeStopSending, st.id)
	}
	if out.sendReset {
		out.sendReset = false
		if !out.finalized {
			out.finalized, out.final = true, out.buf.next
			s.discard(&out.buf)
		}
		p.ctrl = wire.AppendValues(p.ctrl, wire.TypeResetStream, st.id, out.resetCode, out.final)
		p.add(wire.TypeResetStream, st.id)
	}
}

// planData adds data as far as windows and the packet allow. st.mu is held.
func (st *Stream) planData(s *Session) (more bool) {
	out := &st.out
	if out.resetting {
		return false
	}
	for {
		room := s.room() - wire.StreamOverhead - 4
		conn := s.sendRoom()
		limit := min(out.limit, out.buf.next+min(conn, math.MaxUint32))
		off, n := out.buf.pending(limit)
		if n == 0 {
			st.planFin(s, room)
			if out.buf.unsent() > 0 && conn == 0 && !st.starved {
				st.starved = true
				s.starved = append(s.starved, st)
			}
			return out.fin && !out.finSent && out.buf.unsent() == 0
		}
		if room <= 0 {
			return true
		}
		data, c, first := out.buf.at(off, min(n, room))
		if first && len(s.plan.parts) > 0 && len(c.data) >= chunkSplit && len(data) < len(c.data) {
			return true // the next packet takes the whole chunk, without copying
		}
		fresh := out.buf.next
		out.buf.sent(off, len(data))
		if out.buf.next > fresh {
			s.sendTotal += out.buf.next - fresh
			s.unacked += out.buf.next - fresh
		}
		s.plan.addPart(part{st: st, off: off, data: data, c: c, first: first, fin: st.takeFin(off + uint64(len(data)))})
	}
}

// takeFin reports whether a frame that ends at end carries FIN. st.mu is held.
func (st *Stream) takeFin(end uint64) bool {
	out := &st.out
	if !out.fin || out.finSent || end != out.buf.end {
		return false
	}
	out.finSent = true
	return true
}

// planFin adds a frame without data if only FIN is left. st.mu is held.
func (st *Stream) planFin(s *Session, room int) {
	if room > 0 && st.takeFin(st.out.buf.next) {
		s.plan.addPart(part{st: st, off: st.out.buf.end, fin: true})
	}
}

// addPart appends a part, joined to the one before where it continues it.
func (p *plan) addPart(pt part) {
	sent := wire.SentFrame{Type: wire.TypeStream, Fin: pt.fin, Len: uint32(len(pt.data)), ID: pt.st.id, Off: pt.off}
	if n := len(p.parts); n > 0 {
		last := &p.parts[n-1]
		if last.st == pt.st && last.off+uint64(len(last.data)) == pt.off {
			pt.more = true
			before := &p.sent[len(p.sent)-1]
			before.Len += sent.Len
			before.Fin = sent.Fin
			p.parts = append(p.parts, pt)
			return
		}
	}
	p.parts = append(p.parts, pt)
	p.sent = append(p.sent, sent)
	p.eliciting = true
}
