package session

import (
	"errors"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/handshake"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/wire"
)

// maxEarly bounds the memory, in bytes, of packets that wait for keys which a
// reordered packet brings: whoever has sent them has not proven anything yet.
// Sixteen of a path of datagrams fit, and none of the largest of a link, where
// packets keep their order.
const maxEarly = 32 << 10

// amplification is how many times what came from a client may be sent to its
// address until it has answered from there (RFC 9000 section 8.1). A udp.Flow has
// the same limit, but for all sessions: one with the real owner of the address
// ends it, and so does a peer that names the address as its own.
const amplification = 3

// receive takes one link frame: one or more packets.
func (s *Session) receive(now time.Time, it item) {
	defer it.f.Release()
	b := it.f.Packet()
	s.count.PacketsReceived++
	s.count.BytesReceived += uint64(len(b))
	if s.unsure && it.via == s.ownPath {
		s.budget += amplification * it.f.Len()
	}
	for len(b) > 0 && s.closing == nil {
		h, header, payload, rest, err := wire.ParseHeader(b)
		if err != nil || h.Dst != s.localID && (h.Dst != s.origDst || s.client) {
			s.count.PacketsDropped++
			return
		}
		if h.Reset {
			return
		}
		s.packet(now, h, header, payload, it)
		b = rest
	}
}

// packet opens one packet and handles what is in it.
func (s *Session) packet(now time.Time, h wire.Header, header, payload []byte, it item) {
	sp := &s.spaces[h.Space]
	if !s.canOpen(h.Space) {
		if !sp.dropped && s.state == handshaking && s.earlyBytes+it.f.Cap() <= maxEarly && h.Space == wire.SpaceApp {
			it.f.Retain()
			s.early = append(s.early, it)
			s.earlyBytes += it.f.Cap()
			return
		}
		s.count.PacketsDropped++
		return
	}
	pn := wire.FullNumber(sp.largest(), h.Number)
	if sp.duplicate(pn) {
		s.count.PacketsDropped++
		return
	}
	plain, err := s.openPacket(h, header, payload, pn)
	if err != nil {
		s.count.PacketsDropped++
		if !errors.Is(err, handshake.ErrAuthentication) {
			s.fail(err) // keys are used up
		}
		return
	}
	if h.Space != wire.SpaceApp && !s.fromPeer(h.Src) {
		s.count.PacketsDropped++
		return
	}
	if h.Space == wire.SpaceHandshake {
		s.unsure = false // the client has the keys, and so what was sent to it
	}
	s.heard(now)
	if _, direct := it.via.(Direct); s.state == handshaking && !direct {
		s.progress.peerVia = it.via
	}
	newest := pn >= sp.largest()
	c, err := s.frames(now, h.Space, plain, it)
	if err != nil {
		s.fail(err)
		return
	}
	if !sp.dropped {
		sp.received(now, pn, c.eliciting, c.prompt || h.Space != wire.SpaceApp)
	}
	if h.Space == wire.SpaceHandshake && !s.client {
		s.dropSpace(wire.SpaceInitial) // RFC 9001 section 4.9.1
	}
	if h.Space == wire.SpaceApp && s.state == established {
		s.cameOn(now, it, newest, c.probing)
	}
}

// fromPeer reports whether a long header names the session ID of the peer. A
// client learns it from the server's first packet (RFC 9000 section 7.2).
func (s *Session) fromPeer(src uint64) bool {
	if s.client && !s.remoteKnown {
		s.remoteID, s.remoteKnown = src, true
	}
	return src == s.remoteID
}

func (s *Session) canOpen(sp wire.Space) bool {
	if sp == wire.SpaceApp {
		return s.app != nil && s.hs.CanReceiveApp()
	}
	return s.spaces[sp].read != nil
}

func (s *Session) openPacket(h wire.Header, header, payload []byte, pn uint64) ([]byte, error) {
	if h.Space == wire.SpaceApp {
		return s.app.Open(payload[:0], header, payload, pn, h.Phase)
	}
	return s.spaces[h.Space].read.Open(payload[:0], header, payload, pn)
}

// heard records a sign of life of the peer.
func (s *Session) heard(now time.Time) {
	s.lastRecv, s.awaiting, s.gone = now, time.Time{}, time.Time{}
	if s.det.PTOCount() > 0 {
		s.det.PeerAlive(now)
	}
}

// A gist is what kind of frames a packet has.
type gist struct {
	eliciting bool // it asks for an acknowledgement
	prompt    bool // at once
	probing   bool // it has only frames that probe paths
}

// frames handles the frames of a packet.
func (s *Session) frames(now time.Time, sp wire.Space, b []byte, it item) (c gist, err error) {
	if len(b) == 0 {
		return c, violation(CodeProtocol, "packet without frames")
	}
	fr := &s.fr
	c.probing = true
	for len(b) > 0 {
		if b, err = fr.Next(b); err != nil {
			return c, violation(CodeFrameEncoding, "malformed frame of type %#x", fr.Type)
		}
		switch fr.Type {
		case wire.TypePadding:
			continue
		case wire.TypeAck:
			err = s.handleAck(now, sp, fr)
		case wire.TypeConnectionClose:
			s.closedByPeer(fr)
		case wire.TypePing:
			c.eliciting = true
		case wire.TypeCrypto:
			c.eliciting = true
			err = s.handleCrypto(now, sp, fr, it)
		case wire.TypeImmediateAck:
			c.eliciting, c.prompt = true, true
		default:
			if sp != wire.SpaceApp {
				return c, violation(CodeProtocol, "frame of type %#x in the handshake", fr.Type)
			}
			if fr.Type == wire.TypePathChallenge || fr.Type == wire.TypePathResponse {
				s.pathFrame(now, fr, it)
				continue
			}
			c.eliciting = true
			err = s.appFrame(now, fr, it)
		}
		if err != nil {
			return c, err
		}
		c.probing = false
	}
	return c, nil
}

