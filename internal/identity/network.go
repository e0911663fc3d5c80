package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// DefaultNetwork is the name of a network whose config gives none.
const DefaultNetwork = "weft"

const (
	maxNetworkName = 32
	minSecret      = 16 // characters
	newSecretBytes = 32
)

// The cost of guessing a secret: Argon2id (RFC 9106) with what the OWASP
// Password Storage Cheat Sheet names first. They are part of the derivation:
// other numbers make another network.
const (
	argonTime    = 2
	argonMemory  = 19 << 10 // KiB
	argonThreads = 1
)

// The labels keep hashes for different purposes apart. They end in a zero byte
// because no network name contains one.
const (
	labelSalt    = "weft network secret\x00"
	labelNetwork = "weft network\x00"
	openMarker   = "open"
)

// ErrNoMembership is the error of [OpenNetwork] when the config does not say
// how the node is a member.
var ErrNoMembership = errors.New("identity: no membership: set Secret (make one with `weft secret`), or Open: true for a network that everybody may join")

// A Network is the set of nodes under one certificate authority, or an open
// one. It is immutable and safe for concurrent use.
type Network struct {
	name string
	id   [32]byte
	ca   *authority // nil: open
}

// An authority is the CA of a network as a member that knows the secret has it.
type authority struct {
	key  ed25519.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool // cert alone
}

// NetworkConfig says which network, and how the node is a member of it: exactly
// one of Secret and Open is set.
type NetworkConfig struct {
	// Name is the network's name: 1 to 32 of a to z, 0 to 9 and dash. Nodes of
	// networks with different names never meet. Empty means [DefaultNetwork].
	Name string
	// Secret makes whoever knows it a member: at least 16 characters, best
	// made by [NewSecret].
	Secret string
	// Open is a network without a CA: everybody is a member. Keys are still
	// verified, names are not.
	Open bool
}

// NewSecret returns a new random secret for a network: 256 bits in 52
// characters of a to z and 2 to 7.
func NewSecret() string {
	b := make([]byte, newSecretBytes)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return lowerBase32.EncodeToString(b)
}

// OpenNetwork derives the network. With Secret it takes tens of milliseconds
// and 19 MiB (Argon2id). Errors: [ErrNoMembership], and sentences on what is
// wrong with the config.
func OpenNetwork(cfg NetworkConfig) (*Network, error) {
	if cfg.Name == "" {
		cfg.Name = DefaultNetwork
	}
	if len(cfg.Name) > maxNetworkName || !onlyNameChars(cfg.Name) {
		return nil, fmt.Errorf("identity: network name %.64q: want 1 to %d characters of a to z, 0 to 9 and dash", cfg.Name, maxNetworkName)
	}
	switch {
	case cfg.Secret == "" && !cfg.Open:
		return nil, ErrNoMembership
	case cfg.Secret != "" && cfg.Open:
		return nil, errors.New("identity: Secret and Open are both set; a network is either closed by a secret or open")
	case cfg.Open:
		return &Network{name: cfg.Name, id: networkID(cfg.Name, []byte(openMarker))}, nil
	}
	if err := checkSecret(cfg.Secret); err != nil {
		return nil, err
	}
	ca, err := newAuthority(cfg.Name, cfg.Secret)
	if err != nil {
		return nil, fmt.Errorf("identity: cannot make the network's CA: %w", err)
	}
	public := ca.key.Public().(ed25519.PublicKey)
	return &Network{name: cfg.Name, id: networkID(cfg.Name, public), ca: ca}, nil
}

// checkSecret refuses secrets that are easy to guess or that were read from a
// file together with its last newline, which would be another network. It never
// shows the secret.
func checkSecret(secret string) error {
	if n := utf8.RuneCountInString(secret); n < minSecret {
		return fmt.Errorf("identity: the network secret has %d characters, want at least %d; make one with `weft secret`", n, minSecret)
	}
	if strings.TrimSpace(secret) != secret {
		return errors.New("identity: the network secret begins or ends with white space; remove it")
	}
	return nil
}

// networkID hashes the name and what tells networks of one name apart.
func networkID(name string, authority []byte) [32]byte {
	return sha256.Sum256([]byte(labelNetwork + name + "\x00" + string(authority)))
}

// newAuthority derives the CA of a network from its secret.
func newAuthority(name, secret string) (*authority, error) {
	salt := sha256.Sum256([]byte(labelSalt + name))
	seed := argon2.IDKey([]byte(secret), salt[:], argonTime, argonMemory, argonThreads, ed25519.SeedSize)
	ca := &authority{key: ed25519.NewKeyFromSeed(seed), pool: x509.NewCertPool()}
	public := ca.key.Public().(ed25519.PublicKey)
	keyID := sha256.Sum256(public)
	// Every field is fixed, so that each member makes the same bytes. The
	// certificate is valid as long as X.509 can say (RFC 5280 section
	// 4.1.2.5): the key is what counts, and leaves expire within a day.
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "weft network " + name},
		NotBefore:             time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            1, // leaves room for an intermediate CA
		SubjectKeyId:          keyID[:20],
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, ca.key)
	if err != nil {
		return nil, err
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	ca.pool.AddCert(ca.cert)
	return ca, nil
}

// Name returns the network's name.
func (n *Network) Name() string { return n.name }

// Open reports whether the network has no CA, so that everybody is a member and
// names prove nothing.
func (n *Network) Open() bool { return n.ca == nil }

// ID is public: SHA-256 over a label, the name, and the CA's public key or the
// word "open". It tells networks apart and proves nothing.
func (n *Network) ID() [32]byte { return n.id }

// ALPN is the protocol name that both ends of a TLS handshake must share (RFC
// 7301): the protocol's version and the first half of the network's ID.
func (n *Network) ALPN() string { return "weft/1/" + hex.EncodeToString(n.id[:8]) }

// String names the network.
func (n *Network) String() string { return n.name + " (" + hex.EncodeToString(n.id[:8]) + ")" }
