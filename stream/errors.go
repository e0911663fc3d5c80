package stream

import (
	"errors"
	"fmt"
	"net"
)

// A Code says why a stream was reset or refused. It is not an error itself:
// [ResetError] says whose code it is.
type Code uint32

// The codes that weft itself uses.
const (
	CodeNone         Code = iota // closed without saying why
	CodeCanceled                 // the reader or writer went away
	CodeNoListener               // refused: nobody listens on the port
	CodeBacklogFull              // refused: the listener's backlog is full
	CodeNotAllowed               // refused: the listener does not allow this peer
	CodeLayer                    // refused: both sides speak different layers
	CodeShuttingDown             // refused or reset: the node is leaving

	// CodeApplication is the first code that applications may give a meaning
	// of their own with [Conn.Reset].
	CodeApplication Code = 0x100
)

// String names the code in words fit for an error.
func (c Code) String() string {
	switch c {
	case CodeNone:
		return "no reason given"
	case CodeCanceled:
		return "its user went away"
	case CodeNoListener:
		return "nobody listens on the port"
	case CodeBacklogFull:
		return "the listener's backlog is full"
	case CodeNotAllowed:
		return "the listener does not allow this peer"
	case CodeLayer:
		return "both sides speak different reliability layers"
	case CodeShuttingDown:
		return "the node is shutting down"
	}
	if c >= CodeApplication {
		return fmt.Sprintf("application code %#x", uint32(c))
	}
	return fmt.Sprintf("code %#x", uint32(c))
}

// Refusal reports whether c is a reason not to open a conn at all.
func (c Code) Refusal() bool { return c >= CodeNoListener && c <= CodeShuttingDown }

// ErrRefused is what errors.Is finds in every *[ResetError] by which a peer
// declined a conn, whatever the code.
var ErrRefused = errors.New("stream: refused by the peer")

// A ResetError says that a stream was aborted or refused, and by whom.
// errors.Is finds net.ErrClosed in it if this side did it, and [ErrRefused] if
// it is the peer's refusal.
type ResetError struct {
	Code   Code
	Remote bool // the peer did it
}

// Error says who did it and the code in words.
func (e *ResetError) Error() string {
	who, what := "this side", "reset"
	if e.Remote {
		who = "the peer"
	}
	if e.Code.Refusal() {
		what = "refused"
	}
	return fmt.Sprintf("stream %s by %s: %s", what, who, e.Code)
}

// Is makes errors.Is find net.ErrClosed and [ErrRefused].
func (e *ResetError) Is(target error) bool {
	switch target {
	case net.ErrClosed:
		return !e.Remote
	case ErrRefused:
		return e.Remote && e.Code.Refusal()
	}
	return false
}

// A ClosedError says that the session below a conn has ended, and with it the
// conn. errors.Is finds net.ErrClosed in it if this side ended the session, and
// whatever Cause wraps.
type ClosedError struct {
	Remote bool   // the peer ended it
	Code   uint64 // as given by the side that ended it
	Reason string // for people, as given by the side that ended it
	Cause  error  // why it ended if nobody ended it, such as a peer that is gone; may be nil
}

// Error says who ended the session and why.
func (e *ClosedError) Error() string {
	why := e.Reason
	if why == "" {
		why = fmt.Sprintf("code %#x", e.Code)
	}
	switch {
	case e.Cause != nil:
		return "session ended: " + e.Cause.Error()
	case e.Remote:
		return "session closed by the peer: " + why
	}
	return "session closed by this side: " + why
}

// Is makes errors.Is find net.ErrClosed.
func (e *ClosedError) Is(target error) bool {
	return target == net.ErrClosed && !e.Remote && e.Cause == nil
}

// Unwrap returns Cause.
func (e *ClosedError) Unwrap() error { return e.Cause }
