package session

import (
	"bytes"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

// candidates are what both sides tell each other of where they may be reached.
type candidates struct {
	own   []byte
	seq   uint64 // of own, from 1; 0: nothing to tell
	due   bool   // must be sent
	acked bool
	heard uint64 // sequence of the peer's latest
}

// SetCandidates tells the peer where this node may be reached, in whatever
// form both sides understand: until the peer has it, or has been told something
// later. Before the session is established it waits. b is not kept, and
// ignored if it is longer than wire.MaxCandidates.
func (s *Session) SetCandidates(b []byte) {
	if len(b) > wire.MaxCandidates {
		return
	}
	own := bytes.Clone(b)
	s.do(func(time.Time) {
		c := &s.cands
		c.own, c.due, c.acked = own, true, false
		c.seq++
	})
}

// planCandidates plans the frame if it fits, before all others: alone it fits
// any packet.
func (s *Session) planCandidates() {
	c, p := &s.cands, &s.plan
	if !c.due || len(p.ctrl) > 0 && s.room() < len(c.own)+candidatesRoom {
		return
	}
	c.due = false
	p.ctrl = wire.AppendCandidates(p.ctrl, c.seq, c.own)
	p.add(wire.TypeCandidates, c.seq)
}

// candidatesRoom is what a CANDIDATES frame needs besides the candidates.
const candidatesRoom = 1 + 8 + 2

func (c *candidates) lost(seq uint64) {
	if seq == c.seq {
		c.due = !c.acked
	}
}

func (c *candidates) ackedSeq(seq uint64) {
	if seq == c.seq {
		c.acked, c.due = true, false
	}
}

// receiveCandidates handles a CANDIDATES frame. Late ones are old news.
func (s *Session) receiveCandidates(fr *wire.Frame) {
	if fr.Value <= s.cands.heard {
		return
	}
	s.cands.heard = fr.Value
	if s.ep.cfg.OnCandidates != nil {
		data := bytes.Clone(fr.Data)
		s.outside(func() { s.ep.cfg.OnCandidates(s, data) })
	}
}
