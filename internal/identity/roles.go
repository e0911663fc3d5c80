package identity

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// RoleRelay is the role of nodes that are relays in the backbone: other relays
// let them speak for the nodes that are attached to them. Whoever knows a
// network's secret, or has an invite that gives it, can take it; in an open
// network it is a mere claim.
const RoleRelay = "relay"

// MaxRoles is how many roles a certificate can have.
const MaxRoles = 8

// A role stands in a leaf as a URI among the subject alternative names:
// "weft:role:relay". Other URIs mean nothing here.
const (
	roleScheme = "weft"
	rolePrefix = "role:"
)

// roleURIs returns how a leaf says that its node has roles.
func roleURIs(roles []string) []*url.URL {
	var uris []*url.URL
	for _, r := range roles {
		uris = append(uris, &url.URL{Scheme: roleScheme, Opaque: rolePrefix + r})
	}
	return uris
}

// rolesOf returns the roles that a leaf's URIs name, sorted.
func rolesOf(uris []*url.URL) ([]string, error) {
	var roles []string
	for _, u := range uris {
		role, ok := strings.CutPrefix(u.Opaque, rolePrefix)
		if !ok || u.Scheme != roleScheme {
			continue
		}
		if err := checkRole(role); err != nil {
			return nil, err
		}
		roles = append(roles, role)
	}
	if len(roles) > MaxRoles {
		return nil, fmt.Errorf("%d roles: want at most %d", len(roles), MaxRoles)
	}
	slices.Sort(roles)
	return slices.Compact(roles), nil
}

// checkRole refuses what cannot be a role.
func checkRole(role string) error {
	if len(role) == 0 || len(role) > maxLabel || !onlyNameChars(role) {
		return fmt.Errorf("role %.64q: want 1 to %d characters of a to z, 0 to 9 and dash", role, maxLabel)
	}
	return nil
}

// Has reports whether the peer's certificate gives it a role. In an open network
// that proves nothing.
func (p Peer) Has(role string) bool { return slices.Contains(p.Roles, role) }

// TakeRole adds a role to the node's certificate, which is issued anew if it
// lacks it. Sessions that exist already have shown the former one. With an
// invite, it must be one of the invite's.
func (c *Credentials) TakeRole(role string) error {
	if err := checkRole(role); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	if g := c.network.grant; g != nil {
		if err := g.covers(nil, []string{role}); err != nil {
			return fmt.Errorf("identity: %w", err)
		}
	}
	c.mu.Lock()
	if slices.Contains(c.roles, role) {
		c.mu.Unlock()
		return nil
	}
	if len(c.roles) == MaxRoles {
		c.mu.Unlock()
		return fmt.Errorf("identity: a node has %d roles at most", MaxRoles)
	}
	c.roles = append(c.roles, role)
	c.leaf = nil
	c.mu.Unlock()
	_, err := c.Certificate()
	return err
}

// Roles returns a copy of the node's roles.
func (c *Credentials) Roles() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.roles)
}
