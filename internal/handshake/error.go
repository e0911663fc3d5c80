package handshake

import (
	"crypto/tls"
	"errors"
	"strings"
)

// An Error ends a session: the peer broke the protocol, could not be verified,
// or the keys are used up.
type Error struct {
	// Code is what to tell the peer: a transport error code of RFC 9000
	// section 20.1, or 0x100 plus a TLS alert (RFC 9001 section 4.8).
	Code uint64
	// Reason is a sentence for people, on either side. It holds no secrets and
	// has at most 256 bytes.
	Reason string
	// Err is the cause; errors of package identity are found in it. It may be
	// nil.
	Err error
}

// Error returns the reason.
func (e *Error) Error() string { return "handshake: " + e.Reason }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Transport error codes of RFC 9000 section 20.1 that arise here.
const (
	codeProtocolViolation    = 0x0a
	codeCryptoBufferExceeded = 0x0d
	codeKeyUpdateError       = 0x0e
	codeAEADLimitReached     = 0x0f
	codeCryptoError          = 0x100 // plus the TLS alert
)

const (
	alertInternalError = tls.AlertError(80) // RFC 8446 section 6.2
	maxReason          = 256                // bytes
)

// ErrAuthentication is the error of Open for a packet that these keys do not
// open: damaged, forged, or of another session. Such packets are dropped.
var ErrAuthentication = errors.New("handshake: the packet does not open with these keys")

// Errors of [AppKeys] after which the session must end.
var (
	// ErrIntegrityLimit: so many packets failed authentication that a forged
	// one might soon pass (RFC 9001 section 6.6).
	ErrIntegrityLimit = &Error{Code: codeAEADLimitReached, Reason: "too many forged packets arrived; the session has to start anew"}
	// ErrConfidentialityLimit: a key has protected as many packets as it may,
	// and the peer's silence did not allow a key update (RFC 9001 section 6.6).
	ErrConfidentialityLimit = &Error{Code: codeAEADLimitReached, Reason: "a key is used up and the peer has acknowledged nothing; the session has to start anew"}
	// ErrKeyUpdate: the peer updated keys before its last update could have
	// been acknowledged (RFC 9001 section 6.2).
	ErrKeyUpdate = &Error{Code: codeKeyUpdateError, Reason: "the peer updates its keys faster than the protocol allows"}
)

// newError wraps what crypto/tls or one of its callbacks returned.
func newError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	alert, ok := errors.AsType[tls.AlertError](err)
	if !ok {
		alert = alertInternalError
	}
	reason := err.Error()
	reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
	return &Error{Code: codeCryptoError + uint64(alert), Reason: reason, Err: err}
}
