package uplink

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
)

// A Phase is how far an uplink is.
type Phase uint8

// The phases. An uplink goes through them in this order, and back to
// PhaseWaiting or PhaseDialing when something breaks.
const (
	PhaseUnused    Phase = iota // the relay is known and not needed
	PhaseWaiting                // the next attempt is at Status.Next
	PhaseDialing                // a link is being made
	PhaseJoining                // the link is up, the session or the registration is not
	PhaseUp                     // the relay forwards and answers
	PhaseDuplicate              // another uplink leads to the same relay; this one stands by
	PhaseClosed                 // Close was called
)

// String names the phase.
func (p Phase) String() string {
	switch p {
	case PhaseUnused:
		return "known, not in use"
	case PhaseWaiting:
		return "waiting to try again"
	case PhaseDialing:
		return "connecting"
	case PhaseJoining:
		return "joining"
	case PhaseUp:
		return "up"
	case PhaseDuplicate:
		return "standing by: another address leads to the same relay"
	}
	return "closed"
}

// A Status is the state of an uplink at one moment.
type Status struct {
	Addr    string // of the relay, as configured or learned
	Learned bool   // from another relay
	Phase   Phase
	Since   time.Time // when Phase began
	Next    time.Time // PhaseWaiting: when the next attempt begins; may be zero
	Err     error     // why the last attempt failed or the last link broke; nil if none did

	Home       bool // the node is registered there, or will be when it is up
	Registered bool // PhaseUp: the node is registered there

	// What follows was told by the relay; it is kept while the uplink is down.
	Relay        identity.Peer // zero before the first session
	RelayName    string
	RelayVersion string
	ObservedAddr string // this node's address as the relay sees it
	GoingAway    bool   // PhaseUp: the relay is about to stop

	RTT       time.Duration // the least of the last few; zero while unknown
	Throttled uint64        // how often the relay said that it dropped frames
	Dropped   uint64        // the frames that it said it dropped

	droppedHere uint64 // of these, on the present link
}

// String says the state in words.
func (s Status) String() string {
	switch {
	case s.Phase != PhaseUp:
		return s.Phase.String()
	case s.GoingAway && s.Home:
		return "up: home, about to stop"
	case s.GoingAway:
		return "up: about to stop"
	case s.Home && s.Registered:
		return "up: home"
	case s.Home:
		return "up: becoming home"
	}
	return "up: spare"
}

// describe says in half a sentence how the uplink is, for errors.
func (s Status) describe() string {
	switch {
	case s.Phase == PhaseUp:
		return s.Addr + ": up"
	case s.Err != nil:
		return fmt.Sprintf("%s: %v", s.Addr, s.Err)
	}
	return s.Addr + ": " + s.Phase.String()
}

// ErrNotServed is why a relay is left whose rules do not allow this node.
var ErrNotServed = errors.New("the relay does not serve this node")

// notServed makes an ErrNotServed of an error by which the relay says so.
func notServed(err error) error {
	if closed, ok := errors.AsType[*session.ClosedError](err); ok && closed.Remote && closed.Code == session.CodeRefused {
		return fmt.Errorf("%w; it says: %s", ErrNotServed, closed.Reason)
	}
	return err
}

// end ends a link with a reason, where links can have one.
func end(p port, err error) {
	if m, ok := p.(moored); ok {
		m.CloseWithError(err)
		return
	}
	_ = p.Close()
}

// A NoRelayError says that no relay is up, and why each of them is not.
type NoRelayError struct {
	Relays []Status // empty: none is configured
}

// NotServed reports whether one of the relays does not serve this node.
func (e *NoRelayError) NotServed() bool {
	return slices.ContainsFunc(e.Relays, func(s Status) bool { return errors.Is(s.Err, ErrNotServed) })
}

func (e *NoRelayError) Error() string {
	if len(e.Relays) == 0 {
		return "no relay is configured"
	}
	each := make([]string, len(e.Relays))
	for i, s := range e.Relays {
		each[i] = s.describe()
	}
	return "no relay is up (" + strings.Join(each, "; ") + ")"
}
