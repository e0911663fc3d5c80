package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/uplink"
	"github.com/weftnet/weft/stream"
)

// What errors.Is finds in the errors of this package.
var (
	// ErrUnknownNode means that no relay knows a node of that ID, key or name.
	ErrUnknownNode = errors.New("no such node")
	// ErrRefused means that the peer declined the conn: nobody listens on the
	// port, the listener's backlog is full, it does not allow this node, or it
	// is leaving.
	ErrRefused = stream.ErrRefused
	// ErrNotAllowed means that the peer does not allow this node on that port, or,
	// in an error that is an ErrNoRelay as well, that a relay does not serve this
	// node. Such an error is an ErrRefused, too.
	ErrNotAllowed = errors.New("the peer does not allow this node on that port")
	// ErrNoRelay means that no relay could be reached. The text says why for
	// each.
	ErrNoRelay = errors.New("no relay is reachable")
	// ErrPeerLost means that the peer has not answered for too long.
	ErrPeerLost = session.ErrPeerLost
	// ErrPeerRestarted means that the peer's process has begun anew, and its
	// former conns with it.
	ErrPeerRestarted = session.ErrPeerRestarted
	// ErrLayerMismatch means that both nodes have different
	// Config.Reliability.
	ErrLayerMismatch = errors.New("the nodes speak different reliability layers")
	// ErrAmbiguousName means that several nodes have the name that was dialled.
	ErrAmbiguousName = errors.New("several nodes have that name; dial one of them by ID")
	// ErrWrongPeer means that a node answered that is not the one dialled: it
	// has another key or not that name.
	ErrWrongPeer = identity.ErrWrongPeer
	// ErrSelf means that a node dialled itself, which it cannot.
	ErrSelf = session.ErrSelf
)

// errNodeClosed is what the methods of a closed node return.
var errNodeClosed = fmt.Errorf("overlay: the node is closed: %w", net.ErrClosed)

// An Attempt is one way in which a dial tried to reach its target.
type Attempt struct {
	// Target is whom the attempt was for: an ID, a key or a name.
	Target string
	// Path is the way that was tried, such as "relay relay.example.org:9999".
	// It is empty if there was none yet.
	Path string
	// Err is why the attempt failed.
	Err error
}

// String is one clause of the text of a [DialError].
func (a Attempt) String() string {
	if a.Path == "" {
		return a.Err.Error()
	}
	return fmt.Sprintf("by %s: %v", a.Path, a.Err)
}

// A DialError says what a dial tried and why each attempt failed. errors.Is and
// errors.As look into all attempts.
type DialError struct {
	Attempts []Attempt // oldest first, at least one
}

// Error lists the attempts.
func (e *DialError) Error() string {
	each := make([]string, len(e.Attempts))
	for i, a := range e.Attempts {
		each[i] = a.String()
	}
	return strings.Join(each, "; then ")
}

// Unwrap returns the attempts' errors.
func (e *DialError) Unwrap() []error {
	errs := make([]error, len(e.Attempts))
	for i, a := range e.Attempts {
		errs[i] = a.Err
	}
	return errs
}

// Timeout reports whether the last attempt ran out of time.
func (e *DialError) Timeout() bool {
	err := e.Attempts[len(e.Attempts)-1].Err
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, session.ErrTimeout)
}

// Temporary is part of net.Error and always false.
func (e *DialError) Temporary() bool { return false }

var _ net.Error = (*DialError)(nil)

// A kindError is err, whose text says enough, and matches kind, too.
type kindError struct{ kind, err error }

func (e *kindError) Error() string   { return e.err.Error() }
func (e *kindError) Unwrap() []error { return []error{e.kind, e.err} }

// noRelay makes an ErrNoRelay of an error of the uplinks.
func noRelay(err error) error {
	if none, ok := errors.AsType[*uplink.NoRelayError](err); ok && none.NotServed() {
		err = &kindError{ErrNotAllowed, &kindError{ErrRefused, err}}
	}
	return &kindError{ErrNoRelay, err}
}

// explain adds to an error of the parts below which of this package's errors
// it is.
func explain(err error) error {
	if _, ok := errors.AsType[*session.UnreachableError](err); ok {
		return &kindError{ErrUnknownNode, err}
	}
	if reset, ok := errors.AsType[*stream.ResetError](err); ok && reset.Remote {
		switch reset.Code {
		case stream.CodeNotAllowed:
			return &kindError{ErrNotAllowed, err}
		case stream.CodeLayer:
			return &kindError{ErrLayerMismatch, err}
		}
	}
	return err
}
