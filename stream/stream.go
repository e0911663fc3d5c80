// Package stream is the seam between a session, the secure association of two
// nodes, and the ways to make conns out of it: the reliability layers. A layer
// is one implementation of [Layer]; native, yamux and sctp are in
// sub-packages, and streamtest holds the conformance suite that each passes.
//
// # Writing a layer
//
// A layer is started once on each side of a session and answers with a [Mux],
// which opens and accepts conns. A conn obeys the whole net.Conn contract and,
// beyond it, the promises of [Conn]; streamtest checks them. [OpError] and
// [DialerPort] hold what all layers share, so that a program cannot tell by an
// error or an address which layer it runs on.
package stream

import (
	"context"
	"net"

	"github.com/sirupsen/logrus"
)

// A Conn is what every layer hands out: the whole net.Conn contract, with
// half-close and reset. LocalAddr and RemoteAddr are of type [Addr].
//
// Multiple goroutines may invoke methods on a Conn simultaneously. Reads do
// not affect writes, nor writes reads.
//
// Read gives io.EOF only when the peer has ended its side cleanly and every
// byte was delivered, or after CloseRead. All other errors are *net.OpError values that wrap
// net.ErrClosed (this side closed), os.ErrDeadlineExceeded, a *[ResetError]
// or a *[ClosedError].
type Conn interface {
	// Read, Write, Close and the deadlines are those of net.Conn. A deadline
	// interrupts calls, blocked ones included, and leaves the conn usable.
	// Close releases this side's own blocked calls, delivers in the
	// background what was written, and tells the peer to stop writing.
	net.Conn

	// CloseRead throws away what arrives from now on and tells the peer,
	// whose writes then fail with a *ResetError of CodeCanceled. Own reads
	// give io.EOF, as TCP's do.
	CloseRead() error

	// CloseWrite sends what was written and then the end: the peer reads
	// io.EOF. Own writes fail with net.ErrClosed; reads go on.
	CloseWrite() error

	// Reset aborts both directions and throws away what is undelivered. The
	// peer's calls fail with a *ResetError that has the code and Remote set,
	// own calls with net.ErrClosed.
	Reset(code Code) error
}

// OpenOptions say how to open a conn. The zero value is the default.
type OpenOptions struct {
	// EarlyData returns the conn before the acceptor has answered, so that
	// the caller can write at once. A refusal then fails Read and Write.
	EarlyData bool
}

// A Layer makes conns out of sessions. Both nodes must speak the same layer.
// Its methods may be called by many goroutines.
type Layer interface {
	// Name is what nodes tell each other: lowercase letters, digits and
	// dashes.
	Name() string

	// Start runs the layer over s, on both sides, once for each session. It
	// does not wait for the peer. log is never nil.
	Start(s Session, log logrus.FieldLogger) (Mux, error)
}

// A Greeter is a [Layer] that tells the peer's something in the handshake of
// each session, and so before its first packet. Only layers that greet take
// datagrams.
type Greeter interface {
	Layer
	// Greeting returns the bytes for one session, at most 1 KiB. It does not
	// block.
	Greeting() ([]byte, error)
}

// A Flusher is a [Mux] that keeps what was written itself, instead of leaving
// it to the session at once.
type Flusher interface {
	Mux
	// Flush waits until the peer has everything that was written to conns.
	// Errors are ctx's, and why the mux or the session has ended.
	Flush(ctx context.Context) error
}

// A Mux is a layer at work on one session. Multiple goroutines may invoke its
// methods simultaneously. Once the session has ended they fail with its error.
type Mux interface {
	// Open opens a conn to a port of the peer. A refusal is a *ResetError
	// with Remote set and a refusal code. When ctx ends first, the peer is
	// told and Open returns ctx's error; afterwards ctx means nothing to the
	// conn. Other errors are net.ErrClosed after Close, and *ClosedError.
	Open(ctx context.Context, port uint16, opts OpenOptions) (Conn, error)

	// Accept returns the next conn that the peer wants. Errors are ctx's,
	// net.ErrClosed after Close, and *ClosedError when the session has ended.
	// A request that is there wins over a ctx that has ended.
	Accept(ctx context.Context) (Request, error)

	// Close ends the layer and waits for its goroutines. Conns still open
	// fail on both sides; the session stays.
	Close() error
}

// A Request is a conn that the peer wants. The receiver calls either Accept or
// Refuse, once, and without making the peer wait. Neither blocks.
type Request interface {
	// Port is the port that the peer named.
	Port() uint16
	// Accept tells the peer yes and returns the conn.
	Accept() (Conn, error)
	// Refuse tells the peer no and why.
	Refuse(code Code) error
}
