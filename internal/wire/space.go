// Package wire encodes and decodes what travels between two nodes inside a
// link frame: packet headers, the frames inside packets, and transport
// parameters. SPEC.md describes the same bytes in prose. The package holds no
// state and performs no I/O.
package wire

// A Space is a packet number space (RFC 9000 section 12.3), and with it an
// encryption level (RFC 9001 section 4).
type Space uint8

// The three packet number spaces, in the order in which a session uses them.
const (
	SpaceInitial Space = iota
	SpaceHandshake
	SpaceApp
	NumSpaces
)

// String names the space for logs and errors.
func (s Space) String() string {
	switch s {
	case SpaceInitial:
		return "initial"
	case SpaceHandshake:
		return "handshake"
	case SpaceApp:
		return "app"
	}
	return "unknown"
}

// An AckRange is a closed interval of packet numbers.
type AckRange struct{ Low, High uint64 }

// A SentFrame is what a sender remembers of a frame, so that it can be
// acknowledged or sent again: a description, never the bytes themselves.
type SentFrame struct {
	Type uint8  // frame type, one of the Type constants
	Fin  bool   // a STREAM frame that carried FIN
	Len  uint32 // bytes of data, for STREAM and CRYPTO
	ID   uint64 // stream ID; for other frames whatever their sender needs
	Off  uint64 // offset of the data, for STREAM and CRYPTO
}
