package listener

import (
	"slices"
	"strings"

	"github.com/weftnet/weft/internal/identity"
)

// A Rule says which peers are allowed: those that match any field. The zero
// Rule allows nobody. A Rule must not be modified once it is in use.
type Rule struct {
	// IDs allows nodes by their 64-bit handle. It is a handle, not a proof:
	// with enough computing power a member of the network can make a key
	// with somebody else's ID. Keys is the strict way.
	IDs []identity.NodeID

	// Keys allows nodes by their full public key.
	Keys []identity.PublicKey

	// Names allows nodes by a name in their certificate, in upper or lower
	// case.
	Names []string

	// Roles allows nodes by a role in their certificate, which the network's
	// secret or an invite gives. In an open network everybody has what roles
	// they like.
	Roles []string

	// Func allows a peer by returning true. It is called for every request
	// that no other field matches, must not block, and may be called by many
	// goroutines at once.
	Func func(peer identity.Peer) bool
}

// Allows reports whether the rule allows a peer. A nil Rule allows everybody:
// every peer is a member of the network already.
func (r *Rule) Allows(peer identity.Peer) bool {
	if r == nil {
		return true
	}
	return slices.Contains(r.IDs, peer.ID) ||
		slices.Contains(r.Keys, peer.Key) ||
		slices.ContainsFunc(r.Names, func(name string) bool { return slices.Contains(peer.Names, strings.ToLower(name)) }) ||
		slices.ContainsFunc(r.Roles, peer.Has) ||
		r.Func != nil && r.Func(peer)
}
