package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits on invites.
const (
	// MaxInviteLife is the longest life of an invite: who is to stay for longer
	// gets a new one, so that no revocation has to be kept for ever.
	MaxInviteLife = 366 * 24 * time.Hour
	// MaxInviteRelays is how many relays an invite can name, and MaxNote how
	// many bytes its note has.
	MaxInviteRelays = 8
	MaxNote         = 128

	maxInviteRelay = 128 // bytes in a relay's address
)

// ErrNoSecret is the error of what only those can do who know the secret.
var ErrNoSecret = errors.New("identity: only who knows the network's secret can do that; an invite or an open network is not enough")

// An Invite makes its holders members of a network for a while, without the
// secret. Each holder makes a key of its own.
type Invite struct {
	ID      InviteID // chosen by [Network.Mint]
	Network string   // the network's name
	// NetworkID is that of [Network.ID].
	NetworkID [32]byte
	Issued    time.Time
	Expires   time.Time
	Names     []string // that its holders may have, at most [MaxNames]
	Roles     []string // that its holders have, at most [MaxRoles]
	Relays    []string // where the network's relays are, at most [MaxInviteRelays]
	Note      string   // for people, at most [MaxNote] bytes; only in the token
}

// Mint makes an invite, offline: of the argument, Expires, Names, Roles, Relays
// and Note count. The token is what its holders need; who has it is a member
// until it expires, so it is to be kept like a password.
func (n *Network) Mint(in Invite) (token string, made Invite, err error) {
	if n.ca == nil || n.ca.key == nil {
		return "", Invite{}, ErrNoSecret
	}
	if err := in.check(time.Now()); err != nil {
		return "", Invite{}, fmt.Errorf("identity: %w", err)
	}
	g, err := n.issueGrant(in)
	if err != nil {
		return "", Invite{}, fmt.Errorf("identity: cannot make the invite: %w", err)
	}
	t := inviteToken{
		Network: n.name, CA: n.ca.public[:], Seed: g.key.Seed(), Cert: g.cert.Raw,
		Relays: in.Relays, Note: in.Note, Shared: n.shared[:],
	}
	if n.id != networkID(n.name, t.CA) {
		t.ID = n.id[:]
	}
	token, err = t.encode()
	return token, t.describe(n.id, g), err
}

// check reports what is wrong with an invite to be made.
func (in *Invite) check(now time.Time) error {
	life := in.Expires.Sub(now)
	if life <= 0 || life > MaxInviteLife {
		return fmt.Errorf("an invite lives more than nothing and at most %d days, not %v", MaxInviteLife/(24*time.Hour), life.Round(time.Second))
	}
	var err error
	if in.Names, err = parseNames(in.Names); err != nil {
		return err
	}
	if len(in.Roles) > MaxRoles {
		return fmt.Errorf("%d roles: want at most %d", len(in.Roles), MaxRoles)
	}
	for _, role := range in.Roles {
		if err := checkRole(role); err != nil {
			return err
		}
	}
	return checkHints(in.Relays, in.Note)
}

// checkHints checks what in a token nobody has signed.
func checkHints(relays []string, note string) error {
	if len(relays) > MaxInviteRelays {
		return fmt.Errorf("%d relays: want at most %d", len(relays), MaxInviteRelays)
	}
	for _, r := range relays {
		if len(r) == 0 || len(r) > maxInviteRelay || !printable(r) {
			return fmt.Errorf("relay address %.64q: want 1 to %d printable characters", r, maxInviteRelay)
		}
	}
	if len(note) > MaxNote || !printable(note) {
		return fmt.Errorf("a note of %d bytes: want at most %d, printable and in one line", len(note), MaxNote)
	}
	return nil
}

// printable reports whether s is text that a terminal shows as it is.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 })
}

// issueGrant signs an intermediate CA for an invite that was checked.
func (n *Network) issueGrant(in Invite) (*grant, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	id := newInviteID()
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetUint64(uint64(id)),
		Subject:               pkix.Name{CommonName: "weft invite " + id.String()},
		DNSNames:              in.Names,
		URIs:                  roleURIs(in.Roles),
		NotBefore:             time.Now().Add(-clockSkew),
		NotAfter:              in.Expires,
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs leaves only
	}
	der, err := x509.CreateCertificate(rand.Reader, template, n.ca.cert, key.Public(), n.ca.key)
	if err != nil {
		return nil, err
	}
	g, err := readGrant(der)
	if err != nil {
		return nil, err
	}
	g.key = key
	return g, nil
}

func newInviteID() InviteID {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return max(InviteID(binary.BigEndian.Uint64(b[:])), 1)
}

// ReadInvite returns what a token says. It checks that all of it fits together,
// but not whether it has expired, and proves nothing about the network.
func ReadInvite(token string) (Invite, error) {
	n, err := openInvite(token)
	if err != nil {
		return Invite{}, fmt.Errorf("identity: %w", err)
	}
	return n.invite, nil
}

// An invited is a network as an invite describes it.
type invited struct {
	network *Network
	invite  Invite
}

// openInvite reads a token and checks that its parts fit together.
func openInvite(token string) (*invited, error) {
	t, err := decodeToken(token)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkNetworkName(t.Network), checkHints(t.Relays, t.Note)); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadInvite, err)
	}
	g, err := readGrant(t.Cert)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadInvite, err)
	}
	g.key = ed25519.NewKeyFromSeed(t.Seed)
	if !bytes.Equal(g.key.Public().(ed25519.PublicKey), g.public[:]) {
		return nil, fmt.Errorf("%w: its key is not that of its certificate", errBadInvite)
	}
	ca, err := knownAuthority(t.Network, PublicKey(t.CA))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadInvite, err)
	}
	if err := g.verify(ca); err != nil {
		return nil, fmt.Errorf("%w: its certificate is not of the network that it names (%w)", errBadInvite, err)
	}
	n := &Network{name: t.Network, id: networkID(t.Network, t.CA), ca: ca, grant: g, shared: [32]byte(t.Shared)}
	if t.ID != nil {
		n.id = [32]byte(t.ID)
	}
	return &invited{n, t.describe(n.id, g)}, nil
}

// join opens the network of an invite.
func (cfg NetworkConfig) join() (*Network, error) {
	in, err := openInvite(cfg.Invite)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if cfg.Name != "" && cfg.Name != in.network.name {
		return nil, fmt.Errorf("identity: the invite is for network %q, and the config names %q; leave the network's name out", in.network.name, cfg.Name)
	}
	return in.network, nil
}

// Invite returns the invite by which this node is a member, without Relays and
// Note, or nil.
func (n *Network) Invite() *Invite {
	if n.grant == nil {
		return nil
	}
	in := (&inviteToken{Network: n.name}).describe(n.id, n.grant)
	return &in
}
