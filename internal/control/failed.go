package control

import (
	"fmt"
	"strings"
)

// A FailureCode says why a relay did not do what it was asked.
type FailureCode uint32

// The failure codes.
const (
	FailureUnsupported FailureCode = 1 + iota // the relay does not know this request
	FailureInternal                           // the relay cannot answer now
	FailureNotAllowed                         // the node may not ask this, or not with these values
	FailureStale                              // the relay knows a newer Register; Epoch says which
	FailureFull                               // the relay has no room for another node
	FailureConflict                           // another key holds this node ID
	FailureBusy                               // too many ask this from the node's address; ask again later
)

// Failed answers any request that was not done. It is an error, which the
// methods of [Client] return and a [Handler] may return.
type Failed struct {
	Code   FailureCode `cbor:"1,keyasint,omitempty"`
	Reason string      `cbor:"2,keyasint,omitempty"` // for people
	Epoch  uint64      `cbor:"3,keyasint,omitempty"` // FailureStale: the epoch that the relay knows
}

// Error returns the relay's reason, quoted, since the relay chose it.
func (m *Failed) Error() string {
	return fmt.Sprintf("relay refused the request: %q (code %d)", m.Reason, m.Code)
}

func (*Failed) kind() Kind     { return KindFailed }
func (m *Failed) check() error { return checkText("reason", m.Reason, MaxReason) }

// reasonOf makes an error's text fit for a Failed.
func reasonOf(err error) string {
	s := strings.ToValidUTF8(err.Error(), "?")
	if len(s) > MaxReason {
		s = strings.ToValidUTF8(s[:MaxReason], "")
	}
	return s
}
