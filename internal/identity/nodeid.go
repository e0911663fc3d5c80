// Package identity says who a node is and which network it belongs to: Ed25519
// keys, the 64-bit node IDs made from them, networks as certificate
// authorities, and the short-lived leaf certificates that nodes issue for
// themselves.
package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
)

// A NodeID is the 64-bit handle of a node: the first 8 bytes, big endian, of
// the SHA-256 of its public key. It is a handle, not a proof; whoever needs
// certainty compares the [PublicKey]. Zero is never a node.
type NodeID uint64

// nodeIDLen is the number of hex digits in a printed NodeID.
const nodeIDLen = 16

// String returns the ID as 16 lowercase hex digits.
func (id NodeID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// ParseNodeID reads what [NodeID.String] prints. Upper case is accepted; zero
// is not.
func ParseNodeID(s string) (NodeID, error) {
	if len(s) != nodeIDLen {
		return 0, fmt.Errorf("node ID %q: want %d hex digits", s, nodeIDLen)
	}
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("node ID %q: want %d hex digits", s, nodeIDLen)
	}
	if v == 0 {
		return 0, fmt.Errorf("node ID %q: zero is never a node", s)
	}
	return NodeID(v), nil
}

// MarshalText implements [encoding.TextMarshaler].
func (id NodeID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (id *NodeID) UnmarshalText(b []byte) error {
	v, err := ParseNodeID(string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// idOf derives the NodeID of a public key.
func idOf(pub ed25519.PublicKey) NodeID {
	sum := sha256.Sum256(pub)
	return NodeID(binary.BigEndian.Uint64(sum[:8]))
}
