package session

import (
	"time"

	"github.com/weftnet/weft/internal/wire"
)

// stream returns the stream with a number, or nil.
func (s *Session) stream(id uint64) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[id]
}

// local reports whether this side opened the stream with a number.
func (s *Session) local(id uint64) bool { return id&1 == 0 == s.client }

// streamFrame handles a frame that concerns one stream.
func (s *Session) streamFrame(now time.Time, fr *wire.Frame, it item) error {
	st, err := s.streamFor(fr.ID)
	if st == nil || err != nil {
		return err
	}
	switch fr.Type {
	case wire.TypeStream:
		err = st.receive(fr, it.f)
	case wire.TypeResetStream:
		err = st.receiveReset(fr.Value, fr.Final)
	case wire.TypeStopSending:
		st.receiveStop(fr.Value)
	case wire.TypeMaxStreamData:
		st.receiveMax(fr.Value)
	case wire.TypeStreamAccept:
		if !s.local(fr.ID) {
			return violation(CodeStreamState, "STREAM_ACCEPT by the opener of stream %d", fr.ID)
		}
		st.receiveAccept()
	case wire.TypeStreamOpen:
		if s.local(fr.ID) {
			return violation(CodeStreamState, "STREAM_OPEN of stream %d, which is not the peer's", fr.ID)
		}
		s.announce(st, Kind(min(fr.Value, uint64(KindMax)+1)))
	}
	if err == nil && fr.Type <= wire.TypeResetStream|wire.TypeStream {
		st.mu.Lock()
		done := st.done()
		st.mu.Unlock()
		if done {
			s.forget(st)
		}
	}
	return err
}

// streamFor finds the stream that a frame concerns, or creates it if the peer
// may. It returns nil for a stream that is over.
func (s *Session) streamFor(id uint64) (*Stream, error) {
	if st := s.stream(id); st != nil {
		return st, nil
	}
	n := id >> 1
	if s.local(id) {
		s.mu.Lock()
		opened := s.opened
		s.mu.Unlock()
		if n >= opened {
			return nil, violation(CodeStreamState, "frame for stream %d, which was never opened", id)
		}
		return nil, nil
	}
	if n >= s.maxAccept {
		return nil, violation(CodeStreamLimit, "stream %d is beyond the limit of %d", id, s.maxAccept)
	}
	seen := &s.seen
	if seen.contains(n) {
		return nil, nil
	}
	seen.add(n, n+1)
	st := newStream(s, id, KindMax+1, s.ep.cfg.StreamWindow, s.params.MaxStream)
	st.out.openDone = true
	s.mu.Lock()
	s.streams[id] = st
	s.mu.Unlock()
	return st, nil
}

// announce hands a stream that the peer opened to who accepts its kind.
func (s *Session) announce(st *Stream, kind Kind) {
	if st.kind <= KindMax {
		return // a duplicate
	}
	st.kind = kind
	queue := &s.accept
	if kind == KindControl || kind == KindMesh {
		queue = &s.control
	}
	if kind > KindMax || !queue.put(st) {
		_ = st.Refuse(refuseBacklogFull)
	}
}

// forget drops a stream that is done with on both sides.
func (s *Session) forget(st *Stream) {
	s.mu.Lock()
	_, there := s.streams[st.id]
	delete(s.streams, st.id)
	s.mu.Unlock()
	if !there {
		return
	}
	st.mu.Lock()
	st.detached = true
	s.discard(&st.out.buf)
	st.mu.Unlock()
	if s.local(st.id) {
		return
	}
	s.closedIn++
	if limit := s.closedIn + s.ep.cfg.MaxStreams; limit-s.maxAccept >= s.ep.cfg.MaxStreams/4 {
		s.maxAccept, s.sendMaxStreams = limit, true
	}
}

// sendRoom is how many bytes of streams may be sent for the first time: as many as
// the peer's window allows, and no more than this side would take itself. Who
// acknowledges everything but the first packet cannot have more kept for it.
func (s *Session) sendRoom() uint64 {
	most := s.ep.cfg.sessionWindow(s.ep.cfg.MaxStreamWindow)
	return min(s.sendMax-s.sendTotal, most-min(s.unacked, most))
}

// feedStarved lets the streams go on that waited for room.
func (s *Session) feedStarved() {
	for _, st := range s.starved {
		st.starved = false
		s.enlist(st)
	}
	s.starved = s.starved[:0]
}

// discard throws away what a stream has yet to deliver. Its lock is held.
func (s *Session) discard(b *sendBuf) {
	s.unacked -= b.held()
	b.free()
}

// receivedData counts n new bytes against the session's window.
func (s *Session) receivedData(n uint64) error {
	s.recvTotal += n
	if s.recvTotal > s.recvMax {
		return violation(CodeFlowControl, "data beyond the session's window")
	}
	return nil
}

// updateWindow gives the peer more credit once half of the window is used.
func (s *Session) updateWindow() {
	window, credit := s.window.Load(), s.credit.Load()
	if s.recvMax-credit <= window/2 {
		s.recvMax = credit + window
		s.sendMaxData = true
		s.creditDue.Store(s.recvMax - window/2)
	}
}
