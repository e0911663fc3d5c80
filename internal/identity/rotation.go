package identity

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxAccepted is how many other CAs a network can accept: a rotation needs one,
// and one that was begun before another had ended a second. Each secret takes
// tens of milliseconds.
const MaxAccepted = 4

// How a rotated secret and a CA are written: the prefix with the version, and
// base64url (RFC 4648 section 5, no padding) of their bytes and a checksum.
const (
	rotatedPrefix = "weft-secret-2-"
	caPrefix      = "weft-ca-1-"
)

// kept is what a network keeps when its secret is rotated.
type kept struct {
	id     [32]byte
	shared [32]byte // the members' key
	name   string
}

// Rotate returns a new random secret for the network, for [NetworkConfig]: it
// makes another CA, and with it the same network, of the same name, ID and
// members' key. Only who knows the secret can do that.
func (n *Network) Rotate() (secret string, err error) {
	if n.ca == nil || n.ca.key == nil {
		return "", ErrNoSecret
	}
	var random [newSecretBytes]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	return rotatedText(kept{n.id, n.shared, n.name}, random), nil
}

func rotatedText(k kept, random [newSecretBytes]byte) string {
	return summed(rotatedPrefix, slices.Concat(k.id[:], k.shared[:], random[:], []byte(k.name)))
}

// readRotated returns what a secret that [Network.Rotate] made keeps, or nil for
// a network's first one. The error does not show the secret.
func readRotated(secret string) (*kept, error) {
	if !strings.HasPrefix(secret, rotatedPrefix) {
		return nil, nil
	}
	b, ok := readSummed(rotatedPrefix, secret)
	const fixed = 32 + 32 + newSecretBytes
	if !ok || len(b) < fixed || checkNetworkName(string(b[fixed:])) != nil {
		return nil, errors.New("identity: the secret is not complete: its end is missing, or a character has changed on the way; copy all of it again")
	}
	return &kept{[32]byte(b), [32]byte(b[32:]), string(b[fixed:])}, nil
}

// CA names the network's own CA in one line of text, for those who are to accept
// it besides theirs; see [OpenNetwork]. It is no secret, and empty in an open
// network.
func (n *Network) CA() string {
	if n.ca == nil {
		return ""
	}
	return n.nameCA(n.ca)
}

// Accepted is what CA returns of each CA that is accepted besides the own one.
func (n *Network) Accepted() []string {
	var list []string
	for _, ca := range n.also {
		list = append(list, n.nameCA(ca))
	}
	return list
}

func (n *Network) nameCA(ca *authority) string {
	return summed(caPrefix, slices.Concat(n.id[:], ca.public[:], []byte(n.name)))
}

// readCA reads what [Network.CA] returns. The network has no members' key.
func readCA(text string) (*Network, error) {
	b, ok := readSummed(caPrefix, text)
	if !ok || len(b) < 64 || checkNetworkName(string(b[64:])) != nil {
		return nil, errors.New("the name of a CA is not complete; copy all of it again, as weft network shows it")
	}
	n := &Network{name: string(b[64:]), id: [32]byte(b)}
	var err error
	n.ca, err = knownAuthority(n.name, PublicKey(b[32:64]))
	return n, err
}

// accept makes n accept what other CAs of the same network have certified.
func (n *Network) accept(also []string) error {
	if len(also) > 0 && n.ca == nil {
		return errors.New("identity: AlsoAccept is for networks with a secret; in an open network everybody is accepted")
	}
	if len(also) > MaxAccepted {
		return fmt.Errorf("identity: AlsoAccept has %d entries, want at most %d; drop those of rotations that have ended", len(also), MaxAccepted)
	}
	for i, text := range also {
		other, err := n.readAccepted(text)
		if err != nil {
			return fmt.Errorf("identity: AlsoAccept[%d]: %w", i, err)
		}
		if other.id != n.id {
			return fmt.Errorf("identity: AlsoAccept[%d] is of another network, %v with ID %s; this one is %v with ID %s. "+
				"It takes other secrets, invites or CAs of this network, whose secret weft secret rotate replaces",
				i, other.name, hex.EncodeToString(other.id[:8]), n.name, hex.EncodeToString(n.id[:8]))
		}
		same := func(ca *authority) bool { return ca.public == other.ca.public }
		if !slices.ContainsFunc(n.authorities(), same) {
			n.also = append(n.also, other.ca)
		}
	}
	return nil
}

// readAccepted returns the network that an entry of AlsoAccept names.
func (n *Network) readAccepted(text string) (*Network, error) {
	switch text = strings.TrimSpace(text); {
	case strings.HasPrefix(text, caPrefix):
		return readCA(text)
	case strings.HasPrefix(text, InvitePrefix):
		in, err := openInvite(text)
		if err != nil {
			return nil, err
		}
		return in.network, nil
	}
	return NetworkConfig{Name: n.name, Secret: text}.bySecret()
}

// authorities are the CAs whose members are members: the own one first.
func (n *Network) authorities() []*authority {
	if n.ca == nil {
		return nil
	}
	return append([]*authority{n.ca}, n.also...)
}

// trust makes the CAs those that certificates are verified with.
func (n *Network) trust() {
	n.roots = x509.NewCertPool()
	for _, ca := range n.authorities() {
		n.roots.AddCert(ca.cert)
	}
}

// summed writes bytes as text, with the start of their hash behind them.
func summed(prefix string, b []byte) string {
	sum := sha256.Sum256(b)
	return prefix + base64.RawURLEncoding.EncodeToString(append(b[:len(b):len(b)], sum[:checksumLen]...))
}

// readSummed reads what summed wrote, and nothing else that means the same.
func readSummed(prefix, text string) (b []byte, ok bool) {
	const most = 32 + 32 + newSecretBytes + maxNetworkName + checksumLen
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok || len(rest) > base64.RawURLEncoding.EncodedLen(most) {
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(b) < checksumLen {
		return nil, false
	}
	b = b[:len(b)-checksumLen]
	return b, summed(prefix, b) == text // the decoder overlooks line ends
}

// bySecret opens the network of cfg.Secret.
func (cfg NetworkConfig) bySecret() (*Network, error) {
	if err := checkSecret(cfg.Secret); err != nil {
		return nil, err
	}
	old, err := readRotated(cfg.Secret)
	if err != nil {
		return nil, err
	}
	n := &Network{name: cmp.Or(cfg.Name, DefaultNetwork)}
	if old != nil {
		if cfg.Name != "" && cfg.Name != old.name {
			return nil, fmt.Errorf("identity: the secret is for network %q, and the config names %q; leave the network's name out", old.name, cfg.Name)
		}
		n.name = old.name
	}
	if err := checkNetworkName(n.name); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if n.ca, err = newAuthority(n.name, cfg.Secret); err != nil {
		return nil, fmt.Errorf("identity: cannot make the network's CA: %w", err)
	}
	if old != nil {
		n.id, n.shared = old.id, old.shared
	} else {
		n.id = networkID(n.name, n.ca.public[:])
		n.shared = sharedOf(n.ca.key, n.id)
	}
	return n, nil
}
