// Package session is the secure transport between two nodes: one session
// carries everything between them, whatever path the packets take. It follows
// QUIC (RFC 9000, 9001, 9002) with packets up to 64 KiB, addressing by node ID
// and paths in both directions; SPEC.md says where it differs.
//
// An [Endpoint] owns the sessions of a node. Each [Session] has one goroutine,
// which owns its state; other goroutines touch a session only through streams,
// each under its own lock, and through queues.
package session

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/handshake"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/recovery"
	"github.com/weftnet/weft/internal/wire"
)

// A Waker is told when a path that was full takes packets again.
type Waker = interface{ Wake() }

// A Path carries packets towards one peer. The switch implements it. Paths
// are compared with ==. All methods are safe for concurrent use and never
// block.
type Path interface {
	// Ready reports whether the path takes packets now. If it does not, it
	// calls w.Wake once when it does.
	Ready(w Waker) bool
	// Send takes ownership of f, whose destination the caller has set, and
	// queues it. An error says why the frame was dropped.
	Send(f *frame.Frame) error
	// MaxPacket is the largest packet, wire.MinPacket to frame.MaxPacket.
	MaxPacket() int
	// ID returns the node that has proven to be the neighbour at the other
	// end of this very link; 0 if none has, or if the path is a route.
	ID() identity.NodeID
	// String describes the path to people.
	String() string
}

// A Kind says what a stream is for; its opener chooses it. Kinds up to 65535
// are ports.
type Kind uint32

// The kinds that are not ports.
const (
	KindControl Kind = 0x10000 // the control protocol between a node and its relay
	KindLayer   Kind = 0x10001 // the one stream that carries a layer such as yamux
	KindMesh    Kind = 0x10002 // the gossip between two relays of a backbone
	KindMax     Kind = 0x1ffff // larger kinds are refused
)

// A Session is the secure association of two nodes. Multiple goroutines may
// call its methods simultaneously.
type Session struct {
	ep      *Endpoint
	client  bool
	localID uint64 // session ID that the peer addresses
	origDst uint64 // destination of the client's first packet
	target  identity.Target
	claimed identity.NodeID // server: the source of the first packet
	origin  string          // server: who answers for that packet
	unsure  bool            // server: nothing proves that the client is at the Direct that it uses
	budget  int             // bytes that may be sent there meanwhile
	counted bool            // no longer an unfinished handshake; guarded by Endpoint.mu
	expect  atomic.Uint64   // node whose frames may be of this session; 0: any
	wakeup  signal
	ready   chan struct{} // closed once established
	done    chan struct{} // closed after everything has ended
	dead    atomic.Pointer[closedBy]

	in          inbox
	smoothed    atomic.Int64 // smoothed round trip, for streams
	credit      atomic.Uint64
	pinned      atomic.Int64  // memory of all streams' received data, in bytes
	window      atomic.Uint64 // session receive window
	creditDue   atomic.Uint64 // credit at which MAX_DATA is due
	maxDatagram atomic.Int64  // largest packet of the path
	layerInUse  atomic.Int64  // bytes in layerIn
	layerRoom   signal        // there may be room in dgramOut[forLayer]

	mu           sync.Mutex // guards what follows, up to the owner's part
	dirty        []*Stream  // streams with something to send
	commands     []func(now time.Time)
	streams      map[uint64]*Stream
	opened       uint64 // streams opened by this side
	maxOpen      uint64 // MAX_STREAMS of the peer
	openable     signal
	flushing     chan struct{} // closed when all that was written is delivered
	stats        Stats
	path         Path
	peer         identity.Peer
	params       wire.Params // of the peer
	accept       queue[*Stream]
	control      queue[*Stream]
	layerIn      queue[[]byte]
	dgramOut     [2]datagrams // forApps, forLayer
	dgramTurn    int          // who comes next
	held         int          // see Hold
	greeting     string       // of this side
	dgramDropped uint64

	// turns guards what follows. The session's goroutine has it but while it waits; see
	// quickTurn for the others. It is taken before all other locks, and no I/O that may
	// wait is done under it.
	turns sync.Mutex
	core
}

