package session

import (
	"context"
	"net"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// A Waker is told when a path that was full takes packets again.
type Waker interface{ Wake() }

// A Path carries packets towards one peer. The switch implements it. Paths are
// compared with ==. All methods are safe for concurrent use and never block.
type Path interface {
	// Ready reports whether the path takes packets now. If it does not, it
	// calls w.Wake once when it does (or when the path comes up).
	Ready(w Waker) bool
	// Send takes ownership of f, whose destination the caller has set, sets its source,
	// and queues it. The error says why a frame was dropped; it is a hint.
	Send(f *frame.Frame) error
	// MaxPacket is the largest packet, 1200 to frame.MaxPacket bytes.
	MaxPacket() int
	// Neighbour reports whether the peer is at the other end of this very
	// link, as opposed to somewhere behind a relay.
	Neighbour() bool
	String() string // for people: "relay 192.0.2.1:9999" or "tcp 192.0.2.7:4000"
}

// A Kind says what a stream is for; the opener chooses it.
type Kind uint32

// Kinds up to 65535 are ports. Above them:
const (
	KindControl  Kind = 0x10000 // control protocol between a node and its relay
	KindLayer    Kind = 0x10001 // the one stream that carries a layer such as yamux
	KindLayerMax Kind = 0x1ffff
)

// Config configures an Endpoint.
type Config struct {
	Credentials *identity.Credentials
	Layer       string // name of the reliability layer, told to the peer
	// Route returns the path that the switch uses to reach a peer.
	Route func(peer identity.NodeID) Path
	// OnSession is called, from the session's goroutine, for each new established session.
	// It must not block.
	OnSession func(*Session)
	// OnBind is called when a peer has proven that it is the neighbour at the
	// other end of path. It must not block.
	OnBind func(peer identity.Peer, path Path)

	HandshakeTimeout time.Duration // zero: 10 s
	PeerTimeout      time.Duration // silence after which a peer is lost; zero: 30 s
	GoneTimeout      time.Duration // silence after which a peer that its relay reports gone is lost; zero: 15 s
	KeepAlive        time.Duration // zero: 10 s; only while streams are open
	IdleTimeout      time.Duration // a session without streams closes after; zero: 5 min
}

// An Endpoint owns all sessions of a node.
type Endpoint struct{}

// NewEndpoint makes an endpoint.
func NewEndpoint(cfg Config) (*Endpoint, error) { panic("stub") }

// Receive takes ownership of a data frame that the switch delivered here, and never blocks. via is the link
// it came in on; replies before the session is established go there.
func (e *Endpoint) Receive(f *frame.Frame, via Path) { panic("stub") }

// Notice tells the endpoint what a relay said about a frame of ours.
func (e *Endpoint) Notice(n frame.Notice) { panic("stub") }

// PathUp tells all sessions that the route to the relays is back, so that they probe at once.
func (e *Endpoint) PathUp() { panic("stub") }

// Session returns the established session with peer, or nil.
func (e *Endpoint) Session(peer identity.NodeID) *Session { panic("stub") }

// Sessions returns all established sessions.
func (e *Endpoint) Sessions() []*Session { panic("stub") }

// Dial returns the established session with the target (ID or Key set), or makes one.
// Errors: *RefusedError by notice (peer unknown), context errors, *HandshakeError, net.ErrClosed.
func (e *Endpoint) Dial(ctx context.Context, target identity.Target) (*Session, error) { panic("stub") }

// DialNeighbour makes a session with whoever is at the other end of path (frames to destination 0).
func (e *Endpoint) DialNeighbour(ctx context.Context, path Path) (*Session, error) { panic("stub") }

// Shutdown closes all sessions gracefully: written data is delivered first, until ctx ends.
func (e *Endpoint) Shutdown(ctx context.Context) error { panic("stub") }

// Close closes all sessions at once, telling the peers, and waits for their goroutines.
func (e *Endpoint) Close() error { panic("stub") }

// A Session is the secure association with one peer.
type Session struct{}

func (s *Session) Peer() identity.Peer      { panic("stub") }
func (s *Session) LocalID() identity.NodeID { panic("stub") }
func (s *Session) PeerLayer() string        { panic("stub") } // reliability layer the peer speaks
func (s *Session) Initiator() bool          { panic("stub") } // exactly one of both sides is
func (s *Session) Path() Path               { panic("stub") } // the path in use

// OpenStream opens a stream of a kind; it does not wait for the peer. Blocks only at the peer's stream limit.
func (s *Session) OpenStream(ctx context.Context, k Kind) (*Stream, error) { panic("stub") }

// AcceptStream returns the next stream that the peer opened, of any kind but KindControl.
// The caller answers with Stream.Accept or Stream.Refuse.
func (s *Session) AcceptStream(ctx context.Context) (*Stream, error) { panic("stub") }

// AcceptControl is AcceptStream for KindControl.
func (s *Session) AcceptControl(ctx context.Context) (*Stream, error) { panic("stub") }

// SendDatagram sends b unreliably. Never blocks; full queues drop (counted). Too large: *TooLargeError.
func (s *Session) SendDatagram(b []byte) error { panic("stub") }

// ReceiveDatagram returns the next datagram. The caller owns the slice.
func (s *Session) ReceiveDatagram(ctx context.Context) ([]byte, error) { panic("stub") }

// MaxDatagram is the largest b that SendDatagram takes on the present path.
func (s *Session) MaxDatagram() int { panic("stub") }

// Ping measures one round trip.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) { panic("stub") }

// SetPath moves the session to p at once (tests, uplinks).
func (s *Session) SetPath(p Path) { panic("stub") }

// Done is closed when the session has ended; Err then says why.
func (s *Session) Done() <-chan struct{} { panic("stub") }
func (s *Session) Err() error            { panic("stub") }

// CloseWithError ends the session, telling the peer; streams fail with a reset.
func (s *Session) CloseWithError(code uint64, reason string) error { panic("stub") }

// Stats are counters and gauges of a session.
type Stats struct {
	RTT, MinRTT                               time.Duration
	CongestionWindow, BytesInFlight           int
	PacketsSent, PacketsReceived, PacketsLost uint64
	BytesSent, BytesReceived                  uint64
	PacketsDropped                            uint64 // received and thrown away: malformed, replayed, not decryptable, inbox full
	DatagramsDropped                          uint64
	Streams                                   int
}

func (s *Session) Stats() Stats { panic("stub") }

// A Stream is one ordered reliable byte stream of a session. It has the whole net.Conn contract
// except addresses. Any number of goroutines may call its methods.
type Stream struct{}

func (st *Stream) ID() uint64        { panic("stub") }
func (st *Stream) Kind() Kind        { panic("stub") }
func (st *Stream) Session() *Session { panic("stub") }

// Accept answers the opener's question with yes; Refuse with no and a code.
func (st *Stream) Accept() error            { panic("stub") }
func (st *Stream) Refuse(code uint64) error { panic("stub") }

// Accepted waits for the acceptor's answer: nil, *ResetError{Remote: true} with its code, or ctx's error.
func (st *Stream) Accepted(ctx context.Context) error { panic("stub") }

// Read returns buffered data before io.EOF or an error. Errors are io.EOF, net.ErrClosed, os.ErrDeadlineExceeded,
// *ResetError, *ClosedError (session ended).
func (st *Stream) Read(b []byte) (int, error) { panic("stub") }

// Write blocks for back-pressure.
func (st *Stream) Write(b []byte) (int, error) { panic("stub") }

// CloseWrite sends FIN after all written data. CloseRead tells the peer to stop sending.
func (st *Stream) CloseWrite() error { panic("stub") }
func (st *Stream) CloseRead() error  { panic("stub") }

// Close is CloseWrite and CloseRead; written data is still delivered in the background.
func (st *Stream) Close() error { panic("stub") }

// Reset aborts both directions with a code; undelivered data is thrown away.
func (st *Stream) Reset(code uint64) error { panic("stub") }

func (st *Stream) SetDeadline(t time.Time) error      { panic("stub") }
func (st *Stream) SetReadDeadline(t time.Time) error  { panic("stub") }
func (st *Stream) SetWriteDeadline(t time.Time) error { panic("stub") }

// A ResetError says that a stream was aborted. It matches net.ErrClosed only when Remote is false.
type ResetError struct {
	Code   uint64
	Remote bool
}

func (e *ResetError) Error() string        { return "session: stream reset" }
func (e *ResetError) Is(target error) bool { return target == net.ErrClosed && !e.Remote }

// A ClosedError says why a session ended. It matches net.ErrClosed when this side closed it.
type ClosedError struct {
	Remote bool
	Code   uint64
	Reason string
	Cause  error // ErrPeerLost, ErrPeerRestarted, or nil
}

func (e *ClosedError) Error() string { return "session: " + e.Reason }
