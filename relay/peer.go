package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/switchboard"
)

const (
	// joinTimeout is how long the session with another relay may take once a
	// link is up.
	joinTimeout = 10 * time.Second
	// moveTimeout is how long the session with another relay may take to answer
	// on a new link before another session is made.
	moveTimeout = 3 * time.Second
	// standbyPause is how long an address that leads to this very relay, or to
	// one to which another link leads, is left alone at most: it may be
	// another's one day.
	standbyPause = 5 * time.Minute
	// meshPause is the pause before a stream of the backbone that has ended is
	// opened again.
	meshPause = time.Second
)

// A peer keeps a link to, and a session with, another relay of the backbone
// until its context ends. Its address is configured or, for a learned one, out
// of the other relay's own record.
type peer struct {
	relay *relay
	want  identity.NodeID // of a learned one: who must be there; 0: any relay
	log   logrus.FieldLogger
	links chan dialledLink // capacity 1: the newest
	again chan struct{}    // capacity 1: see whether another link will do
	hurry chan struct{}    // capacity 1: dial now
	talk  chan struct{}    // closed once the link shall carry the gossip

	mu     sync.Mutex
	status PeerStatus
	addrs  []string // tried in turn
	next   int      // in addrs

	last *session.Session // newest session with the relay, nil before the first; owned by run
}

// A dialledLink is a link with the conn below, which knows who answered.
type dialledLink struct {
	port *switchboard.Port
	conn link.FrameConn
}

// A standbyError ends an attempt at a relay that needs no link of this peer.
type standbyError struct {
	why   string
	until <-chan struct{} // nil: only limit counts
	limit time.Duration
}

func (e *standbyError) Error() string { return "relay: standing by: " + e.why }

// errNoRelay is how the link ends to a node that is none.
var errNoRelay = errors.New("relay: the node at the address is no relay of this network; remove it from Peers")

// newPeer returns a peer that run sets going.
func newPeer(r *relay, addrs ...string) *peer {
	return &peer{
		relay: r, addrs: addrs,
		log:    r.log.WithField("peer", addrs[0]),
		links:  make(chan dialledLink, 1),
		again:  make(chan struct{}, 1),
		hurry:  make(chan struct{}, 1),
		talk:   make(chan struct{}),
		status: PeerStatus{Addr: addrs[0], Dialled: true, State: link.PhaseDialing.String(), Since: time.Now()},
	}
}

// run dials until ctx ends, except while another link to the relay will do.
func (p *peer) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.wanted(ctx)
		if err == nil {
			err = p.dial(ctx)
		}
		standby, ok := errors.AsType[*standbyError](err)
		if !ok {
			continue
		}
		p.enter(standby.Error(), nil)
		p.log.Debug(standby.Error())
		limit := time.NewTimer(standby.limit)
		select {
		case <-standby.until:
		case <-limit.C:
		case <-p.hurry:
		case <-ctx.Done():
		}
		limit.Stop()
	}
}

// dial runs a dialler and uses its links. It returns when ctx ends or with a
// *standbyError.
func (p *peer) dial(ctx context.Context) error {
	var conn link.FrameConn // of the last link; owned by the dialler
	cfg := link.DialerConfig{
		Addr: p.state().Addr,
		Dial: p.dialNext,
		Attach: func(fc link.FrameConn) link.Attached {
			conn = fc
			return p.relay.Switch.Attach(fc, switchboard.PortConfig{Name: p.state().Addr, Claimed: p.want, Backbone: true})
		},
		OnState: func(s link.DialerState) { p.dialerChanged(s, conn) },
	}
	if p.want != 0 {
		cfg.MinBackoff, cfg.MaxBackoff, cfg.OutageBackoff = learnedMinBackoff, learnedMaxBackoff, learnedMaxBackoff
	}
	d := link.NewDialer(cfg)
	defer d.Close()
	for {
		select {
		case l := <-p.links:
			err := p.use(ctx, l)
			if _, ok := errors.AsType[*standbyError](err); ok {
				l.port.CloseWithError(err)
				return err
			}
			if ctx.Err() == nil && l.port.Err() == nil {
				p.log.WithError(err).Log(p.trouble(), "cannot join the other relay; trying again")
				l.port.CloseWithError(err)
			}
		case <-p.hurry:
			d.Kick()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// dialNext dials the next address.
func (p *peer) dialNext(ctx context.Context, _ string) (link.FrameConn, error) {
	p.mu.Lock()
	addr := p.addrs[p.next%len(p.addrs)]
	p.next++
	p.status.Addr = addr
	p.mu.Unlock()
	if p.want != 0 {
		p.relay.stats.learnedDials.Add(1)
	}
	return p.relay.Dial(ctx, addr)
}

// dialerChanged is called by the dialler with each of its states, in order.
func (p *peer) dialerChanged(s link.DialerState, conn link.FrameConn) {
	if s.Phase == link.PhaseWaiting {
		p.log.WithError(s.Err).Debug("the other relay is not reachable; trying again")
	}
	if s.Phase != link.PhaseUp {
		p.enter(s.Phase.String(), s.Err)
		return
	}
	p.enter("joining", nil)
	select {
	case <-p.links: // ended before it was used
	default:
	}
	p.links <- dialledLink{s.Link.(*switchboard.Port), conn}
}

// use makes a link one of the backbone and keeps it until it breaks or ctx
// ends. It returns why, as a *standbyError if another link is better.
func (p *peer) use(ctx context.Context, l dialledLink) error {
	port := l.port
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-port.Done():
			cancel(port.Err())
		case <-ctx.Done():
		}
	})
	defer wg.Wait()
	defer cancel(nil)
	s, err := p.join(ctx, l)
	if err != nil {
		return err
	}
	id := s.Peer().ID
	p.relay.joined(p, port, id)
	defer p.relay.left(port, id)
	select {
	case <-p.again: // an earlier wish
	default:
	}
	if err := p.relay.rival(port, id); err != nil {
		return err
	}
	p.up(s)
	p.relay.lookAround()
	p.log.WithField("id", id).Info("other relay is up")
	return p.stay(ctx, port, s)
}

