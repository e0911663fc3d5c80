package identity

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// A PublicKey is a node's Ed25519 public key: its full identity. It is
// comparable; the zero value stands for "no key".
type PublicKey [ed25519.PublicKeySize]byte

// publicKeyLen is the number of base32 characters in a printed PublicKey.
const publicKeyLen = 52

// lowerBase32 is RFC 4648 base32 in lower case and without padding, so that
// what it prints is a valid DNS label and can be selected with a double click.
var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// String returns the key as 52 lowercase base32 characters without padding.
func (k PublicKey) String() string { return lowerBase32.EncodeToString(k[:]) }

// ID returns the 64-bit handle of the key.
func (k PublicKey) ID() NodeID { return idOf(k[:]) }

// ParsePublicKey reads what [PublicKey.String] prints. Upper case is accepted.
// Every key has exactly one spelling apart from case.
func ParsePublicKey(s string) (PublicKey, error) {
	var k PublicKey
	if len(s) != publicKeyLen {
		return k, fmt.Errorf("public key %.64q: want %d base32 characters", s, publicKeyLen)
	}
	lower := strings.ToLower(s)
	b, err := lowerBase32.DecodeString(lower)
	if err != nil || len(b) != len(k) {
		return k, fmt.Errorf("public key %.64q: want %d characters of a to z and 2 to 7", s, publicKeyLen)
	}
	k = PublicKey(b)
	// The last character carries four bits that no key uses. The decoder
	// ignores them, and two spellings of one key must not both be valid.
	if k.String() != lower {
		return PublicKey{}, fmt.Errorf("public key %.64q: the last characters belong to no key; was it copied in full?", s)
	}
	if k.ID() == 0 {
		return PublicKey{}, fmt.Errorf("public key %.64q: its node ID is zero, which is never a node", s)
	}
	return k, nil
}

// MarshalText implements [encoding.TextMarshaler].
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (k *PublicKey) UnmarshalText(b []byte) error {
	v, err := ParsePublicKey(string(b))
	if err != nil {
		return err
	}
	*k = v
	return nil
}

// A Key is a node's private Ed25519 key. It is immutable and safe for
// concurrent use. It prints as the node ID, never as the secret.
type Key struct {
	private ed25519.PrivateKey
	public  PublicKey
	id      NodeID
}

// errZeroID is a key that no node can use: about one in 2^64.
var errZeroID = errors.New("identity: the key's node ID is zero, which is never a node; make a new key")

// GenerateKey makes a new random key (an ephemeral identity).
func GenerateKey() (*Key, error) {
	for {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("identity: no randomness for a new key: %w", err)
		}
		k, err := newKey(private)
		if errors.Is(err, errZeroID) {
			continue
		}
		return k, err
	}
}

// newKey wraps a private key. The error is errZeroID or nil.
func newKey(private ed25519.PrivateKey) (*Key, error) {
	k := &Key{private: private, public: PublicKey(private[ed25519.SeedSize:])}
	if k.id = k.public.ID(); k.id == 0 {
		return nil, errZeroID
	}
	return k, nil
}

// Public returns the public half.
func (k *Key) Public() PublicKey { return k.public }

// ID returns the node ID.
func (k *Key) ID() NodeID { return k.id }

// String names the key without showing it.
func (k *Key) String() string { return "key of node " + k.id.String() }

// GoString keeps %#v from printing the secret.
func (k *Key) GoString() string { return k.String() }

// Derive returns 32 secret bytes that depend on the key, the label and the
// context alone, and reveal nothing about the key (HKDF-SHA-256 of the seed,
// RFC 5869). Whoever holds the key derives the same bytes after a restart. The
// label, a constant of the caller, must not contain a zero byte.
func (k *Key) Derive(label string, context []byte) [32]byte {
	info := "weft derive\x00" + label + "\x00" + string(context)
	out, err := hkdf.Key(sha256.New, k.private.Seed(), nil, info, sha256.Size)
	if err != nil {
		//nolint:forbidigo // not for input: the only error is a length above 255 hashes
		panic("identity: " + err.Error())
	}
	return [32]byte(out)
}
