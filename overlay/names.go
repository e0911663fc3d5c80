package overlay

import (
	"errors"
	"fmt"
	"strings"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/listener"
	"github.com/weftnet/weft/stream"
)

// A NodeID is the 64-bit handle of a node, made from its public key and printed
// as 16 hex digits. It is a handle, not a proof: who needs certainty against an
// attacker names the [PublicKey]. Zero is never a node.
type NodeID = identity.NodeID

// A PublicKey is a node's full identity, an Ed25519 public key, printed as 52
// characters of a to z and 2 to 7. It is comparable.
type PublicKey = identity.PublicKey

// A PrivateKey is what makes a node the one it is. It prints as the node ID,
// never as the secret.
type PrivateKey = identity.Key

// An Addr names one end of a conn: a node and a port. It is comparable, usable
// as a map key, and does not change with the path. The port of the side that
// dialled is 32768 or more and cannot be dialled.
type Addr = listener.Addr

// ParseNodeID reads a node ID as [NodeID] prints it, in either case.
func ParseNodeID(s string) (NodeID, error) { return identity.ParseNodeID(s) }

// ParseKey reads a public key as [PublicKey] prints it, in either case.
func ParseKey(s string) (PublicKey, error) { return identity.ParsePublicKey(s) }

// NewKey makes a new random key.
func NewKey() (*PrivateKey, error) { return identity.GenerateKey() }

// LoadKey returns the key that the directory dir holds. If there is none yet,
// it makes the directory and a new key, readable by this user only.
func LoadKey(dir string) (*PrivateKey, error) { return identity.LoadOrCreateKey(dir) }

// NewSecret returns a new random secret for a network, 52 characters.
func NewSecret() string { return identity.NewSecret() }

// RotateSecret returns a new random secret that replaces the present one of the
// network with a name, "weft" if empty, or what a rotated secret says. The network
// keeps its ID and its name. [Config].AlsoAccept says how nodes and relays go from
// one to the other without a gap. It needs no connection.
func RotateSecret(network, secret string) (string, error) {
	if secret == "" {
		return "", errors.New("overlay: the network's present secret is needed to replace it; an open network has none")
	}
	n, err := identity.OpenNetwork(identity.NetworkConfig{Name: network, Secret: secret})
	if err != nil {
		return "", fmt.Errorf("overlay: %w", err)
	}
	return n.Rotate()
}

// parseName checks a name for this node and returns it in lower case.
func parseName(s string) (string, error) {
	if strings.HasSuffix(strings.ToLower(s), listener.Suffix) {
		return "", fmt.Errorf("node name %q ends in %q, which addresses may add to any name; leave it out", s, listener.Suffix)
	}
	return identity.ParseName(s)
}

// A textAddr is the address of a dial as the caller wrote it.
type textAddr string

func (textAddr) Network() string  { return stream.Network }
func (a textAddr) String() string { return string(a) }
