package session

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/wire"
	"golang.org/x/time/rate"
)

// Limits that are not configurable.
const (
	// acceptQueue is how many streams of a session may wait for AcceptStream.
	acceptQueue = 1024
	// controlQueue is the same for AcceptControl: a node needs one, another relay
	// two, and a node that is no relay never takes any.
	controlQueue = 4
	// maxSessions is how many sessions of one peer there are, so that it cannot
	// have any number of windows and streams: the next ends the oldest. Two come
	// about where both sides dial at once, more while some that nobody heard the
	// end of have not timed out.
	maxSessions = 8
	// resetsPerSecond bounds the stateless resets that an endpoint sends.
	resetsPerSecond = 100
	// retiredLinger is how long a session that another one replaces stays
	// after its last stream, for streams that the peer is just opening.
	retiredLinger = 5 * time.Second
)

// A Config configures an Endpoint. It must not be modified afterwards.
type Config struct {
	// Credentials say who this node is. Required.
	Credentials *identity.Credentials
	// Layer is the name of the reliability layer, which the peer is told.
	Layer string
	// Greeting returns what the layer wants the peer's to know before the first
	// packet, fresh for each session, up to wire.MaxGreeting bytes. If nil, the
	// layer has nothing to say, and takes no datagrams.
	Greeting func() ([]byte, error)
	// Route returns the path by which the switch reaches a peer. Required for
	// Dial.
	Route func(peer identity.NodeID) Path
	// OnSession is called for each new established session, from its
	// goroutine, before Dial returns it. It must not block.
	OnSession func(*Session)
	// OnBind is called when a peer has proven that it is the neighbour at the
	// other end of a link that is no [Direct]. It must not block.
	OnBind func(peer identity.Peer, link Path)
	// KeyLog gets the TLS secrets of all sessions; see handshake.Config.
	KeyLog io.Writer
	// OnCandidates is called with what the peer's SetCandidates said, which is
	// at most wire.MaxCandidates bytes, from the session's goroutine. It must
	// not block. b is the callee's.
	OnCandidates func(s *Session, b []byte)
	// OnPath is called when something happened to a path of a session, from
	// its goroutine. It must not block.
	OnPath func(s *Session, e PathEvent)

	HandshakeTimeout time.Duration // for a handshake; zero: 10 s
	PeerTimeout      time.Duration // silence after which a peer is lost; zero: 60 s
	GoneTimeout      time.Duration // the same once its relay says that it hung up; zero: 18 s
	KeepAlive        time.Duration // silence after which a session with streams asks; zero: 10 s
	IdleTimeout      time.Duration // a session without streams and datagrams ends after; zero: 5 min

	// Limits on unfinished handshakes that others have begun: of all, in the name
	// of one node, and from one address: that of a [Direct], or the origin of an
	// [Originator]. What comes over a relay has no address. Zero: 1024, 8 and 256.
	MaxHandshakes, MaxHandshakesPerNode, MaxHandshakesPerAddress int

	MaxStreams      uint64 // concurrent streams that a peer may open; zero: 16384
	StreamWindow    uint64 // bytes a peer may send ahead on a new stream; zero: 256 KiB
	MaxStreamWindow uint64 // to which the window grows with the path; zero: 16 MiB
}

func (c Config) withDefaults() Config {
	c.HandshakeTimeout = orElse(c.HandshakeTimeout, 10*time.Second)
	c.PeerTimeout = orElse(c.PeerTimeout, time.Minute)
	c.GoneTimeout = orElse(c.GoneTimeout, 18*time.Second)
	c.KeepAlive = orElse(c.KeepAlive, 10*time.Second)
	c.IdleTimeout = orElse(c.IdleTimeout, 5*time.Minute)
	c.MaxHandshakes = orElse(c.MaxHandshakes, DefaultMaxHandshakes)
	c.MaxHandshakesPerNode = orElse(c.MaxHandshakesPerNode, DefaultMaxHandshakesPerNode)
	c.MaxHandshakesPerAddress = orElse(c.MaxHandshakesPerAddress, DefaultMaxHandshakesPerAddress)
	c.MaxStreams = orElse(c.MaxStreams, 16384)
	c.StreamWindow = orElse(c.StreamWindow, 256<<10)
	c.MaxStreamWindow = max(orElse(c.MaxStreamWindow, 16<<20), c.StreamWindow)
	return c
}

