package session

import (
	"maps"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

// run is the session's goroutine.
func (s *Session) run() {
	s.timer = time.NewTimer(time.Hour)
	defer s.timer.Stop()
	s.turns.Lock()
	defer s.turns.Unlock()
	for {
		for _, f := range s.later {
			f()
		}
		s.later = nil
		now := time.Now()
		s.turn(now)
		if s.state == ended {
			break
		}
		s.arm(now)
		s.turns.Unlock()
		fired := false
		select {
		case <-s.wakeup:
		case <-s.timer.C:
			fired = true
		}
		s.turns.Lock()
		if fired {
			s.armed = time.Time{}
		}
	}
	s.finish()
}

// quickTurn takes a turn in the goroutine that calls, which spares a switch to the
// session's and back, and reports whether it has. It must have left what is to be done
// where a turn finds it. It must not hold locks that callbacks of the endpoint's owner
// take. quiet: only if nothing is on its way or has come, as between a question and its
// answer; else the session's goroutine sends more at once, on another processor.
func (s *Session) quickTurn(quiet bool) bool {
	if !s.turns.TryLock() {
		return false // whoever has it may have looked already
	}
	defer s.turns.Unlock()
	if s.state != established || s.closing != nil || quiet && (s.det.InFlight() > 0 || !s.in.empty()) {
		return false
	}
	s.quick = true
	now := time.Now()
	s.turn(now)
	s.quick = false
	if s.state == ended || len(s.later) > 0 {
		s.Wake()
	} else {
		s.arm(now)
	}
	return true
}

// outside calls back the endpoint's owner, who may wait for the goroutine that takes a
// quick turn.
func (s *Session) outside(f func()) {
	if s.quick {
		s.later = append(s.later, f)
	} else {
		f()
	}
}

// turn takes everything that happened and sends what follows from it.
func (s *Session) turn(now time.Time) {
	s.count.Turns++
	for items := s.in.take(); len(items) > 0; items = items[1:] {
		s.receive(now, items[0])
		items[0] = item{} // lest the inbox's spare room pin it
	}
	for _, f := range s.takeQueues(now) {
		f(now)
	}
	s.timeouts(now)
	s.choosePath(now)
	if s.wantProbe {
		s.wantProbe = false
		s.probe(now)
	}
	if s.closing == nil {
		s.send(now)
		s.checkFlushed()
	}
	if s.closing != nil {
		s.sendClose(now)
		s.state = ended
	}
}

// takeQueues takes what other goroutines left, and publishes the counters.
func (s *Session) takeQueues(now time.Time) []func(time.Time) {
	s.count.PacketsLost = s.det.Stats().Lost
	s.count.RTT, s.count.MinRTT = s.det.SmoothedRTT(), s.det.MinRTT()
	s.count.CongestionWindow, s.count.BytesInFlight = s.det.Window(), s.det.InFlight()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.dirty {
		st.queued = false
		s.enlist(st)
	}
	clear(s.dirty)
	s.dirty = s.dirty[:0]
	f := s.commands
	s.commands = nil
	s.stats = s.count
	switch {
	case len(s.streams) > 0 || s.held > 0:
		s.idleSince = time.Time{}
		s.onlyControl = s.held == 0 && len(s.streams) <= controlQueue && s.allControl()
	case s.idleSince.IsZero():
		s.idleSince = now
	}
	return f
}

// checkFlushed tells who waits for it that all data have been delivered.
func (s *Session) checkFlushed() {
	s.mu.Lock()
	waiting := s.flushing
	var streams []*Stream
	if waiting != nil {
		streams = slices.Collect(maps.Values(s.streams))
	}
	s.mu.Unlock()
	// Nobody relies on the last words of a control stream, and a relay that is
	// gone will never acknowledge them.
	unsent := func(st *Stream) bool { return st.kind != KindControl && !st.flushed() }
	if waiting == nil || slices.ContainsFunc(streams, unsent) {
		return
	}
	close(waiting)
	s.mu.Lock()
	s.flushing = nil
	s.mu.Unlock()
}

// enlist makes st take its turn in sending.
func (s *Session) enlist(st *Stream) {
	if !st.enlisted {
		st.enlisted = true
		s.round.push(st)
	}
}

// arm sets the timer to the earliest deadline. A timer that fires too early
// does no harm, so it is only ever moved forward.
func (s *Session) arm(now time.Time) {
	next := s.deadline(now)
	if next.IsZero() || !s.armed.IsZero() && !next.Before(s.armed) {
		return
	}
	s.armed = next
	s.timer.Reset(max(next.Sub(now), 0))
}

// deadline is when the session must act next without being woken.
func (s *Session) deadline(now time.Time) (next time.Time) {
	earliest := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if s.pathReady() {
		earliest(s.det.Deadline())
		earliest(s.paceUntil)
		for i := range s.spaces {
			earliest(s.spaces[i].ackAt)
		}
	}
	if s.state == handshaking {
		earliest(s.started.Add(s.ep.cfg.HandshakeTimeout))
		return next
	}
	earliest(s.validation.at)
	earliest(s.pathDeadline(now))
	earliest(s.detourAt())
	earliest(s.keepAliveAt())
	earliest(s.lostAt())
	earliest(s.idleAt())
	return next
}

// timeouts acts on deadlines that have passed.
func (s *Session) timeouts(now time.Time) {
	passed := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if s.state == handshaking {
		if passed(s.started.Add(s.ep.cfg.HandshakeTimeout)) {
			s.end(&ClosedError{Cause: ErrTimeout})
		}
	} else {
		switch {
		case passed(s.lostAt()):
			s.end(&ClosedError{Cause: ErrPeerLost})
		case passed(s.idleAt()):
			s.end(&ClosedError{Cause: ErrIdle})
		case passed(s.keepAliveAt()):
			s.probe(now)
		}
		if passed(s.validation.at) {
			s.retryValidation(now)
		}
		if passed(s.detourAt()) {
			s.detour(now)
		}
		s.checkPaths(now)
		s.stepMTU(now)
	}
	s.forgetOldKey(now)
	if passed(s.det.Deadline()) && s.pathReady() {
		sp, n := s.det.Expired(now, s)
		s.checkBlackHole(now)
		if n > 0 {
			s.progress.probes++
			if s.state == handshaking {
				s.seek()
			}
			s.probes[sp] = max(s.probes[sp], n)
			s.requeueOldest(sp)
		}
	}
}

// keepAliveAt is when the peer must be asked for a sign of life: only while
// streams are open and no answer is awaited already.
func (s *Session) keepAliveAt() time.Time {
	if s.idle() || !s.awaiting.IsZero() {
		return time.Time{}
	}
	if s.onlyControl {
		return s.lastRecv.Add(controlKeepAlive * s.ep.cfg.KeepAlive)
	}
	return s.lastRecv.Add(s.ep.cfg.KeepAlive)
}

// controlKeepAlive is how many times longer a session with nothing but control
// streams may be silent: it is one with a neighbour, whose link has pings of its
// own, and a relay has thousands of them.
const controlKeepAlive = 6

// allControl reports whether all streams are of the relays' own protocols. s.mu
// is held.
func (s *Session) allControl() bool {
	for _, st := range s.streams {
		if st.kind != KindControl && st.kind != KindMesh {
			return false
		}
	}
	return true
}

// lostAt is when the peer counts as lost: after long silence although
// something that asks for an answer was sent, sooner if its relay says that it
// has left.
func (s *Session) lostAt() (t time.Time) {
	if !s.awaiting.IsZero() {
		t = s.awaiting.Add(s.ep.cfg.PeerTimeout)
	}
	if gone := s.gone.Add(s.ep.cfg.GoneTimeout); !s.gone.IsZero() && (t.IsZero() || gone.Before(t)) {
		t = gone
	}
	return t
}

// idleAt is when a session without streams ends.
func (s *Session) idleAt() time.Time {
	switch {
	case !s.idle():
		return time.Time{}
	case s.retired:
		return s.idleSince.Add(retiredLinger)
	}
	return s.idleSince.Add(s.ep.cfg.IdleTimeout)
}

func (s *Session) idle() bool { return !s.idleSince.IsZero() }

// probe asks the peer for a sign of life now, whatever the congestion window.
// The answer is awaited from now on even if no path takes the packet yet.
func (s *Session) probe(now time.Time) {
	if s.awaiting.IsZero() {
		s.awaiting = now
	}
	s.det.PeerAlive(now)
	s.probes[wire.SpaceApp] = max(s.probes[wire.SpaceApp], 1)
	s.requeueOldest(wire.SpaceApp)
}

// pathUp sends again at once what may have been lost while there was no path.
func (s *Session) pathUp(now time.Time) {
	switch {
	case s.state == handshaking:
		s.det.PeerAlive(now)
		for sp := range wire.SpaceApp {
			if s.det.Oldest(sp) != nil {
				s.probes[sp] = max(s.probes[sp], 1)
				s.requeueOldest(sp)
			}
		}
	case !s.idle() || !s.awaiting.IsZero():
		s.probe(now)
	}
}

// requeueOldest makes a probe carry what has waited longest for an
// acknowledgement (RFC 9002 section 6.2.4).
func (s *Session) requeueOldest(sp wire.Space) {
	if p := s.det.Oldest(sp); p != nil {
		s.PacketLost(p)
	}
}

// end ends the session without the peer's doing.
func (s *Session) end(err *ClosedError) {
	if s.closing == nil {
		s.closing = &closedBy{err}
	}
}

// fail ends the session because of what the peer did.
func (s *Session) fail(err error) {
	if s.closing != nil || err == nil {
		return
	}
	s.closing = &closedBy{localCause(err)}
}

// finish lets everybody know that the session has ended.
func (s *Session) finish() {
	s.dead.Store(s.closing)
	s.ep.remove(s)
	s.in.close()
	for _, it := range s.early {
		it.f.Release()
	}
	s.mu.Lock()
	streams := s.streams
	s.streams = map[uint64]*Stream{}
	flushing := s.flushing
	s.flushing, s.dgramOut = nil, [2]datagrams{}
	s.mu.Unlock()
	for _, st := range streams {
		st.end()
	}
	for i := range s.spaces {
		s.spaces[i].drop()
	}
	if s.hs != nil {
		s.hs.Close()
	}
	s.accept.close(s.closing.err)
	s.control.close(s.closing.err)
	s.forgetPaths()
	s.layerIn.close(s.closing.err)
	if flushing != nil {
		close(flushing)
	}
	for _, p := range s.pings {
		close(p.answer)
	}
	close(s.done)
}
