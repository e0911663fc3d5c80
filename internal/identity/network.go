package identity

import (
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
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
var ErrNoMembership = errors.New("identity: no membership: set Secret (make one with `weft secret`), or Invite (whoever has the secret makes one with `weft invite`), or Open: true for a network that everybody may join")

// A Network is the set of nodes under one certificate authority, or an open
// one. While its secret is being rotated there are two authorities. It is
// immutable and safe for concurrent use.
type Network struct {
	name   string
	id     [32]byte
	ca     *authority     // nil: open
	also   []*authority   // accepted besides ca, see OpenNetwork
	roots  *x509.CertPool // the certificates of all these
	grant  *grant         // nil: the node is a member by the secret, or the network is open
	shared [32]byte       // see Derive
}

// An authority is the CA of a network.
type authority struct {
	public PublicKey
	key    ed25519.PrivateKey // nil for members by an invite
	cert   *x509.Certificate
}

// NetworkConfig says which network, and how the node is a member of it: exactly
// one of Secret, Invite and Open is set.
type NetworkConfig struct {
	// Name is the network's name: 1 to 32 of a to z, 0 to 9 and dash. Nodes of
	// networks with different names never meet. Empty means [DefaultNetwork],
	// or the network of the Invite or of a rotated Secret, which must be this
	// one otherwise.
	Name string
	// Secret makes whoever knows it a member: at least 16 characters, best
	// made by [NewSecret], or by [Network.Rotate].
	Secret string
	// Invite is a token that [Network.Mint] has made.
	Invite string
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
// and 19 MiB (Argon2id). also are what else makes members of the same network,
// while its secret is being rotated: other secrets and invites of it, and names
// of CAs ([Network.CA]), at most [MaxAccepted]. Errors: [ErrNoMembership], and
// sentences on what is wrong with the config.
func OpenNetwork(cfg NetworkConfig, also ...string) (*Network, error) {
	if err := cfg.checkMembership(); err != nil {
		return nil, err
	}
	var n *Network
	var err error
	switch {
	case cfg.Invite != "":
		n, err = cfg.join()
	case cfg.Open:
		n, err = cfg.open()
	default:
		n, err = cfg.bySecret()
	}
	if err != nil {
		return nil, err
	}
	if err := n.accept(also); err != nil {
		return nil, err
	}
	n.trust()
	return n, nil
}

// open opens a network that everybody may join.
func (cfg NetworkConfig) open() (*Network, error) {
	name := cmp.Or(cfg.Name, DefaultNetwork)
	if err := checkNetworkName(name); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	id := networkID(name, []byte(openMarker))
	return &Network{name: name, id: id, shared: id}, nil
}

// checkMembership reports whether there is not exactly one way to be a member.
func (cfg NetworkConfig) checkMembership() error {
	var set []string
	for name, is := range map[string]bool{"Secret": cfg.Secret != "", "Invite": cfg.Invite != "", "Open": cfg.Open} {
		if is {
			set = append(set, name)
		}
	}
	switch slices.Sort(set); len(set) {
	case 0:
		return ErrNoMembership
	case 1:
		return nil
	}
	return fmt.Errorf("identity: set only one of %s; a node is a member in one way: by the secret, by an invite, or of an open network", strings.Join(set, " and "))
}

func checkNetworkName(name string) error {
	if len(name) == 0 || len(name) > maxNetworkName || !onlyNameChars(name) {
		return fmt.Errorf("network name %.64q: want 1 to %d characters of a to z, 0 to 9 and dash", name, maxNetworkName)
	}
	return nil
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
	key := ed25519.NewKeyFromSeed(seed)
	public := PublicKey(key.Public().(ed25519.PublicKey))
	template := caTemplate(name, public)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{public, key, cert}, nil
}

// caTemplate is the CA's certificate but for its signature. Every field is
// fixed, so that each member makes the same bytes. The certificate is valid as
// long as X.509 can say (RFC 5280 section 4.1.2.5): the key is what counts, and
// leaves expire within a day.
func caTemplate(name string, public PublicKey) *x509.Certificate {
	keyID := sha256.Sum256(public[:])
	return &x509.Certificate{
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
}

// knownAuthority returns the CA of a network as those know it who have only its
// public key. A trust anchor is a name and a key (RFC 5280 section 6.1.1): the
// certificate's own signature, which only the holder of the secret can make,
// proves nothing and is not looked at.
func knownAuthority(name string, public PublicKey) (*authority, error) {
	cert := caTemplate(name, public)
	subject, err := asn1.Marshal(cert.Subject.ToRDNSequence())
	if err != nil {
		return nil, err
	}
	cert.Version = x509Version
	cert.Raw, cert.RawSubject, cert.RawIssuer = public[:], subject, subject
	cert.PublicKey, cert.PublicKeyAlgorithm = ed25519.PublicKey(public[:]), x509.Ed25519
	return &authority{public, nil, cert}, nil
}

const x509Version = 3

// Name returns the network's name.
func (n *Network) Name() string { return n.name }

// Open reports whether the network has no CA, so that everybody is a member and
// names prove nothing.
func (n *Network) Open() bool { return n.ca == nil }

// ID is public: SHA-256 over a label, the name, and the first CA's public key or
// the word "open". It tells networks apart, proves nothing, and stays when the
// secret is rotated.
func (n *Network) ID() [32]byte { return n.id }

// ALPN is the protocol name that both ends of a TLS handshake must share (RFC
// 7301): the protocol's version and the first half of the network's ID.
func (n *Network) ALPN() string { return "weft/1/" + hex.EncodeToString(n.id[:8]) }

// String names the network.
func (n *Network) String() string { return n.name + " (" + hex.EncodeToString(n.id[:8]) + ")" }
