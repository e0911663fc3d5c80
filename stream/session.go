package stream

import (
	"context"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// A Session is the secure association of two nodes as a layer sees it.
// [FromSession] makes one. Multiple goroutines may invoke its methods
// simultaneously.
type Session interface {
	// LocalID and PeerID name the two nodes.
	LocalID() identity.NodeID
	PeerID() identity.NodeID

	// Initiator is true on exactly one of the two sides.
	Initiator() bool

	// OpenStream opens a stream without waiting for the peer's answer. It
	// blocks only at the peer's limit of streams.
	OpenStream(ctx context.Context, kind Kind) (Stream, error)

	// AcceptStream returns the next stream that the peer opened. The caller
	// answers with Accept or Refuse.
	AcceptStream(ctx context.Context) (Stream, error)

	// Greetings returns what the layers of both sides said in the handshake;
	// see [Greeter].
	Greetings() (own, peers []byte)

	// SendDatagram sends b unreliably to the layer at the other end. It keeps
	// nothing of b. If too many datagrams wait to be sent, it waits for room,
	// until ctx ends; one that need not wait is sent although ctx has ended. It
	// fails if b is longer than MaxDatagram, which changes with the path, at any
	// time and to as little as 1100 bytes.
	SendDatagram(ctx context.Context, b []byte) error
	MaxDatagram() int

	// ReceiveDatagram reads the next datagram into b, as far as it fits, and
	// returns its size. Those of applications are not among them.
	ReceiveDatagram(ctx context.Context, b []byte) (int, error)

	// Hold keeps the session from ending for want of streams until release is
	// called, once: for a layer whose conns are not streams of the session.
	Hold() (release func())

	// Done is closed when the session has ended; Err then says why, usually
	// with a *[ClosedError].
	Done() <-chan struct{}
	Err() error
}

// A Kind says what a session stream is for; its opener chooses it.
type Kind uint32

const (
	// MaxPort is the largest kind that is a port.
	MaxPort Kind = 0xffff

	// KindLayer is the one stream that a layer such as yamux runs over.
	KindLayer Kind = 0x10001
)

// A Stream is one ordered reliable byte stream of a session: a conn without
// addresses. Its methods promise what those of [Conn] do, with plain errors:
// io.EOF, net.ErrClosed, os.ErrDeadlineExceeded, *[ResetError] and
// *[ClosedError].
type Stream interface {
	// ID is the same on both sides, and unique in the session.
	ID() uint64
	// Kind is what the opener chose.
	Kind() Kind

	// Accept and Refuse are the acceptor's answer. They do not block.
	Accept() error
	Refuse(code Code) error

	// Accepted waits for the acceptor's answer: nil, *ResetError with Remote
	// set, or ctx's error.
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
