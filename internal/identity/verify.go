package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/times"
)

// maxLeaf is the longest leaf that is looked at, in bytes. One with MaxNames
// names of ordinary length has about 1 KiB.
const maxLeaf = 4 << 10

// MaxChain is the longest that [Credentials.Chain] can be, in bytes.
const MaxChain = maxLeaf + maxGrant

// The errors of [Credentials.VerifyPeer].
var (
	// ErrNotMember: the certificate was issued by another network's CA, or by none.
	ErrNotMember = errors.New("identity: the peer is not a member of this network; both sides need the same Network, and its Secret or an invite of it: the present ones, if the secret was rotated")
	// ErrExpired: the certificate is not valid now.
	ErrExpired = errors.New("identity: the peer's certificate is not valid at this time; check both clocks")
	// ErrSelf: the certificate is this node's own, shown back to it.
	ErrSelf = errors.New("identity: the peer has this node's own key; a node cannot connect to itself, and two nodes cannot share a key file")
	// ErrBadCertificate: the peer showed something that no node issues.
	ErrBadCertificate = errors.New("identity: the peer's certificate is malformed")
)

// VerifyPeer checks the certificates that a peer showed (DER, as in
// [tls.Config.VerifyPeerCertificate]) and returns who it is: an Ed25519 leaf,
// issued in this network, valid now, and not this node's own; by the CA, or one
// that is accepted besides, or by an invite whose certificate is the second, and with no name or role that the
// invite does not give; and whose key and invite are not revoked. The errors match
// [ErrNotMember], [ErrExpired], [ErrSelf], [ErrRevoked] or [ErrBadCertificate].
//
// A certificate is public: that the peer also has its private key is for the
// handshake to prove.
func (c *Credentials) VerifyPeer(rawCerts [][]byte) (Peer, error) {
	if n := len(rawCerts); n == 0 || n > 2 || n == 2 && c.network.ca == nil {
		return Peer{}, fmt.Errorf("%w: %d certificates, want a leaf, and behind it that of an invite if there is one", ErrBadCertificate, n)
	}
	if n := len(rawCerts[0]); n > maxLeaf {
		return Peer{}, fmt.Errorf("%w: %d bytes, want at most %d", ErrBadCertificate, n, maxLeaf)
	}
	leaf, err := x509.ParseCertificate(rawCerts[0])
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	peer, err := readLeaf(leaf)
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	var g *grant
	if len(rawCerts) == 2 {
		if g, err = readGrant(rawCerts[1]); err != nil {
			return Peer{}, fmt.Errorf("%w: %w", ErrBadCertificate, err)
		}
	}
	if peer.Key == c.key.Public() {
		return Peer{}, ErrSelf
	}
	// Membership first: it is what matters, and a stranger's times do not.
	if peer.OtherCA, err = c.network.verify(leaf, g); err != nil {
		return Peer{}, err
	}
	if g != nil {
		peer.Invite, peer.InviteExpires = g.id, g.cert.NotAfter
		if err := g.covers(peer.Names, peer.Roles); err != nil {
			return Peer{}, fmt.Errorf("%w: %w", ErrBadCertificate, err)
		}
	}
	if err := checkTimes(leaf, g, time.Now()); err != nil {
		return Peer{}, err
	}
	if err := c.revoked.Check(peer); err != nil {
		return Peer{}, err
	}
	return peer, nil
}

// VerifyChain is VerifyPeer for what [Credentials.Chain] returns.
func (c *Credentials) VerifyChain(chain []byte) (Peer, error) {
	var certs [][]byte
	for len(chain) > 0 && len(certs) < 2 {
		var cert asn1.RawValue
		rest, err := asn1.Unmarshal(chain, &cert)
		if err != nil {
			return Peer{}, fmt.Errorf("%w: %w", ErrBadCertificate, err)
		}
		certs, chain = append(certs, cert.FullBytes), rest
	}
	if len(chain) != 0 {
		return Peer{}, fmt.Errorf("%w: bytes behind the certificates", ErrBadCertificate)
	}
	return c.VerifyPeer(certs)
}

// checkTimes reports whether the leaf, and the grant if there is one, are valid
// now.
func checkTimes(leaf *x509.Certificate, g *grant, now time.Time) error {
	certs := []*x509.Certificate{leaf}
	if g != nil {
		certs = append(certs, g.cert)
	}
	for i, cert := range certs {
		if !now.Before(cert.NotBefore) && !now.After(cert.NotAfter) {
			continue
		}
		what := "it"
		if i > 0 {
			what = "its invite " + g.id.String()
		}
		return fmt.Errorf("%w: %s is for %s to %s, and here it is %s", ErrExpired, what,
			cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// readLeaf returns whom a leaf names, if it has the shape of those that nodes
// issue. It does not check who signed it.
func readLeaf(leaf *x509.Certificate) (Peer, error) {
	public, ok := leaf.PublicKey.(ed25519.PublicKey)
	if !ok {
		return Peer{}, fmt.Errorf("its key is %v, want Ed25519", leaf.PublicKeyAlgorithm)
	}
	if leaf.IsCA {
		return Peer{}, errors.New("it is a CA, want a leaf")
	}
	if len(leaf.UnhandledCriticalExtensions) != 0 {
		return Peer{}, errors.New("it has critical extensions that nobody here knows")
	}
	for _, usage := range leafUsage() {
		if !slices.Contains(leaf.ExtKeyUsage, usage) {
			return Peer{}, errors.New("it is not for both client and server authentication")
		}
	}
	names, err := parseNames(leaf.DNSNames)
	if err != nil {
		return Peer{}, err
	}
	roles, err := rolesOf(leaf.URIs)
	if err != nil {
		return Peer{}, err
	}
	key := PublicKey(public)
	if key.ID() == 0 {
		return Peer{}, errZeroID
	}
	return Peer{ID: key.ID(), Key: key, Names: names, Roles: roles, Expires: leaf.NotAfter}, nil
}

// verify checks who signed a leaf, but not when: a CA, or a grant that a CA has
// signed, or in an open network the node itself. It reports whether that CA is
// not the own one.
func (n *Network) verify(leaf *x509.Certificate, g *grant) (otherCA bool, err error) {
	if n.ca == nil {
		// Not CheckSignatureFrom, which wants the parent, here the leaf, to be a CA.
		return false, notMember(leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature))
	}
	opts := x509.VerifyOptions{
		Roots:       n.roots,
		CurrentTime: leaf.NotBefore, // the caller compares with the clock
		KeyUsages:   leafUsage(),
	}
	certs := 2 // in the chain, with the CA's
	if g != nil {
		opts.Intermediates = x509.NewCertPool()
		opts.Intermediates.AddCert(g.cert)
		opts.CurrentTime = times.Later(leaf.NotBefore, g.cert.NotBefore)
		certs++
	}
	chains, err := leaf.Verify(opts)
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return false, fmt.Errorf("%w: it and its invite are valid at different times", ErrExpired)
	}
	if err != nil {
		return false, notMember(err)
	}
	i := slices.IndexFunc(chains, func(c []*x509.Certificate) bool { return len(c) == certs })
	if i < 0 {
		return false, fmt.Errorf("%w: an invite's certificate that did not issue it", ErrBadCertificate)
	}
	return !chains[i][certs-1].Equal(n.ca.cert), nil
}

func notMember(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w (%w)", ErrNotMember, err)
}
