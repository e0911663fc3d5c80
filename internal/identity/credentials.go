package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/times"
)

// The life of a leaf certificate. It begins in the past because clocks differ.
const (
	leafLife  = 24 * time.Hour
	clockSkew = time.Hour
	renewAt   = leafLife / 3 // reissue once less than this is left
)

// Credentials are a key in a network: they issue and renew the node's own leaf
// certificate, and verify those of peers. They are safe for concurrent use.
type Credentials struct {
	key     *Key
	network *Network
	names   []string
	revoked *Revocations

	mu    sync.Mutex
	roles []string         // guarded by mu
	leaf  *tls.Certificate // guarded by mu; never modified once made
}

// NewCredentials checks names (see [ParseName]; at most [MaxNames]) and issues
// the first leaf. With an invite, names must be among its own, and the node has
// the invite's roles except [RoleRelay]. It starts no goroutine.
func NewCredentials(k *Key, n *Network, names []string) (*Credentials, error) {
	names, err := parseNames(names)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	c := &Credentials{key: k, network: n, names: names, revoked: newRevocations(n)}
	if g := n.grant; g != nil {
		if err := g.covers(names, nil); err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		for _, role := range g.roles {
			if role != RoleRelay { // which those take who are
				c.roles = append(c.roles, role)
			}
		}
	}
	if _, err := c.Certificate(); err != nil {
		return nil, err
	}
	return c, nil
}

// Key returns the node's key.
func (c *Credentials) Key() *Key { return c.key }

// Network returns the network that the node is a member of.
func (c *Credentials) Network() *Network { return c.network }

// Names returns a copy of the node's names, in lower case.
func (c *Credentials) Names() []string { return slices.Clone(c.names) }

// Certificate returns the current leaf, with its private key, and behind it the
// invite's certificate if the node is a member by an invite. The leaf is
// reissued on the way once less than a third of its life is left, or when the
// clock has been set to before it began. The result is shared and must not be
// modified. When the invite has expired the error is an [*InviteExpiredError].
func (c *Credentials) Certificate() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if g := c.network.grant; g != nil {
		if err := g.current(now); err != nil {
			return nil, err
		}
	}
	if c.leaf != nil && c.fresh(c.leaf.Leaf, now) {
		return c.leaf, nil
	}
	leaf, err := c.issue(now)
	if err != nil {
		return nil, fmt.Errorf("identity: cannot issue the node's certificate: %w", err)
	}
	c.leaf = leaf
	return leaf, nil
}

// fresh reports whether leaf is valid now and for a while, or for as long as the
// invite is.
func (c *Credentials) fresh(leaf *x509.Certificate, now time.Time) bool {
	last := c.network.grant != nil && !leaf.NotAfter.Before(c.network.grant.cert.NotAfter)
	return !now.Before(leaf.NotBefore) && (last || leaf.NotAfter.Sub(now) >= renewAt)
}

// issue makes a leaf: signed by the CA, by the invite, or by the node itself in
// an open network. c.mu is held.
func (c *Credentials) issue(now time.Time) (*tls.Certificate, error) {
	start := now.Add(-clockSkew)
	template := &x509.Certificate{
		// No serial number: CreateCertificate then picks a random one.
		Subject:               pkix.Name{CommonName: c.key.ID().String()},
		DNSNames:              c.names,
		URIs:                  roleURIs(c.roles),
		NotBefore:             start,
		NotAfter:              start.Add(leafLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           leafUsage(),
		BasicConstraintsValid: true,
	}
	parent, signer := template, c.key.private
	chain := make([][]byte, 1, 2)
	switch ca, g := c.network.ca, c.network.grant; {
	case g != nil:
		parent, signer = g.cert, g.key
		template.NotBefore = times.Later(start, g.cert.NotBefore)
		template.NotAfter = earlier(template.NotAfter, g.cert.NotAfter)
		chain = append(chain, g.cert.Raw)
	case ca != nil:
		parent, signer = ca.cert, ca.key
	}
	public := c.key.Public()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, ed25519.PublicKey(public[:]), signer)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	chain[0] = der
	return &tls.Certificate{Certificate: chain, PrivateKey: c.key.private, Leaf: leaf}, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Chain returns what [Credentials.Certificate] has in one piece: the leaf, and
// behind it the invite's certificate if there is one.
func (c *Credentials) Chain() ([]byte, error) {
	cert, err := c.Certificate()
	if err != nil {
		return nil, err
	}
	return slices.Concat(cert.Certificate...), nil
}

// leafUsage is what a leaf is for: a node is both the client and the server of
// handshakes.
func leafUsage() []x509.ExtKeyUsage {
	return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
}
