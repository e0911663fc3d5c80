package session

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/handshake"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/recovery"
	"github.com/weftnet/weft/internal/wire"
)

// Dial returns the established session with a target that names an ID or a
// key, or makes one. Errors are *UnreachableError when a relay says that
// nobody has the ID, *HandshakeError, *ClosedError and the context's.
func (e *Endpoint) Dial(ctx context.Context, target identity.Target) (*Session, error) {
	id := target.ID
	if target.Key != (identity.PublicKey{}) {
		id = target.Key.ID()
	}
	if id == e.self {
		return nil, ErrSelf
	}
	for {
		s, dialing, up, err := e.sessionOrDial(id, target)
		if err != nil {
			return nil, err
		}
		if s != nil {
			return s, target.Check(s.Peer())
		}
		select {
		case <-up:
		case <-dialing.done:
			if s := e.Session(id); s != nil {
				return s, target.Check(s.Peer())
			}
			return nil, dialing.death()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// sessionOrDial returns the session with a peer, or the handshake that will
// make one, begun now if there was none.
func (e *Endpoint) sessionOrDial(id identity.NodeID, target identity.Target) (s, dialing *Session, up chan struct{}, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, nil, nil, errClosed
	}
	p := e.entry(id)
	for _, s := range p.sessions {
		if s.death() == nil {
			return s, nil, nil, nil
		}
	}
	if p.dialing == nil {
		s := e.newSession(true, id, e.cfg.Route(id))
		s.target = target
		p.dialing = s
		e.start(s)
	}
	return nil, p.dialing, p.up, nil
}

// DialNeighbour makes a session with whoever is at the other end of a link.
func (e *Endpoint) DialNeighbour(ctx context.Context, link Path) (*Session, error) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, errClosed
	}
	s := e.newSession(true, 0, link)
	e.start(s)
	e.mu.Unlock()
	return s.awaitReady(ctx)
}

// DialDirect is like Dial, but the handshake goes over via, and no other way;
// the session goes on there, with the route beside it. It leaves a handshake
// that Dial has begun alone: who is first wins, and Dial returns that session,
// too. The caller keeps via until DialDirect returns.
func (e *Endpoint) DialDirect(ctx context.Context, target identity.Target, via Direct) (*Session, error) {
	id := target.ID
	if target.Key != (identity.PublicKey{}) {
		id = target.Key.ID()
	}
	if id == e.self {
		return nil, ErrSelf
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, errClosed
	}
	if p := e.peers[id]; p != nil {
		for _, s := range p.sessions {
			if s.death() == nil {
				e.mu.Unlock()
				return s, target.Check(s.Peer())
			}
		}
	}
	s := e.newSession(true, id, via)
	s.target = target
	e.start(s)
	e.mu.Unlock()
	return s.awaitReady(ctx)
}

// awaitReady waits for the end of a handshake that is of one dial only.
func (s *Session) awaitReady(ctx context.Context) (*Session, error) {
	select {
	case <-s.ready:
		return s, nil
	case <-s.done:
		return nil, s.death()
	case <-ctx.Done():
		select {
		case <-s.ready:
			return s, nil
		default:
		}
		s.do(func(time.Time) { s.end(&ClosedError{Reason: "dial was given up"}) })
		return nil, context.Cause(ctx)
	}
}

// initial takes ownership of a frame with a packet of SpaceInitial that no
// session knows: a client's first. Nothing is allocated for one that does not
// open with the network's keys, or that is beyond the limits.
func (e *Endpoint) initial(f *frame.Frame, via Path, h wire.Header) {
	key := initialKey{f.Src(), h.Dst}
	e.mu.Lock()
	s := e.initials[key]
	e.mu.Unlock()
	if s == nil && e.opens(f.Packet(), h.Dst) {
		s = e.answer(key, direct(f, via, key.src), originOf(via), h)
	}
	if s == nil {
		e.drop(f)
		return
	}
	if s.in.put(f, via) {
		s.Wake()
	}
}

