package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxLeaf is the longest certificate that is looked at, in bytes. One with
// MaxNames names of ordinary length has about 1 KiB.
const maxLeaf = 4 << 10

// The errors of [Credentials.VerifyPeer].
var (
	// ErrNotMember: the certificate was issued by another network's CA, or by none.
	ErrNotMember = errors.New("identity: the peer is not a member of this network; both sides need the same Network and Secret")
	// ErrExpired: the certificate is not valid now.
	ErrExpired = errors.New("identity: the peer's certificate is not valid at this time; check both clocks")
	// ErrSelf: the certificate is this node's own, shown back to it.
	ErrSelf = errors.New("identity: the peer has this node's own key; a node cannot connect to itself, and two nodes cannot share a key file")
	// ErrBadCertificate: the peer showed something that no node issues.
	ErrBadCertificate = errors.New("identity: the peer's certificate is malformed")
)

// VerifyPeer checks the certificates that a peer showed (DER, as in
// [tls.Config.VerifyPeerCertificate]) and returns who it is: exactly one
// Ed25519 leaf, issued in this network, valid now, and not this node's own. The
// errors match [ErrNotMember], [ErrExpired], [ErrSelf] or [ErrBadCertificate].
//
// A certificate is public: that the peer also has its private key is for the
// handshake to prove.
func (c *Credentials) VerifyPeer(rawCerts [][]byte) (Peer, error) {
	if len(rawCerts) != 1 {
		return Peer{}, fmt.Errorf("%w: %d certificates, want one", ErrBadCertificate, len(rawCerts))
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
	if peer.Key == c.key.Public() {
		return Peer{}, ErrSelf
	}
	// Membership first: it is what matters, and a stranger's times do not.
	if err := c.network.verify(leaf); err != nil {
		return Peer{}, fmt.Errorf("%w (%w)", ErrNotMember, err)
	}
	now := time.Now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return Peer{}, fmt.Errorf("%w: it is for %s to %s, and here it is %s", ErrExpired,
			leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return peer, nil
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

// verify checks who signed a leaf, but not when.
func (n *Network) verify(leaf *x509.Certificate) error {
	if n.ca == nil {
		// Not CheckSignatureFrom, which wants the parent, here the leaf, to be a CA.
		return leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:       n.ca.pool,
		CurrentTime: leaf.NotBefore, // the caller compares with the clock
		KeyUsages:   leafUsage(),
	})
	return err
}
