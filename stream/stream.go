// Package stream is the seam between a session, the secure transport between
// two nodes, and the ways to make conns out of it: the reliability layers. A
// layer is one implementation of [Layer]; native, yamux and sctp are in
// sub-packages, and streamtest holds the conformance suite that each passes.
package stream

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/identity"
)

// An Addr names one end of a conn: a node and a port. It is comparable and
// stays the same while the paths below change.
type Addr struct {
	Node identity.NodeID
	Port uint16
}

// Network returns "overlay".
func (a Addr) Network() string { return "overlay" }

// String returns "<id>:<port>", which net.SplitHostPort parses and Dial takes.
func (a Addr) String() string { return fmt.Sprintf("%s:%d", a.Node, a.Port) }

var _ net.Addr = Addr{}

// A Code says why a stream was reset or refused.
type Code uint32

// The codes that weft itself uses. Applications use 0x100 and above with
// [Conn.Reset].
const (
	CodeNone         Code = iota // closed without saying why
	CodeCanceled                 // the reader or writer went away
	CodeNoListener               // refused: nobody listens on the port
	CodeBacklogFull              // refused: the listener's backlog is full
	CodeNotAllowed               // refused: the listener does not allow this peer
	CodeLayer                    // refused: both sides speak different layers
	CodeShuttingDown             // refused: the node is leaving
)

// A Conn is what every layer hands out: the whole net.Conn contract, with
// half-close and reset. Multiple goroutines may invoke methods on a Conn
// simultaneously. LocalAddr and RemoteAddr are of type [Addr].
type Conn interface {
	net.Conn
	// CloseRead throws away what arrives from now on and tells the peer, whose writes then fail.
	CloseRead() error
	// CloseWrite sends what was written and then the end: the peer reads io.EOF.
	CloseWrite() error
	// Reset aborts both directions; the peer's calls fail with a *ResetError that has the code.
	Reset(code Code) error
}

// A Session is the secure association of two nodes as a layer sees it.
type Session interface {
	LocalID() identity.NodeID
	PeerID() identity.NodeID
	// Initiator is true on exactly one of the two sides.
	Initiator() bool
	OpenStream(ctx context.Context, kind Kind) (Stream, error)
	AcceptStream(ctx context.Context) (Stream, error)
	SendDatagram(b []byte) error
	ReceiveDatagram(ctx context.Context) ([]byte, error)
	MaxDatagram() int
	Done() <-chan struct{}
	Err() error
}

// A Kind says what a session stream is for: a port up to 65535, or KindLayer.
type Kind uint32

// KindLayer is the one stream that a layer such as yamux runs over.
const KindLayer Kind = 0x10001

// A Stream is one ordered reliable byte stream of a session: a conn without addresses.
type Stream interface {
	ID() uint64
	Kind() Kind
	Accept() error
	Refuse(code Code) error
	// Accepted waits for the acceptor's answer: nil, *ResetError, or ctx's error.
	Accepted(ctx context.Context) error
	Read(b []byte) (int, error)
	Write(b []byte) (int, error)
	CloseRead() error
	CloseWrite() error
	Close() error
	Reset(code Code) error
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// A ResetError says that a stream was aborted and by whom. It matches
// net.ErrClosed only when this side did it.
type ResetError struct {
	Code   Code
	Remote bool
}

func (e *ResetError) Error() string { return "stream: reset" }

// OpenOptions say how to open a conn.
type OpenOptions struct {
	// EarlyData returns the conn before the acceptor has answered, so that
	// the caller can write at once. A refusal then fails Read and Write.
	EarlyData bool
}

// A Layer makes conns out of sessions. Both nodes must speak the same layer.
type Layer interface {
	// Name is what nodes tell each other: lowercase letters, digits and dashes.
	Name() string
	// Start runs the layer over s, on both sides, once for each session.
	Start(s Session, log logrus.FieldLogger) (Mux, error)
}

// A Mux is a layer at work on one session.
type Mux interface {
	// Open opens a conn to a port of the peer. A refusal is a *ResetError with Remote set and a Code* refusal code.
	Open(ctx context.Context, port uint16, opts OpenOptions) (Conn, error)
	// Accept returns the peer's next wish for a conn.
	Accept(ctx context.Context) (Request, error)
	// Close ends the layer and waits for its goroutines; the session stays.
	Close() error
}

// A Request is a conn that the peer wants. Exactly one of Accept and Refuse is called, at once.
type Request interface {
	Port() uint16
	Accept() (Conn, error)
	Refuse(code Code) error
}
