package grid

import (
	"bufio"
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/weftnet/weft/overlay"
)

// A Peer is another node and the one session with it. Multiple goroutines may call its methods.
type Peer struct {
	g    *Grid
	id   overlay.NodeID
	kept bool // a session is made whenever there is none; guarded by g.mu

	mu       sync.Mutex
	dialling bool
	cur      *session
	instance string        // of the process that the last session was with
	lost     uint64        // number of the last session that has ended
	why      error         // why there is no session
	changed  chan struct{} // closed when a session begins
}

// Who keeps a session with a peer makes another one after these pauses, which double and vary.
const (
	minPause = 50 * time.Millisecond
	maxPause = 2 * time.Second
)

// ID returns who the peer is.
func (p *Peer) ID() overlay.NodeID { return p.id }

// live returns the session, or why there is none.
func (p *Peer) live() (*session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cur == nil {
		return nil, &DisconnectedError{Peer: p.id, Cause: p.why}
	}
	return p.cur, nil
}

// WaitForConnect waits until there is a session. The error tells why there is none, if ctx ends before.
func (p *Peer) WaitForConnect(ctx context.Context) error {
	for {
		p.mu.Lock()
		s, changed := p.cur, p.changed
		p.mu.Unlock()
		if s != nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			p.mu.Lock()
			defer p.mu.Unlock()
			return &DisconnectedError{Peer: p.id, Cause: joined{p.why, context.Cause(ctx)}}
		case <-p.g.ctx.Done():
			return &DisconnectedError{Peer: p.id, Cause: errClosed}
		}
	}
}

// joined is two errors in one line.
type joined [2]error

func (j joined) Error() string   { return j[0].Error() + " (" + j[1].Error() + ")" }
func (j joined) Unwrap() []error { return j[:] }

// keep makes a session whenever there is none.
func (p *Peer) keep() {
	for pause := minPause; p.g.ctx.Err() == nil; {
		if s, err := p.live(); err == nil {
			select {
			case <-s.done:
			case <-p.g.ctx.Done():
			}
			pause = minPause
			continue
		}
		if p.dial() {
			continue
		}
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(pause/2 + rand.N(pause)):
		case <-p.g.ctx.Done():
		}
		pause = min(2*pause, maxPause)
	}
}

// dial tries once to make a session.
func (p *Peer) dial() bool {
	p.mu.Lock()
	if p.cur != nil {
		p.mu.Unlock()
		return true
	}
	p.dialling = true
	number, lost := rand.Uint64(), p.lost
	p.mu.Unlock()

	ctx, cancel := context.WithTimeout(p.g.ctx, 2*patience)
	defer cancel()
	conn, err := p.g.cfg.Dial(ctx, p.id)
	var s *session
	if err == nil {
		in := bufio.NewReaderSize(conn, readAhead)
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		var h hello
		if h, err = p.g.greet(conn, in, number, lost); err == nil && h.from.ID != p.id {
			err = overlay.ErrWrongPeer
		}
		if h.number = number; stop() && err == nil {
			s = newSession(p, h, conn, in, true)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialling = false
	if s != nil && p.cur == nil && p.g.ctx.Err() == nil {
		p.install(s)
		p.g.wg.Go(s.run)
		return true
	}
	if conn != nil {
		_ = conn.Close()
	}
	if err != nil && p.cur == nil {
		p.why = err
	}
	return p.cur != nil
}

// session returns the session with a node, nil if there is none.
func (g *Grid) session(id overlay.NodeID) *session {
	g.mu.Lock()
	p := g.peers[id]
	g.mu.Unlock()
	if p == nil {
		return nil
	}
	s, _ := p.live()
	return s
}

// offered decides about a conn that the peer has dialled; nil means that another one stays.
// If both dial, the conn stays that the lower ID has dialled.
func (g *Grid) offered(h hello, conn net.Conn, in *bufio.Reader) (*session, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, err := g.peer(h.from.ID)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dialling && p.g.cfg.ID < p.id {
		return nil, nil
	}
	if old := p.cur; old != nil {
		switch {
		case old.instance != h.instance:
			old.fail(ErrRestarted)
		case h.lost == old.number:
			old.fail(errReplaced)
		default:
			return nil, nil // it was dialled before the peer has heard of this session
		}
	}
	s := newSession(p, h, conn, in, false)
	s.out.put(p.g.helloFrame(welcome, h.number, 0), false, nil)
	p.install(s)
	return s, nil
}

// install makes s the session. p.mu is held.
func (p *Peer) install(s *session) {
	if p.cur != nil {
		p.g.tell(p.id, p.cur.why())
	}
	if p.instance != "" && p.instance != s.instance {
		p.g.tell(p.id, ErrRestarted)
	}
	p.cur, p.instance = s, s.instance
	close(p.changed)
	p.changed = make(chan struct{})
	p.g.tell(p.id, nil)
	if p.g.ctx.Err() != nil {
		s.fail(errClosed)
	}
}

// ended is told by a session that it has.
func (p *Peer) ended(s *session) {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cur != s {
		return // install has told
	}
	p.g.tell(p.id, s.err)
	p.cur, p.lost, p.why = nil, s.number, s.err
	if !p.kept && p.g.peers[p.id] == p {
		delete(p.g.peers, p.id)
	}
}
