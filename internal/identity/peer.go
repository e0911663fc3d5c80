package identity

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Peer is a node whose certificate was verified.
type Peer struct {
	ID      NodeID
	Key     PublicKey
	Names   []string  // in lower case; must not be modified
	Roles   []string  // such as RoleRelay, sorted; must not be modified
	Expires time.Time // of the certificate

	// Invite is what made the peer a member, zero if that was the secret or the
	// network is open; InviteExpires is when it ends.
	Invite        InviteID
	InviteExpires time.Time

	// OtherCA says that the peer, or its invite, was not certified by the network's
	// own CA but by one that is accepted besides, while the secret is being rotated.
	OtherCA bool
}

// A Target is whom a dialler wants: exactly one field is set. A Target is
// comparable.
type Target struct {
	ID   NodeID
	Key  PublicKey
	Name string // upper and lower case are the same
}

// ErrWrongPeer matches the error of [Target.Check] when another node answered
// than the one that was dialled.
var ErrWrongPeer = errors.New("identity: another node answered than the one dialled")

// Check reports whether p is whom t names. The error matches [ErrWrongPeer], or
// says that t does not have exactly one field set.
func (t Target) Check(p Peer) error {
	set := 0
	for _, is := range []bool{t.ID != 0, t.Key != PublicKey{}, t.Name != ""} {
		if is {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("identity: a target has exactly one of ID, Key and Name, but %d are set", set)
	}
	switch {
	case t.ID != 0 && t.ID != p.ID:
		return fmt.Errorf("%w: wanted node %v, got %v", ErrWrongPeer, t.ID, p.ID)
	case t.Key != PublicKey{} && t.Key != p.Key:
		return fmt.Errorf("%w: wanted key %v, got %v", ErrWrongPeer, t.Key, p.Key)
	case t.Name != "" && !slices.Contains(p.Names, strings.ToLower(t.Name)):
		return fmt.Errorf("%w: wanted name %.64q, got node %v whose certificate names %q", ErrWrongPeer, t.Name, p.ID, p.Names)
	}
	return nil
}

// String returns what t names.
func (t Target) String() string {
	switch {
	case t.ID != 0:
		return t.ID.String()
	case t.Key != PublicKey{}:
		return t.Key.String()
	}
	return t.Name
}
