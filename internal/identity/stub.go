package identity

import (
	"crypto/tls"
	"time"
)

// A PublicKey is a node's Ed25519 public key: its full identity.
type PublicKey [32]byte

// String returns 52 lowercase base32 characters without padding.
func (k PublicKey) String() string { panic("stub") }

// ID returns the 64-bit handle of the key.
func (k PublicKey) ID() NodeID { return idOf(k[:]) }

// ParsePublicKey reads what String prints.
func ParsePublicKey(s string) (PublicKey, error) { panic("stub") }

// A Key is a node's private key. It is immutable.
type Key struct{}

// GenerateKey makes a new random key (an ephemeral identity).
func GenerateKey() (*Key, error) { panic("stub") }

// LoadOrCreateKey reads the key file in dir, or creates dir (0700) and the file (0600, atomically).
func LoadOrCreateKey(dir string) (*Key, error) { panic("stub") }

// Public returns the public half.
func (k *Key) Public() PublicKey { panic("stub") }

// ID returns the node ID.
func (k *Key) ID() NodeID { panic("stub") }

// Derive returns 32 secret bytes bound to the key, the label and the context (HKDF over the seed).
func (k *Key) Derive(label string, context []byte) [32]byte { panic("stub") }

// A Network is the set of nodes under one certificate authority, or an open one.
type Network struct{}

// NetworkConfig says which network.
type NetworkConfig struct {
	Name   string // empty means "weft"
	Secret string
	Open   bool
}

// OpenNetwork derives the network (Argon2id for Secret: takes tens of milliseconds).
func OpenNetwork(cfg NetworkConfig) (*Network, error) { panic("stub") }

// Name returns the network's name.
func (n *Network) Name() string { panic("stub") }

// ID is public: SHA-256 over a label, the name and the CA's public key (or "open").
func (n *Network) ID() [32]byte { panic("stub") }

// ALPN is the protocol name that both ends of a TLS handshake must share.
func (n *Network) ALPN() string { panic("stub") }

// A Peer is a node whose certificate was verified.
type Peer struct {
	ID      NodeID
	Key     PublicKey
	Names   []string
	Expires time.Time // of the certificate
}

// A Target is whom a dialler wants: exactly one field is set.
type Target struct {
	ID   NodeID
	Key  PublicKey
	Name string
}

// Check reports whether p is whom t names; the error is a sentence.
func (t Target) Check(p Peer) error { panic("stub") }

// Credentials are a key in a network: they issue and renew the node's own leaf certificate.
type Credentials struct{}

// NewCredentials checks names and issues the first leaf. It starts no goroutine.
func NewCredentials(k *Key, n *Network, names []string) (*Credentials, error) { panic("stub") }

// Key, Network, Names return what the credentials were made of.
func (c *Credentials) Key() *Key         { panic("stub") }
func (c *Credentials) Network() *Network { panic("stub") }
func (c *Credentials) Names() []string   { panic("stub") }

// Certificate returns the current leaf, reissued once a third of its life is left. Safe for concurrent use.
func (c *Credentials) Certificate() (*tls.Certificate, error) { panic("stub") }

// VerifyPeer checks the certificates a peer showed and returns who it is.
func (c *Credentials) VerifyPeer(rawCerts [][]byte) (Peer, error) { panic("stub") }