// core is the state that only who takes a turn touches: the session's goroutine as a rule.
type core struct {
	peerID      identity.NodeID // as claimed until the handshake is done
	remoteID    uint64          // session ID that the peer chose
	hs          *handshake.Conn
	app         *handshake.AppKeys
	spaces      [wire.NumSpaces]space
	leaveOut    leaveOut
	det         *recovery.Detector
	onDatagram  func(b []byte)
	earlyIn     datagrams // came before onDatagram was known
	state       state
	started     time.Time
	armed       time.Time // when timer fires
	timer       *time.Timer
	lastRecv    time.Time
	awaiting    time.Time // first ack-eliciting packet sent since lastRecv
	gone        time.Time // when a relay said that the peer is gone
	backAt      time.Time // when a relay said that it is back, and was believed
	idleSince   time.Time // without streams since
	onlyControl bool      // its streams are control streams
	retired     bool      // another session is preferred: end when idle
	paceUntil   time.Time
	keyUpdates  uint64    // of the peer, seen so far
	oldKeyUntil time.Time // when the key before the last one is forgotten
	early       []item    // packets that came before their keys
	earlyBytes  int       // memory that they hold
	probes      [wire.NumSpaces]int
	seen        spans     // numbers of the peer's streams, in use or over
	closedIn    uint64    // peer's streams that have ended
	maxAccept   uint64    // MAX_STREAMS as last decided
	recvMax     uint64    // MAX_DATA as last decided
	recvTotal   uint64    // bytes of all streams, received
	sendMax     uint64    // MAX_DATA of the peer
	sendTotal   uint64    // bytes of all streams, sent
	unacked     uint64    // bytes of all streams, sent and kept until they are acknowledged
	starved     []*Stream // wait for MAX_DATA, or for acknowledgements
	mtu         int       // largest packet that the path in use is believed to carry
	ownPath     Path      // the path in use
	paths       pathTable
	progress    progress
	cands       candidates
	proven      Path // link that leads to the peer, as was proven last
	wantProbe   bool
	pings       []ping
	pingID      uint64
	validation  validation
	responses   []response
	round       fifo[*Stream] // streams that take turns in sending

	sendMaxData    bool
	sendMaxStreams bool
	sendDone       bool // HANDSHAKE_DONE must be sent
	doneAcked      bool
	confirmed      bool
	peerClosed     bool
	remoteKnown    bool // client: remoteID is the server's choice

	quick bool     // this turn is not taken by the session's goroutine
	later []func() // calls of the endpoint's owner for the session's goroutine to make

	count   Stats // published in each turn
	plan    plan
	fr      wire.Frame
	closing *closedBy
}

// state is where a session is in its life.
//
//	handshaking --> established --> ended
//	      \____________________________^
type state uint8

const (
	handshaking state = iota // sends and takes handshake packets
	established              // peer proven; streams work
	ended                    // nothing is sent or taken any more
)

// closedBy is why a session has ended, with the error that its users see.
type closedBy struct{ err error }

// LocalID returns the node that this side is.
func (s *Session) LocalID() identity.NodeID { return s.ep.self }

// Peer returns who the peer has proven to be.
func (s *Session) Peer() identity.Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer
}

// PeerLayer returns the name of the reliability layer that the peer speaks.
func (s *Session) PeerLayer() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.params.Layer
}

// Greetings returns what the layers of both sides told each other in the
// handshake.
func (s *Session) Greetings() (own, peers []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return []byte(s.greeting), []byte(s.params.Greeting)
}

// Initiator is true on exactly one of the two sides.
func (s *Session) Initiator() bool { return s.client }

// Path returns the path in use.
func (s *Session) Path() Path {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.path
}

// Done is closed when the session has ended; Err then says why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session has ended, or nil.
func (s *Session) Err() error { return s.death() }

// death returns why the session has ended, or nil.
func (s *Session) death() error {
	if d := s.dead.Load(); d != nil {
		return d.err
	}
	return nil
}

