package overlay

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
)

// An Invite makes whoever has its token a member of a network for a while, with
// certain names and roles, without the network's secret. A token can be used
// by several nodes, each of which has a key of its own.
type Invite = identity.Invite

// An InviteID names an invite. It is no secret.
type InviteID = identity.InviteID

// NewInvite makes an invite to the network with a name, "weft" if empty, and a
// secret. It needs no connection: nodes and relays of the network accept the
// invite without having heard of it. Of in, Expires, Names, Roles, Relays and
// Note count: an invite lives 366 days at most; its holders may have its names
// and no others; they have its roles, and those with "relay" can be relays of the
// backbone; Relays are what Config.Relays is for them. The token is a secret
// as long as the invite lives.
func NewInvite(network, secret string, in Invite) (token string, made Invite, err error) {
	if secret == "" {
		return "", Invite{}, errors.New("overlay: an invite is made from the network's secret; there is none for an open network, which everybody may join")
	}
	if err := checkRelays("Invite.Relays", in.Relays); err != nil {
		return "", Invite{}, err
	}
	n, err := identity.OpenNetwork(identity.NetworkConfig{Name: network, Secret: secret})
	if err != nil {
		return "", Invite{}, fmt.Errorf("overlay: %w", err)
	}
	token, made, err = n.Mint(in)
	if err != nil {
		return "", Invite{}, fmt.Errorf("overlay: %w", err)
	}
	return token, made, nil
}

// ReadInvite returns what a token says, also once it has expired. The error
// says what is wrong with it.
func ReadInvite(token string) (Invite, error) {
	in, err := identity.ReadInvite(token)
	if err != nil {
		return in, fmt.Errorf("overlay: %w", err)
	}
	return in, nil
}

// An InviteStatus says how long a node is a member by its invite.
type InviteStatus struct {
	ID      InviteID
	Expires time.Time
	Expired bool // nobody talks to the node any more; it needs a new invite
	Names   []string
	Roles   []string
}

// inviteStatus returns nil for a node without an invite.
func (n *Node) inviteStatus() *InviteStatus {
	in := n.credentials.Network().Invite()
	if in == nil {
		return nil
	}
	return &InviteStatus{ID: in.ID, Expires: in.Expires, Expired: time.Now().After(in.Expires), Names: in.Names, Roles: in.Roles}
}

// checkInvite takes the relays from the invite, unless there are others.
func (c *Config) checkInvite() error {
	if slices.Contains(c.Roles, identity.RoleRelay) {
		return fmt.Errorf("overlay: Config.Roles has %q, which a relay.Server takes for its node; remove it", identity.RoleRelay)
	}
	if c.Invite == "" || c.Relays != nil {
		return nil
	}
	in, err := ReadInvite(c.Invite)
	c.Relays = in.Relays
	return err
}

// invitedRelays reports whether the config's invite names relays, or why not is
// for New to say.
func (c *Config) invitedRelays() bool {
	if c.Invite == "" {
		return false
	}
	in, err := identity.ReadInvite(c.Invite)
	return err != nil || len(in.Relays) > 0
}

// checkRelays checks addresses of relays.
func checkRelays(what string, addrs []string) error {
	for i, addr := range addrs {
		if _, err := link.ParseAddr(addr); err != nil {
			return fmt.Errorf("overlay: %s[%d]: %w", what, i, err)
		}
	}
	return nil
}