// pathFrame handles the frames that probe paths. They are not acknowledged: a
// challenge has its answer.
func (s *Session) pathFrame(now time.Time, fr *wire.Frame, it item) {
	switch {
	case fr.Type == wire.TypePathResponse:
		s.answered(now, fr.Value, it.via)
	case len(s.responses) < maxResponses:
		s.responses = append(s.responses, response{data: fr.Value, via: it.via})
	default:
		s.count.ChallengesDropped++
	}
}

// appFrame handles the frames that only an established session carries.
func (s *Session) appFrame(now time.Time, fr *wire.Frame, it item) error {
	switch fr.Type {
	case wire.TypeStream, wire.TypeResetStream, wire.TypeStopSending,
		wire.TypeMaxStreamData, wire.TypeStreamOpen, wire.TypeStreamAccept:
		return s.streamFrame(now, fr, it)
	case wire.TypeMaxData:
		if fr.Value > s.sendMax {
			s.sendMax = fr.Value
			s.feedStarved()
		}
	case wire.TypeMaxStreams:
		s.mu.Lock()
		s.maxOpen = max(s.maxOpen, fr.Value)
		s.mu.Unlock()
		s.openable.set()
	case wire.TypeHandshakeDone:
		if !s.client {
			return violation(CodeProtocol, "HANDSHAKE_DONE from a client")
		}
		s.confirm()
	case wire.TypeCandidates:
		s.receiveCandidates(fr)
	case wire.TypeDatagram:
		s.receiveDatagram(fr.Data)
	default:
		return violation(CodeFrameEncoding, "unexpected frame of type %#x", fr.Type)
	}
	return nil
}

func (s *Session) handleAck(now time.Time, sp wire.Space, fr *wire.Frame) error {
	if s.spaces[sp].dropped {
		return nil
	}
	if err := s.det.Acked(now, sp, fr.Ranges, fr.Delay, s); err != nil {
		return violation(CodeProtocol, "%v", err)
	}
	if sp == wire.SpaceApp {
		s.progress.acknowledged(now)
		s.checkBlackHole(now)
		if s.sendRoom() > 0 {
			s.feedStarved()
		}
		s.app.OnAcked(fr.Ranges[0].High)
		s.smoothed.Store(int64(s.det.SmoothedRTT()))
	}
	return nil
}

func (s *Session) closedByPeer(fr *wire.Frame) {
	if s.closing != nil {
		return
	}
	reason := string(fr.Data[:min(len(fr.Data), wire.MaxReasonLen)])
	if s.state == handshaking {
		s.closing = &closedBy{&HandshakeError{Remote: true, Code: fr.Value, Reason: reason}}
	} else {
		s.closing = &closedBy{&ClosedError{Remote: true, Code: fr.Value, Reason: reason}}
	}
	s.peerClosed = true
}

// PacketAcked implements recovery.Handler.
func (s *Session) PacketAcked(p *packet) {
	s.progress.fresh = true
	sp := &s.spaces[p.Space]
	for i := range p.Frames {
		fr := &p.Frames[i]
		switch fr.Type {
		case wire.TypeAck:
			if p.Sent.After(s.paths.settled) { // else packets are still on the way on the path that the peer left
				sp.ackAcked(fr.Off)
			}
		case wire.TypeCrypto:
			sp.out.ack(fr.Off, int(fr.Len))
		case wire.TypePing:
			s.pong(fr.ID)
		case wire.TypeHandshakeDone:
			s.doneAcked = true
		case wire.TypeCandidates:
			s.cands.ackedSeq(fr.ID)
		case wire.TypeStream, wire.TypeResetStream, wire.TypeStreamOpen,
			wire.TypeStreamAccept, wire.TypeMaxStreamData, wire.TypeStopSending:
			if st := s.stream(fr.ID); st != nil && st.acked(fr) {
				s.forget(st)
			}
		}
	}
}

// PacketLost implements recovery.Handler: what the packet carried is to be
// sent again.
func (s *Session) PacketLost(p *packet) {
	for i := range p.Frames {
		fr := &p.Frames[i]
		switch fr.Type {
		case wire.TypeCrypto:
			s.spaces[p.Space].out.lose(fr.Off, int(fr.Len))
		case wire.TypePing:
			s.lostPing(fr.ID)
		case wire.TypeHandshakeDone:
			s.sendDone = !s.doneAcked
		case wire.TypeCandidates:
			s.cands.lost(fr.ID)
		case wire.TypeMaxData:
			s.sendMaxData = true
		case wire.TypeMaxStreams:
			s.sendMaxStreams = true
		case wire.TypeStream, wire.TypeResetStream, wire.TypeStreamOpen,
			wire.TypeStreamAccept, wire.TypeMaxStreamData, wire.TypeStopSending:
			if st := s.stream(fr.ID); st != nil {
				st.lost(fr)
				s.enlist(st)
			}
		}
	}
}

// direct returns via if src, from whom f came in on it, is the node at its other
// end, or may be; nil if via's neighbour has merely forwarded for src. At a UDP
// address there may be another node today than yesterday.
func direct(f *frame.Frame, via Path, src identity.NodeID) Path {
	if via == nil || f.HopLimit() != frame.DefaultHopLimit {
		return nil
	}
	if _, ok := via.(Direct); ok {
		return via
	}
	if id := via.ID(); id != 0 && id != src {
		return nil
	}
	return via
}