// answer makes the session for a client's first packet, within the limits. path
// is the link to the client, nil if there is only a route; from is who answers
// for the packet.
func (e *Endpoint) answer(key initialKey, path Path, from string, h wire.Header) *Session {
	src := key.src
	if path == nil {
		path = e.cfg.Route(src)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.initials[key]; s != nil {
		return s
	}
	if e.closed || src == 0 || src == e.self || !e.openings.begin(&e.cfg, src, from, time.Now()) {
		return nil
	}
	s := e.newSession(false, src, path)
	s.remoteID, s.origDst = h.Src, h.Dst
	e.initials[key] = s
	s.origin = from
	_, s.unsure = path.(Direct)
	e.start(s)
	return s
}

// opens reports whether the first packet in b is of this network.
func (e *Endpoint) opens(b []byte, dst uint64) bool {
	h, header, payload, _, err := wire.ParseHeader(b)
	if err != nil {
		return false
	}
	read, _ := handshake.InitialKeys(e.cfg.Credentials.Network().ID(), dst, true)
	_, err = read.Open(nil, header, payload, wire.FullNumber(0, h.Number))
	return err == nil
}

// newSession makes a session that is not started. e.mu is held.
func (e *Endpoint) newSession(client bool, peer identity.NodeID, path Path) *Session {
	s := &Session{
		ep: e, client: client, wakeup: newSignal(), openable: newSignal(),
		ready: make(chan struct{}), done: make(chan struct{}),
		streams: map[uint64]*Stream{}, path: path,
		accept: newQueue[*Stream](acceptQueue), control: newQueue[*Stream](controlQueue),
		layerIn: newQueue[[]byte](layerInQueue), layerRoom: newSignal(),
	}
	for s.localID == 0 {
		s.localID = rand.Uint64()
	}
	if client {
		s.origDst = rand.Uint64()
		s.remoteID = s.origDst
	}
	s.peerID, s.claimed, s.ownPath, s.started = peer, peer, path, time.Now()
	s.expect.Store(uint64(peer))
	s.lastRecv = s.started
	s.mtu = wire.MinPacket
	s.det = recovery.New(recovery.Config{Client: client}, path.MaxPacket())
	s.paths.route, s.paths.routeRec = path, s.det.Path
	s.setMTU(path.MaxPacket())
	window := e.cfg.sessionWindow(e.cfg.StreamWindow)
	s.window.Store(window)
	s.recvMax, s.maxAccept = window, e.cfg.MaxStreams
	s.creditDue.Store(window - window/2)
	return s
}

// start begins the handshake and the session's goroutine. e.mu is held.
func (e *Endpoint) start(s *Session) {
	e.byID.Store(s.localID, s)
	e.all[s] = struct{}{}
	e.wg.Go(func() {
		if err := s.begin(); err != nil {
			s.fail(err)
		}
		s.run()
	})
}

// begin sets up keys and TLS.
func (s *Session) begin() (err error) {
	params, err := s.ownParams()
	if err != nil {
		return err
	}
	cfg := handshake.Config{
		Credentials: s.ep.cfg.Credentials,
		Params:      params,
		Check:       s.checkPeer,
		KeyLog:      s.ep.cfg.KeyLog,
	}
	sp := &s.spaces[wire.SpaceInitial]
	sp.read, sp.write = handshake.InitialKeys(cfg.Credentials.Network().ID(), s.origDst, !s.client)
	if s.client {
		s.hs, err = handshake.Client(context.Background(), cfg)
	} else {
		s.hs, err = handshake.Server(context.Background(), cfg)
	}
	if err == nil {
		s.takeCrypto()
	}
	return err
}

// checkPeer says whether the verified peer is who it should be.
func (s *Session) checkPeer(p identity.Peer) error {
	if p.ID == s.ep.self {
		return ErrSelf
	}
	if s.client && s.target != (identity.Target{}) {
		return s.target.Check(p)
	}
	return nil
}

// ownParams encodes this side's transport parameters.
func (s *Session) ownParams() ([]byte, error) {
	cfg := &s.ep.cfg
	greeting, err := cfg.greeting()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.greeting = greeting
	s.mu.Unlock()
	p := wire.Params{
		Src: s.localID, ResetToken: s.ep.resetToken(s.localID), Instance: s.ep.instance,
		MaxData: s.recvMax, MaxStream: cfg.StreamWindow, MaxStreams: cfg.MaxStreams,
		MaxAckDelay: maxAckDelay, MaxDatagram: frame.MaxPacket, Layer: cfg.Layer, Greeting: greeting,
	}
	if !s.client {
		p.OrigDst = s.origDst
	}
	return p.Append(nil), nil
}

// entry returns what the endpoint has of a peer. e.mu is held.
func (e *Endpoint) entry(id identity.NodeID) *peerEntry {
	p := e.peers[id]
	if p == nil {
		p = &peerEntry{up: make(chan struct{})}
		e.peers[id] = p
	}
	return p
}

// established makes s known. Where both sides dialled at once, the session of
// the node with the smaller ID is preferred, and the other ends when its last
// stream does. A session of an earlier start of the peer ends now.
func (e *Endpoint) established(s *Session, instance uint64) {
	e.mu.Lock()
	p := e.entry(s.peerID)
	e.doneOpening(s)
	if p.dialing == s {
		p.dialing = nil
	}
	preferred := 0
	for i, old := range p.sessions {
		switch {
		case old.params.Instance != instance:
			old.do(func(time.Time) { old.end(&ClosedError{Cause: ErrPeerRestarted}) })
		case i == 0 && old.death() == nil && old.client != s.client && old.client == (e.self < s.peerID):
			preferred = 1
		default:
			old.do(func(time.Time) { old.retired = true })
		}
	}
	if preferred == 1 {
		s.retired = true
	}
	p.sessions = slices.Insert(p.sessions, min(preferred, len(p.sessions)), s)
	if n := len(p.sessions); n > maxSessions {
		oldest := p.sessions[n-1]
		oldest.do(func(time.Time) { oldest.end(&ClosedError{Reason: "the peer has made many sessions since"}) })
	}
	close(p.up)
	p.up = make(chan struct{})
	e.mu.Unlock()
}

// doneOpening stops counting s as an unfinished handshake. e.mu is held.
func (e *Endpoint) doneOpening(s *Session) {
	if s.client || s.counted {
		return
	}
	s.counted = true
	e.openings.end(s.claimed, s.origin)
}

// remove forgets a session that has ended.
func (e *Endpoint) remove(s *Session) {
	e.byID.Delete(s.localID)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.all, s)
	e.doneOpening(s)
	if !s.client {
		delete(e.initials, initialKey{s.claimed, s.origDst})
	}
	p := e.peers[s.peerID]
	if p == nil {
		return
	}
	if i := slices.Index(p.sessions, s); i >= 0 {
		p.sessions = slices.Delete(p.sessions, i, i+1)
	}
	if p.dialing == s {
		p.dialing = nil
	}
	if len(p.sessions) == 0 && p.dialing == nil {
		delete(e.peers, s.peerID)
	}
}

