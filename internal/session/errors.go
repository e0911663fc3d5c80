package session

import (
	"errors"
	"fmt"
	"net"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// Codes with which a session ends: those of RFC 9000 section 20.1 where the
// meaning is the same. From codeCrypto on, the low byte is a TLS alert
// (RFC 9001 section 4.8).
const (
	CodeNoError         = 0x00
	CodeInternal        = 0x01
	CodeRefused         = 0x02 // whom it is with is not served here; sent by relays
	CodeFlowControl     = 0x03
	CodeStreamLimit     = 0x04
	CodeStreamState     = 0x05
	CodeFinalSize       = 0x06
	CodeFrameEncoding   = 0x07
	CodeParams          = 0x08
	CodeProtocol        = 0x0a
	codeCrypto          = 0x100
	refuseBacklogFull   = 3 // stream.CodeBacklogFull, which this package refuses with itself
	resetStreamCanceled = 1 // stream.CodeCanceled
)

// Reasons for which a session ends without word from the peer.
var (
	ErrPeerLost      = errors.New("the peer has not answered for too long")
	ErrPeerRestarted = errors.New("the peer has restarted and does not know the session any more")
	ErrTimeout       = errors.New("the peer has not answered the handshake")
	ErrIdle          = errors.New("the session was idle")
	ErrSelf          = errors.New("a node does not dial itself")
)

// A ClosedError says why a session has ended. It matches net.ErrClosed when
// this side closed it, and the Cause where there is one.
type ClosedError struct {
	Remote bool   // the peer closed it
	Code   uint64 // one of the Code constants, or a TLS alert above 0x100
	Reason string // from the side that closed it
	Cause  error  // ErrPeerLost, ErrPeerRestarted, ErrIdle, ErrTimeout or nil
}

func (e *ClosedError) Error() string {
	switch {
	case e.Cause != nil:
		return "session ended: " + e.Cause.Error()
	case e.Remote && e.Reason == "":
		return fmt.Sprintf("session closed by the peer (code %#x)", e.Code)
	case e.Remote:
		return fmt.Sprintf("session closed by the peer: %s (code %#x)", e.Reason, e.Code)
	case e.Reason == "":
		return "session closed"
	}
	return "session closed: " + e.Reason
}

// Unwrap returns the causes that errors.Is finds.
func (e *ClosedError) Unwrap() []error {
	var causes []error
	if e.Cause != nil {
		causes = append(causes, e.Cause)
	}
	if !e.Remote && e.Cause == nil {
		causes = append(causes, net.ErrClosed)
	}
	return causes
}

// A ResetError says that a stream was aborted. It matches net.ErrClosed only
// when this side did it.
type ResetError struct {
	Code   uint64
	Remote bool
}

func (e *ResetError) Error() string {
	if e.Remote {
		return fmt.Sprintf("stream reset by the peer (code %d)", e.Code)
	}
	return fmt.Sprintf("stream reset (code %d)", e.Code)
}

// Is reports whether target is net.ErrClosed and this side aborted the stream.
func (e *ResetError) Is(target error) bool { return target == net.ErrClosed && !e.Remote }

// An UnreachableError says that a relay knows no way to a peer.
type UnreachableError struct {
	Peer   identity.NodeID
	Notice frame.NoticeCode
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("node %s cannot be reached: %s", e.Peer, e.Notice)
}

// A HandshakeError says why no session came about.
type HandshakeError struct {
	Remote bool // the peer refused; Reason is what it said, unauthenticated
	Code   uint64
	Reason string
	Err    error // the local cause, where there is one
}

func (e *HandshakeError) Error() string {
	who := ""
	if e.Remote {
		who = " by the peer"
	}
	return fmt.Sprintf("handshake refused%s: %s", who, e.Reason)
}

// Unwrap returns the local cause.
func (e *HandshakeError) Unwrap() error { return e.Err }

// A TooLargeError says that a datagram does not fit a packet of the path.
type TooLargeError struct{ Max int }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("datagram is larger than the %d bytes that the path carries", e.Max)
}

// A protocolError is a violation by the peer that ends the session.
type protocolError struct {
	code   uint64
	reason string
}

func (e *protocolError) Error() string { return e.reason }

func violation(code uint64, format string, args ...any) error {
	return &protocolError{code: code, reason: fmt.Sprintf(format, args...)}
}