// greeting returns the greeting of a new session.
func (c *Config) greeting() (string, error) {
	if c.Greeting == nil {
		return "", nil
	}
	b, err := c.Greeting()
	switch {
	case err != nil:
		return "", fmt.Errorf("session: greeting of layer %q: %w", c.Layer, err)
	case len(b) > wire.MaxGreeting:
		return "", fmt.Errorf("session: layer %q greets with %d bytes; the limit is %d", c.Layer, len(b), wire.MaxGreeting)
	}
	return string(b), nil
}

func orElse[T int | uint64 | time.Duration](v, other T) T {
	if v == 0 {
		return other
	}
	return v
}

// An Endpoint owns all sessions of a node. Multiple goroutines may call its
// methods simultaneously.
type Endpoint struct {
	cfg      Config
	self     identity.NodeID
	instance uint64
	resetKey [32]byte
	resets   *rate.Limiter
	dropped  atomic.Uint64
	byID     sync.Map // local session ID -> *Session
	wg       sync.WaitGroup

	mu       sync.Mutex // guards what follows; taken before a session's
	initials map[initialKey]*Session
	openings openings
	peers    map[identity.NodeID]*peerEntry
	all      map[*Session]struct{}
	closed   bool
}

// An initialKey finds the session for a client's repeated first packet.
type initialKey struct {
	src identity.NodeID
	dst uint64
}

// A peerEntry is what an endpoint has of one peer.
type peerEntry struct {
	sessions []*Session    // established; the preferred one first
	dialing  *Session      // a handshake of ours
	up       chan struct{} // closed when a session is established
}

// NewEndpoint returns an endpoint without sessions.
func NewEndpoint(cfg Config) (*Endpoint, error) {
	if cfg.Credentials == nil {
		return nil, errors.New("session: Config.Credentials is required")
	}
	key := cfg.Credentials.Key()
	return &Endpoint{
		cfg: cfg.withDefaults(), self: key.ID(), instance: rand.Uint64(),
		resetKey: key.Derive("weft stateless reset", nil),
		resets:   rate.NewLimiter(resetsPerSecond, resetsPerSecond),
		initials: map[initialKey]*Session{},
		openings: newOpenings(),
		peers:    map[identity.NodeID]*peerEntry{},
		all:      map[*Session]struct{}{},
	}, nil
}

// Dropped counts the packets that belonged to no session, or that a limit on
// handshakes turned away.
func (e *Endpoint) Dropped() uint64 { return e.dropped.Load() }

// Receive takes ownership of a data frame for this node. It never blocks. via
// is the link that the frame came in on.
func (e *Endpoint) Receive(f *frame.Frame, via Path) {
	h, err := wire.Peek(f.Packet())
	if err != nil {
		e.drop(f)
		return
	}
	if v, ok := e.byID.Load(h.Dst); ok && !h.Reset {
		s := v.(*Session)
		if s.mayBeFrom(f.Src()) {
			urgent := f.Urgent()
			if first := s.in.put(f, via); urgent && s.quickTurn(false) {
				return
			} else if first {
				s.Wake()
			}
			return
		}
		e.drop(f)
		return
	}
	switch {
	case h.Reset:
		e.reset(f.Src(), h)
	case h.Space == wire.SpaceInitial:
		e.initial(f, via, h)
		return
	case h.Space == wire.SpaceApp && via != nil && len(f.Packet()) > wire.ResetLen: // RFC 9000 section 10.3.3
		e.sendReset(f.Src(), via, h.Dst)
	}
	e.drop(f)
}