// mayBeFrom reports whether a frame from src may be of this session. A client
// that dialled a neighbour learns its ID from the handshake.
func (s *Session) mayBeFrom(src identity.NodeID) bool {
	id := identity.NodeID(s.expect.Load())
	return id == 0 || id == src
}

// noticeDialing handles a notice about the node that is being dialled.
func (s *Session) noticeDialing(n frame.Notice) {
	switch n.Code {
	case frame.NoticeUnknown, frame.NoticeGone:
		// A relay that was asked because another did not answer may know less.
		if s.state == handshaking && s.closing == nil && !s.progress.seeks {
			s.closing = &closedBy{&UnreachableError{Peer: n.Node, Notice: n.Code}}
		}
	}
}

// backEvery is how often a session believes that its peer is back. Each time it
// sends again what has waited longest, whatever the congestion window, so that a
// relay that says so all the time would have it send little else.
const backEvery = time.Second

// notice handles a notice about the peer of an established session: a hint.
func (s *Session) notice(now time.Time, n frame.Notice) {
	switch n.Code {
	case frame.NoticeUnknown, frame.NoticeGone:
		if s.awaiting.IsZero() {
			s.probe(now) // it may be a lie, or the peer on its way to another relay
		}
		// A link that went silent, or a relay that has restarted, says nothing
		// about the process at the other end.
		if n.Code == frame.NoticeGone && n.Arg == frame.GoneHungUp && s.gone.IsZero() {
			s.gone = now
		}
	case frame.NoticeBack:
		if now.Sub(s.backAt) >= backEvery {
			s.backAt = now
			s.probe(now)
		}
	case frame.NoticeTooBig:
		if n := int(n.Arg); n >= wire.MinPacket && n < s.mtu && s.paths.active == nil {
			s.setMTU(n)
		}
	}
}
