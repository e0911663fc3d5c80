package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/fxamacker/cbor/v2"
)

// How a token is written: the prefix with the version, and base64url (RFC 4648
// section 5, no padding) of a CBOR map and a checksum. White space anywhere in
// it is ignored, because long lines are wrapped on their way.
const (
	// InvitePrefix is what each invite begins with.
	InvitePrefix = "weft-invite-"

	inviteVersion  = "1-"
	rotatedVersion = "2-" // of networks whose secret was rotated
	checksumLen    = 4
	maxToken       = 8 << 10 // characters, without white space
)

var errBadInvite = errors.New("the invite is damaged or was not made by weft; ask for a new one")

// The CBOR dialect of tokens, as in the control protocol.
var (
	tokenEnc = must(cbor.CoreDetEncOptions().EncMode())
	tokenDec = must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 4, MaxArrayElements: 16, MaxMapPairs: 16,
		IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) //nolint:forbidigo // a bug of ours: the options above are constants
	}
	return v
}

// An inviteToken is what a token holds.
type inviteToken struct {
	Network string   `cbor:"1,keyasint"`           // name
	CA      []byte   `cbor:"2,keyasint"`           // the CA's public key
	Seed    []byte   `cbor:"3,keyasint"`           // of the invite's private key
	Cert    []byte   `cbor:"4,keyasint"`           // the invite's certificate, DER
	Relays  []string `cbor:"5,keyasint,omitempty"` // addresses
	Note    string   `cbor:"6,keyasint,omitempty"`
	Shared  []byte   `cbor:"7,keyasint"`           // see Network.Derive
	ID      []byte   `cbor:"8,keyasint,omitempty"` // the network's; nil: it is that of the CA
}

func (t *inviteToken) encode() (string, error) {
	b, err := tokenEnc.Marshal(t)
	if err != nil {
		return "", err
	}
	version := inviteVersion
	if t.ID != nil {
		version = rotatedVersion
	}
	return summed(InvitePrefix+version, b), nil
}

// decodeToken reads a token and checks the lengths of its parts.
func decodeToken(token string) (*inviteToken, error) {
	token = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, token)
	rest, ok := strings.CutPrefix(token, InvitePrefix)
	if !ok {
		return nil, fmt.Errorf("that is no invite: one begins with %s%s; if it names a file, say --invite FILE", InvitePrefix, inviteVersion)
	}
	version := inviteVersion
	if strings.HasPrefix(rest, rotatedVersion) {
		version = rotatedVersion
	}
	if rest, ok = strings.CutPrefix(rest, version); !ok {
		return nil, errors.New("the invite is of another version than 1 and 2; use the release of weft that made it, or a newer one")
	}
	if len(token) > maxToken {
		return nil, fmt.Errorf("%w: it has %d characters, at most %d are allowed", errBadInvite, len(token), maxToken)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(b) <= checksumLen {
		return nil, errCutShort
	}
	body, sum := b[:len(b)-checksumLen], sha256.Sum256(b[:len(b)-checksumLen])
	if string(sum[:checksumLen]) != string(b[len(body):]) {
		return nil, errCutShort
	}
	var t inviteToken
	if err := tokenDec.Unmarshal(body, &t); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadInvite, err)
	}
	if len(t.CA) != ed25519.PublicKeySize || len(t.Seed) != ed25519.SeedSize || len(t.Shared) != len(Network{}.shared) {
		return nil, fmt.Errorf("%w: a key in it has a wrong length", errBadInvite)
	}
	if (version == rotatedVersion) != (t.ID != nil) || t.ID != nil && len(t.ID) != len(Network{}.id) {
		return nil, fmt.Errorf("%w: the network's ID does not fit its version", errBadInvite)
	}
	return &t, nil
}

var errCutShort = errors.New("the invite is not complete: its end is missing, or a character has changed on the way; copy all of it again")

// describe returns what the token says, for people.
func (t *inviteToken) describe(network [32]byte, g *grant) Invite {
	return Invite{
		ID: g.id, Network: t.Network, NetworkID: network,
		Issued: g.cert.NotBefore.Add(clockSkew), Expires: g.cert.NotAfter,
		Names: slices.Clone(g.names), Roles: slices.Clone(g.roles),
		Relays: slices.Clone(t.Relays), Note: t.Note,
	}
}
