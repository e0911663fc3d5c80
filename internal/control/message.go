package control

import (
	"errors"
	"fmt"

	"github.com/weftnet/weft/internal/identity"
)

// A Kind says which message a body is.
type Kind uint16

// The kinds of messages. Requests and their answers come first; from 64 on are
// the messages that a relay sends unasked.
const (
	KindRegister   Kind = 1
	KindRegistered Kind = 2
	KindLookup     Kind = 3
	KindFound      Kind = 4
	KindNotFound   Kind = 5
	KindObserve    Kind = 6
	KindObserved   Kind = 7
	KindFailed     Kind = 8
	KindRevoke     Kind = 9
	KindRevoked    Kind = 10
	KindThrottled  Kind = 64
	KindGoingAway  Kind = 65
	KindRelays     Kind = 66

	KindRevocations Kind = 67
)

// Limits on what a message may hold. Longer ones are malformed.
const (
	MaxBody       = 16 << 10 // bytes of CBOR in one message
	MaxNames      = 16       // names of one node
	MaxName       = 253      // bytes in a name: a DNS name
	MaxCandidates = 32       // candidate addresses of one node
	MaxAddr       = 128      // bytes in an address
	MaxRecords    = 8        // records in one Found
	MaxReason     = 256      // bytes in the reason of a Failed
	MaxVersion    = 64       // bytes in a relay's version

	MaxCertificate = identity.MaxChain // bytes in a node's certificates, as in a handshake
	MaxRelays      = 64                // relays in one Relays
	MaxRelayAddrs  = 4                 // addresses of one of them
)

// ErrMalformed is wrapped by every error that decoding gives.
var ErrMalformed = errors.New("control: malformed message")

// A Message is a pointer to one of the message types of this package.
type Message interface {
	kind() Kind
	// check reports which limit the message breaks, if any.
	check() error
}

// newMessage returns an empty message of a kind, nil when the kind is unknown.
func newMessage(k Kind) Message {
	switch k {
	case KindRegister:
		return new(Register)
	case KindRegistered:
		return new(Registered)
	case KindLookup:
		return new(Lookup)
	case KindFound:
		return new(Found)
	case KindNotFound:
		return new(NotFound)
	case KindObserve:
		return new(Observe)
	case KindObserved:
		return new(Observed)
	case KindFailed:
		return new(Failed)
	case KindRevoke:
		return new(Revoke)
	case KindRevoked:
		return new(Revoked)
	case KindRevocations:
		return new(Revocations)
	case KindThrottled:
		return new(Throttled)
	case KindGoingAway:
		return new(GoingAway)
	case KindRelays:
		return new(Relays)
	}
	return nil
}

// checkText reports a text that is longer than limit bytes.
func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%w: %s of %d bytes, at most %d are allowed", ErrMalformed, what, len(s), limit)
	}
	return nil
}

// checkTexts reports a list with more than limit entries, or with one that is
// longer than size bytes.
func checkTexts(what string, list []string, limit, size int) error {
	if len(list) > limit {
		return fmt.Errorf("%w: %d %ss, at most %d are allowed", ErrMalformed, len(list), what, limit)
	}
	for _, s := range list {
		if err := checkText(what, s, size); err != nil {
			return err
		}
	}
	return nil
}