// OpenStream opens a stream. It does not wait for the peer, unless the peer
// allows no further stream yet.
func (s *Session) OpenStream(ctx context.Context, k Kind) (*Stream, error) {
	for {
		st, err := s.tryOpen(k)
		if err != nil {
			return nil, err
		}
		if st != nil {
			s.turnOrWake()
			return st, nil
		}
		select {
		case <-s.openable:
		case <-s.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (s *Session) tryOpen(k Kind) (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.death(); err != nil {
		return nil, err
	}
	if s.opened >= s.maxOpen {
		return nil, nil
	}
	id := s.opened << 1
	if !s.client {
		id |= 1
	}
	s.opened++
	if s.opened < s.maxOpen {
		s.openable.set()
	}
	st := newStream(s, id, k, s.ep.cfg.StreamWindow, s.params.MaxStream)
	st.out.sendOpen = true
	s.streams[id] = st
	s.queueLocked(st)
	return st, nil
}

// AcceptStream returns the next stream that the peer opened, of any kind but
// KindControl and KindMesh. The caller answers with Stream.Accept or Stream.Refuse.
func (s *Session) AcceptStream(ctx context.Context) (*Stream, error) { return s.accept.get(ctx) }

// AcceptControl is AcceptStream for KindControl and KindMesh: what relays take.
func (s *Session) AcceptControl(ctx context.Context) (*Stream, error) { return s.control.get(ctx) }

// CloseWithError ends the session at once and tells the peer. Streams fail.
// It returns when the session has ended.
func (s *Session) CloseWithError(code uint64, reason string) error {
	s.do(func(time.Time) {
		if s.closing == nil {
			s.closing = &closedBy{&ClosedError{Code: code, Reason: reason}}
		}
	})
	<-s.done
	return nil
}

// flush waits until everything written has been delivered.
func (s *Session) flush(ctx context.Context) error {
	s.mu.Lock()
	if s.flushing == nil {
		s.flushing = make(chan struct{})
	}
	flushed := s.flushing
	s.mu.Unlock()
	s.Wake()
	select {
	case <-flushed:
	case <-s.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// do runs f in the session's goroutine, soon, unless the session ends first.
func (s *Session) do(f func(now time.Time)) {
	if s.death() != nil {
		return
	}
	s.mu.Lock()
	s.commands = append(s.commands, f)
	s.mu.Unlock()
	s.Wake()
}

// Wake makes the session's goroutine look around. It implements Waker.
func (s *Session) Wake() { s.wakeup.set() }

// queue lets the session's goroutine know that st has something to send or
// may be done.
func (s *Session) queue(st *Stream) {
	s.mu.Lock()
	s.queueLocked(st)
	s.mu.Unlock()
	s.Wake()
}

// queueQuick is queue for the goroutines of applications, when it is little that st has
// to send.
func (s *Session) queueQuick(st *Stream) {
	s.mu.Lock()
	s.queueLocked(st)
	s.mu.Unlock()
	s.turnOrWake()
}

// turnOrWake has a little sent: by the caller, if it can be, or else by the session's
// goroutine.
func (s *Session) turnOrWake() {
	if !s.quickTurn(true) {
		s.Wake()
	}
}

func (s *Session) queueLocked(st *Stream) {
	if !st.queued {
		st.queued = true
		s.dirty = append(s.dirty, st)
	}
}

func (s *Session) rtt() time.Duration { return time.Duration(s.smoothed.Load()) }

// creditData counts bytes that need no buffer any more.
func (s *Session) creditData(n uint64) {
	if n > 0 && s.credit.Add(n) >= s.creditDue.Load() {
		s.Wake()
	}
}

// sessionWindow is the receive window of a session whose largest stream has the
// window stream: so much that dozens of streams that nobody reads do not hold
// up the others.
func (c *Config) sessionWindow(stream uint64) uint64 { return 64*c.StreamWindow + 2*stream }

// growWindow makes the session's window fit a stream's.
func (s *Session) growWindow(stream uint64) {
	want := s.ep.cfg.sessionWindow(stream)
	for {
		old := s.window.Load()
		if old >= want || s.window.CompareAndSwap(old, want) {
			return
		}
	}
}

// Stats are counters and gauges of a session.
type Stats struct {
	RTT, MinRTT                               time.Duration
	CongestionWindow, BytesInFlight           int // bytes
	PacketsSent, PacketsReceived, PacketsLost uint64
	BytesSent, BytesReceived                  uint64 // of packets
	PacketsDropped                            uint64 // received and thrown away: malformed, replayed, not to be opened, queue full
	AnswersIgnored                            uint64 // PATH_RESPONSEs that no challenge on their path asked for, or late
	PathsRefused                              uint64 // paths beyond a limit
	ChallengesDropped                         uint64 // PATH_CHALLENGEs while too many waited for their answer
	Unproven                                  uint64 // packets of a handshake not sent, since the client may be elsewhere
	DatagramsDropped                          uint64 // sent or received while a queue was full
	Streams                                   int
	Turns                                     uint64 // times that the session's goroutine woke up
}

// Stats returns a snapshot.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.PacketsDropped += s.in.dropped.Load()
	st.DatagramsDropped += s.dgramDropped
	st.Streams = len(s.streams)
	return st
}

var _ net.Error = (*timeoutError)(nil)

// timeoutError marks an error as a timeout for net.Error.
type timeoutError struct{ error }

func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return false }
func (e timeoutError) Unwrap() error { return e.error }
