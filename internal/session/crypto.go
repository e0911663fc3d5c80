package session

import (
	"crypto/subtle"
	"errors"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/handshake"
	"github.com/weftnet/weft/internal/wire"
)

const (
	// cryptoWindow bounds how far ahead the CRYPTO bytes are that a space takes
	// out of order.
	cryptoWindow = 64 << 10
	// cryptoMemory bounds the memory that they hold, in bytes: whoever has sent
	// them has not proven anything yet. It suffices for sixteen packets of any
	// handshake, which takes less than ten, in any order.
	cryptoMemory = 32 << 10
)

// handleCrypto feeds handshake bytes to TLS (RFC 9001 section 4).
func (s *Session) handleCrypto(now time.Time, id wire.Space, fr *wire.Frame, it item) error {
	sp := &s.spaces[id]
	if id == wire.SpaceApp {
		return violation(CodeProtocol, "CRYPTO after the handshake")
	}
	if fr.Off+uint64(len(fr.Data)) > sp.in.read+cryptoWindow {
		return violation(CodeProtocol, "too much CRYPTO data")
	}
	if len(fr.Data) > 0 {
		if err := sp.in.insert(fr.Off, fr.Data, it.f, cryptoMemory); err != nil {
			return violation(CodeProtocol, "CRYPTO: %v", err)
		}
	}
	for data := sp.in.peek(); len(data) > 0; data = sp.in.peek() {
		err := s.hs.Receive(id, data)
		sp.in.skip(len(data))
		if err != nil {
			return err
		}
	}
	s.takeCrypto()
	if s.hs.Done() && s.state == handshaking {
		return s.establish(now, it)
	}
	return nil
}

// takeCrypto moves what TLS has to say, and its keys, to the spaces.
func (s *Session) takeCrypto() {
	for id := range wire.SpaceApp {
		if b := s.hs.Take(id); len(b) > 0 {
			s.spaces[id].out.write(b)
		}
	}
	if sp := &s.spaces[wire.SpaceHandshake]; !sp.dropped {
		sp.read, sp.write = s.hs.ReadKeys(wire.SpaceHandshake), s.hs.WriteKeys(wire.SpaceHandshake)
	}
}

// establish makes an authenticated session of a finished handshake.
func (s *Session) establish(now time.Time, it item) error {
	params, err := wire.ParseParams(s.hs.PeerParams())
	if err != nil {
		return violation(CodeParams, "%v", err)
	}
	if params.Src != s.remoteID || s.client && params.OrigDst != s.origDst {
		return violation(CodeParams, "the peer's session IDs are not those of its packets")
	}
	peer := s.hs.Peer()
	if s.peerID != 0 && s.peerID != peer.ID {
		return violation(CodeProtocol, "node %s claims to be %s", peer.ID, s.peerID)
	}
	s.app, s.state, s.peerID = s.hs.AppKeys(), established, peer.ID
	s.expect.Store(uint64(peer.ID))
	s.sendMax = params.MaxData
	s.idleSince = now
	s.det.SetMaxAckDelay(params.MaxAckDelay)

	s.mu.Lock()
	s.peer, s.params, s.maxOpen = peer, params, params.MaxStreams
	s.mu.Unlock()
	if !s.client {
		s.sendDone = true
		s.confirm()
	}
	s.sought(it)
	s.startPaths(now, it)
	if s.ep.cfg.OnSession != nil {
		s.ep.cfg.OnSession(s)
	}
	s.ep.established(s, params.Instance)
	close(s.ready)
	early := s.early
	s.early = nil
	for _, it := range early {
		s.receive(now, it)
	}
	return nil
}

// confirm drops what only the handshake needed (RFC 9001 section 4.1.2).
func (s *Session) confirm() {
	if s.confirmed {
		return
	}
	s.confirmed = true
	s.det.HandshakeConfirmed()
	s.dropSpace(wire.SpaceInitial)
	s.dropSpace(wire.SpaceHandshake)
	s.hs.Close()
	s.plan = plan{} // its room was that of a handshake's packets
}

func (s *Session) dropSpace(id wire.Space) {
	if !s.spaces[id].dropped {
		s.spaces[id].drop()
		s.det.DropSpace(id)
		s.probes[id] = 0
	}
}

// buildHandshake builds the next frame with Initial and Handshake packets, or
// returns nil. It never exceeds wire.MinPacket, which every path carries
// (RFC 9000 section 14).
func (s *Session) buildHandshake(now time.Time) *frame.Frame {
	if s.confirmed {
		return nil
	}
	var f *frame.Frame
	var b []byte
	for id := range wire.SpaceApp {
		if !s.handshakeDue(now, id) {
			continue
		}
		if f == nil {
			f = frame.New(wire.MinPacket)
			b = f.Packet()[:0]
		}
		if wire.MinPacket-len(b) < wire.LongHeaderLen+handshake.Overhead+64 {
			break
		}
		b = s.appendHandshake(b, now, id)
	}
	if f == nil {
		return nil
	}
	f.Truncate(len(b))
	return f
}

// handshakeDue reports whether a space has something to send.
func (s *Session) handshakeDue(now time.Time, id wire.Space) bool {
	sp := &s.spaces[id]
	if sp.write == nil {
		return false
	}
	_, n := sp.out.pending(^uint64(0))
	return n > 0 || sp.ackDue(now) || s.probes[id] > 0
}