// join makes a session with the relay at the other end of a link.
func (p *peer) join(ctx context.Context, l dialledLink) (*session.Session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, joinTimeout,
		fmt.Errorf("relay: the other relay did not complete the session within %v", joinTimeout))
	defer cancel()
	port, s := l.port, p.last
	lives := s != nil && s.Err() == nil
	if lives || p.want != 0 {
		there, said := link.Acceptor(ctx, l.conn)
		if said && p.want != 0 && there != p.want {
			p.relay.stats.learnedWrong.Add(1)
			return nil, fmt.Errorf("relay: node %v is at the address that relay %v gives as its own", there, p.want)
		}
		lives = lives && (!said || there == s.Peer().ID)
	}
	if !lives || !p.move(ctx, s, port) {
		var err error
		s, err = p.relay.Endpoint.DialNeighbour(ctx, port)
		if errors.Is(err, identity.ErrSelf) {
			return nil, &standbyError{why: "the address leads to this relay itself", limit: standbyPause}
		}
		if err != nil {
			return nil, fmt.Errorf("relay: session with the other relay: %w", err)
		}
	}
	p.last = s
	if !s.Peer().Has(identity.RoleRelay) {
		return nil, errNoRelay
	}
	if !port.Trusted() || port.ID() != s.Peer().ID || p.want != 0 && p.want != s.Peer().ID {
		return nil, errors.New("relay: the link does not lead to the relay that answered")
	}
	return s, nil
}

// move moves a session that lives onto a new link. It reports false when the
// relay does not answer there.
func (p *peer) move(ctx context.Context, s *session.Session, port *switchboard.Port) bool {
	s.SetPath(port)
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	if _, err := s.Ping(ctx); err != nil {
		return false
	}
	p.relay.Hooks.OnBind(s.Peer(), port)
	s.SetPath(p.relay.Switch.Route(s.Peer().ID))
	return true
}

// stay keeps a stream for the backbone open until the link or the session
// ends, or another link is better.
func (p *peer) stay(ctx context.Context, port *switchboard.Port, s *session.Session) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { p.gossip(ctx, s) })
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.Done():
			return fmt.Errorf("relay: session with the other relay ended: %w", s.Err())
		case <-p.again:
			if err := p.relay.rival(port, s.Peer().ID); err != nil {
				return err
			}
		}
	}
}

// gossip opens streams for the backbone, one after the other.
func (p *peer) gossip(ctx context.Context, s *session.Session) {
	select {
	case <-p.talk:
	case <-ctx.Done():
	}
	for ctx.Err() == nil && s.Err() == nil {
		stream, err := s.OpenStream(ctx, session.KindMesh)
		if err == nil {
			err = stream.Accepted(ctx)
		}
		if err == nil {
			err = p.relay.converse(ctx, stream)
		}
		if stream != nil {
			_ = stream.Close()
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		p.log.WithError(err).Debug("stream for the backbone ended; opening another")
		t := time.NewTimer(meshPause)
		select {
		case <-t.C:
		case <-ctx.Done():
		case <-s.Done():
		}
		t.Stop()
	}
}

// trouble is the level at which failures are logged: what others say of
// themselves is not worth a warning.
func (p *peer) trouble() logrus.Level {
	if p.want != 0 {
		return logrus.DebugLevel
	}
	return logrus.WarnLevel
}

// recheck makes the peer see whether another link is better than its own.
func (p *peer) recheck() {
	select {
	case p.again <- struct{}{}:
	default:
	}
}

// enter changes the state.
func (p *peer) enter(state string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status.State != state {
		p.status.State, p.status.Since = state, time.Now()
	}
	p.status.Up = false
	if err != nil {
		p.status.Err = err
	}
}

// up notes that the link is one of the backbone.
func (p *peer) up(s *session.Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.State, p.status.Since = link.PhaseUp.String(), time.Now()
	p.status.Up, p.status.ID = true, s.Peer().ID
}

// state returns the present status.
func (p *peer) state() PeerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}