func (e *Endpoint) drop(f *frame.Frame) {
	e.dropped.Add(1)
	f.Release()
}

// resetToken is the token by which a peer knows that this node has really
// forgotten the session (RFC 9000 section 10.3.2).
func (e *Endpoint) resetToken(id uint64) (token [wire.ResetTokenLen]byte) {
	mac := hmac.New(sha256.New, e.resetKey[:])
	_, _ = mac.Write([]byte{
		byte(id >> 56), byte(id >> 48), byte(id >> 40), byte(id >> 32),
		byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id),
	})
	copy(token[:], mac.Sum(nil))
	return token
}

// sendReset answers a packet of a session that this node does not know.
func (e *Endpoint) sendReset(to identity.NodeID, via Path, id uint64) {
	if !e.resets.Allow() {
		return
	}
	f := frame.New(wire.ResetLen)
	wire.AppendReset(f.Packet()[:0], id, e.resetToken(id))
	f.SetDst(to)
	_ = via.Send(f)
}

// reset ends the session that a stateless reset speaks of, if its token is
// right.
func (e *Endpoint) reset(from identity.NodeID, h wire.Header) {
	e.mu.Lock()
	var hit *Session
	if p := e.peers[from]; p != nil {
		for _, s := range p.sessions {
			if s.isReset(h.Dst, h.Token) {
				hit = s
			}
		}
	}
	e.mu.Unlock()
	if hit != nil {
		hit.do(func(time.Time) { hit.end(&ClosedError{Cause: ErrPeerRestarted}) })
	}
}

// Notice tells the sessions with a node what a relay said about it. A dial
// without an answer fails; an established session takes it for a hint.
func (e *Endpoint) Notice(n frame.Notice) {
	e.mu.Lock()
	p := e.peers[n.Node]
	var dialing *Session
	var sessions []*Session
	if p != nil {
		dialing = p.dialing
		sessions = append(sessions, p.sessions...)
	}
	e.mu.Unlock()
	if dialing != nil {
		dialing.do(func(time.Time) { dialing.noticeDialing(n) })
	}
	for _, s := range sessions {
		s.do(func(now time.Time) { s.notice(now, n) })
	}
}

// PathUp tells all sessions, those that are being made included, that the way to
// the relays is back, so that they do not wait for their timers.
func (e *Endpoint) PathUp() {
	e.mu.Lock()
	all := slices.Collect(maps.Keys(e.all))
	e.mu.Unlock()
	for _, s := range all {
		s.do(s.pathUp)
	}
}

// Session returns the established session with a peer, or nil.
func (e *Endpoint) Session(peer identity.NodeID) *Session {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.peers[peer]; p != nil && len(p.sessions) > 0 {
		return p.sessions[0]
	}
	return nil
}

// Sessions returns all established sessions.
func (e *Endpoint) Sessions() (all []*Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.peers {
		all = append(all, p.sessions...)
	}
	return all
}

// Shutdown delivers what was written, until ctx ends, and then closes.
func (e *Endpoint) Shutdown(ctx context.Context) error {
	var wg sync.WaitGroup
	var failed atomic.Bool
	for _, s := range e.Sessions() {
		wg.Go(func() {
			if s.flush(ctx) != nil {
				failed.Store(true)
			}
		})
	}
	wg.Wait()
	err := e.Close()
	if failed.Load() {
		return context.Cause(ctx)
	}
	return err
}

// Close ends all sessions at once, tells the peers, and waits for the
// sessions' goroutines.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	e.closed = true
	var all []*Session
	for s := range e.all {
		all = append(all, s)
	}
	e.mu.Unlock()
	for _, s := range all {
		s.do(func(time.Time) { s.end(&ClosedError{Reason: "the node was closed"}) })
	}
	e.wg.Wait()
	return nil
}

// errClosed is what a closed endpoint answers.
var errClosed = &ClosedError{Reason: "the node is closed", Cause: net.ErrClosed}