// appendHandshake appends one Initial or Handshake packet.
func (s *Session) appendHandshake(b []byte, now time.Time, id wire.Space) []byte {
	sp, p := &s.spaces[id], &s.plan
	p.reset()
	if len(sp.recv) > 0 && (sp.pending > 0 || sp.ackNow) {
		p.sent = append(p.sent, wire.SentFrame{Type: wire.TypeAck, Off: sp.largest()})
		p.ctrl = sp.appendAck(p.ctrl, now)
	}
	room := wire.MinPacket - len(b) - wire.LongHeaderLen - handshake.Overhead - 16
	for {
		off, n := sp.out.pending(^uint64(0))
		if n = min(n, room-len(p.ctrl)); n <= 0 {
			break
		}
		data, _, _ := sp.out.at(off, n)
		sp.out.sent(off, len(data))
		p.ctrl = wire.AppendCrypto(p.ctrl, off, data)
		p.sent = append(p.sent, wire.SentFrame{Type: wire.TypeCrypto, Off: off, Len: uint32(len(data))})
		p.eliciting = true
	}
	if s.probes[id] > 0 {
		s.probes[id]--
		if !p.eliciting {
			p.ctrl = append(p.ctrl, wire.TypePing)
			p.eliciting = true
		}
	}
	return s.sealLong(b, now, id)
}

// sealLong seals the plan as a packet with a long header, behind b.
func (s *Session) sealLong(b []byte, now time.Time, id wire.Space) []byte {
	sp, p := &s.spaces[id], &s.plan
	pn, start := sp.next, len(b)
	sp.next++
	h := wire.Header{Space: id, Dst: s.remoteID, Src: s.localID, Number: uint32(pn)}
	b = wire.AppendLong(b, h, len(p.ctrl)+handshake.Overhead)
	b = sp.write.Seal(b, b[start:], p.ctrl, pn)
	rec := s.det.NewPacket()
	rec.Number, rec.Space, rec.Size = pn, id, len(b)-start
	rec.AckEliciting, rec.InFlight = p.eliciting, p.eliciting
	rec.Frames = append(rec.Frames, p.sent...)
	s.det.Sent(now, rec)
	if id == wire.SpaceHandshake && s.client {
		s.dropSpace(wire.SpaceInitial) // RFC 9001 section 4.9.1
	}
	return b
}

// sendHandshakeClose ends a handshake with a CONNECTION_CLOSE in every space
// that has keys, since the peer may not have all of them yet.
func (s *Session) sendHandshakeClose(now time.Time, code uint64, reason string) {
	f := frame.New(wire.MinPacket)
	b := f.Packet()[:0]
	for id := range wire.SpaceApp {
		if s.spaces[id].write != nil {
			s.plan.reset()
			s.plan.ctrl = wire.AppendClose(s.plan.ctrl, code, reason)
			b = s.sealLong(b, now, id)
		}
	}
	if len(b) == 0 {
		f.Release()
		return
	}
	f.Truncate(len(b))
	s.transmit(f, s.ownPath)
}

// localCause is what the users of a session see that this side ended because
// of err.
func localCause(err error) error {
	var tls *handshake.Error
	if errors.As(err, &tls) {
		return &HandshakeError{Code: tls.Code, Reason: tls.Reason, Err: err}
	}
	var v *protocolError
	if errors.As(err, &v) {
		return &ClosedError{Code: v.code, Reason: v.reason, Cause: err}
	}
	return &ClosedError{Code: CodeInternal, Reason: err.Error(), Cause: err}
}

// wireCause is what the peer is told about why the session ended; tell is
// false if nothing.
func wireCause(err error) (code uint64, reason string, tell bool) {
	var refused *HandshakeError
	if errors.As(err, &refused) {
		return refused.Code, refused.Reason, !refused.Remote
	}
	var ended *ClosedError
	if !errors.As(err, &ended) || errors.Is(err, ErrPeerRestarted) || errors.Is(err, ErrTimeout) {
		return 0, "", false
	}
	reason = ended.Reason
	if reason == "" && ended.Cause != nil {
		reason = ended.Cause.Error()
	}
	return ended.Code, reason, !ended.Remote
}

// isReset reports whether token proves that the peer does not know the
// session any more (RFC 9000 section 10.3.1).
func (s *Session) isReset(id uint64, token [wire.ResetTokenLen]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.params.Src == id && subtle.ConstantTimeCompare(s.params.ResetToken[:], token[:]) == 1
}

// forgetOldKey throws the key of the phase before away, three probe timeouts
// after the peer's update (RFC 9001 section 6.5). It sets no timer: a session
// that is idle keeps the key a little longer.
func (s *Session) forgetOldKey(now time.Time) {
	if s.app == nil {
		return
	}
	switch n := s.app.Updates(); {
	case n != s.keyUpdates:
		s.keyUpdates, s.oldKeyUntil = n, now.Add(3*s.det.PTO())
	case !s.oldKeyUntil.IsZero() && now.After(s.oldKeyUntil):
		s.oldKeyUntil = time.Time{}
		s.app.ForgetOld()
	}
}
