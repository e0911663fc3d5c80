package grid

import (
	"context"
	"errors"
	"fmt"

	"github.com/weftnet/weft/overlay"
)

// What errors.Is finds in the errors of calls and streams.
var (
	// ErrDisconnected means that there is no session with the peer, or that it ended before
	// the answer, and the handler may have run or not.
	ErrDisconnected = errors.New("grid: not connected")
	// ErrUnknownHandler means that the peer has no handler of that number and form.
	ErrUnknownHandler = errors.New("grid: unknown handler")
	// ErrTooLarge means that a payload, message or token is over its limit. Nothing was sent.
	ErrTooLarge = errors.New("grid: too large")
	// ErrOverloaded means that the peer runs as many handlers as it may. Nothing was done.
	ErrOverloaded = errors.New("grid: overloaded")
	// ErrNotAllowed means that the handler's rule has refused the call.
	ErrNotAllowed = errors.New("grid: not allowed")
	// ErrPanic means that the handler panicked; the peer goes on.
	ErrPanic = errors.New("grid: the handler panicked")
	// ErrRestarted is the cause of an ErrDisconnected if the peer's process has begun anew, so that
	// what it kept for this side is gone.
	ErrRestarted = errors.New("the peer has restarted")
	// ErrDuplicate means that a handler has that number already.
	ErrDuplicate = errors.New("grid: a handler has that number already")
)

type code uint32

const (
	codeHandler code = iota // the handler's own error
	codeUnknown
	codeTooLarge
	codeOverloaded
	codeNotAllowed
	codePanic
	codeDeadline
	codeCanceled
)

const maxText = 4 << 10 // bytes of an error's text

// known is what errors.Is finds in a RemoteError of each code.
var known = [...]error{
	codeUnknown: ErrUnknownHandler, codeTooLarge: ErrTooLarge, codeOverloaded: ErrOverloaded, codeNotAllowed: ErrNotAllowed,
	codePanic: ErrPanic, codeDeadline: context.DeadlineExceeded, codeCanceled: context.Canceled,
}

// codeOf is the code by which a handler's error travels. What a third node has said stays plain text: it
// is not about this call.
func codeOf(err error) code {
	if _, third := errors.AsType[*RemoteError](err); third {
		return codeHandler
	}
	for c, target := range known {
		if target != nil && errors.Is(err, target) {
			return code(c)
		}
	}
	return codeHandler
}

// A RemoteError is one that the peer gave, all others arose here.
type RemoteError struct {
	code code
	Text string
}

func (e *RemoteError) Error() string { return e.Text }

// Is makes errors.Is find what the peer's error was, as far as this package knows it.
func (e *RemoteError) Is(target error) bool {
	return e.code != codeHandler && int(e.code) < len(known) && target == known[e.code]
}

// A DisconnectedError says why there is no session with a peer.
type DisconnectedError struct {
	Peer  overlay.NodeID
	Cause error
}

func (e *DisconnectedError) Error() string {
	return fmt.Sprintf("grid: not connected to %v: %v", e.Peer, e.Cause)
}

// Is makes errors.Is find ErrDisconnected.
func (e *DisconnectedError) Is(target error) bool { return target == ErrDisconnected }

// Unwrap returns Cause.
func (e *DisconnectedError) Unwrap() error { return e.Cause }

var (
	errEnded    = errors.New("the peer has ended the session")
	errReplaced = errors.New("the peer has lost the session and made another")
	errSilent   = errors.New("the peer does not answer pings")
	errUnread   = errors.New("the peer does not read what it is sent")
	errClosed   = errors.New("this grid was closed")
	errNever    = errors.New("no session yet")
)
