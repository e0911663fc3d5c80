package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxRevocation is the longest that a revocation can be, in bytes.
const MaxRevocation = 1 + len(PublicKey{}) + untilLen + SignatureSize

// What a revocation takes back, its first byte.
const (
	revokeNode   = 1 // a node's key, 32 bytes
	revokeInvite = 2 // an invite's ID, 8 bytes

	inviteIDLen = 8
	untilLen    = 8
)

// labelRevocation is what the CA's key signs revocations under.
const labelRevocation = "revocation 1"

// How a revocation is written for people: the prefix and base64url (RFC 4648
// section 5, no padding) of its bytes and a checksum.
const revocationPrefix = "weft-revocation-1-"

var (
	// ErrRevoked matches the errors of those whose membership was taken back.
	ErrRevoked = errors.New("identity: revoked")
	// ErrBadRevocation matches the errors of what is no revocation of this network.
	ErrBadRevocation = errors.New("identity: that is no revocation of this network")
)

// errOtherSecret is what is wrong with forged revocations, and with honest ones
// of a secret that is not accepted any more, or not yet.
var errOtherSecret = fmt.Errorf("%w: it is not signed with the network's secret; sign it again with the present one (weft revoke)", ErrBadRevocation)

// A Revocation takes a membership back before its end: that of one key, or of
// all nodes with an invite. Exactly one of Node and Invite is set. It is
// comparable, but for Until.
type Revocation struct {
	Node   PublicKey
	Invite InviteID
	// Until is when it ends, in whole seconds, after which what was revoked is
	// good again unless it has ended, too. Zero: never.
	Until time.Time
}

// String says what is revoked.
func (r Revocation) String() string {
	s := "node key " + r.Node.String()
	if r.Invite != 0 {
		s = "invite " + r.Invite.String()
	}
	if r.Until.IsZero() {
		return s + ", for ever"
	}
	return s + ", until " + r.Until.UTC().Format(time.RFC3339)
}

// subject is what it revokes, as a key of maps.
func (r Revocation) subject() Revocation { return Revocation{Node: r.Node, Invite: r.Invite} }

// ended reports whether it does not hold any more.
func (r Revocation) ended(now time.Time) bool { return !r.Until.IsZero() && now.After(r.Until) }

// longer reports whether it holds for longer than o.
func (r Revocation) longer(o Revocation) bool {
	return !o.Until.IsZero() && (r.Until.IsZero() || r.Until.After(o.Until))
}

// Revoke signs a revocation, offline. For an invite, an Until of zero is
// [MaxInviteLife] from now, when any invite has ended.
func (n *Network) Revoke(r Revocation) ([]byte, error) {
	if n.ca == nil || n.ca.key == nil {
		return nil, ErrNoSecret
	}
	if (r.Node == PublicKey{}) == (r.Invite == 0) {
		return nil, errors.New("identity: a revocation is of one node's key or of one invite")
	}
	now := time.Now()
	if r.Invite != 0 && r.Until.IsZero() {
		r.Until = now.Add(MaxInviteLife + 2*clockSkew) // clocks differ
	}
	if r.ended(now) {
		return nil, fmt.Errorf("identity: a revocation until %s has ended already", r.Until.UTC().Format(time.RFC3339))
	}
	b := r.appendBody(nil)
	return append(b, ed25519.Sign(n.ca.key, n.statement(b))...), nil
}

// appendBody appends what is signed: kind (1), subject (32 or 8), Until (8, in
// seconds, 0 for never).
func (r Revocation) appendBody(b []byte) []byte {
	if r.Invite != 0 {
		b = binary.BigEndian.AppendUint64(append(b, revokeInvite), uint64(r.Invite))
	} else {
		b = append(append(b, revokeNode), r.Node[:]...)
	}
	var until uint64
	if !r.Until.IsZero() {
		until = uint64(max(r.Until.Unix(), 1))
	}
	return binary.BigEndian.AppendUint64(b, until)
}

// statement is what the CA signs: revocations of one network are none in another.
func (n *Network) statement(body []byte) []byte {
	return signed(labelRevocation, append(n.id[:], body...))
}

// maxUntil is the last second of the year 9999, which X.509 and RFC 3339 can say.
const maxUntil = 253402300799

// ReadRevocation returns what the bytes say, which can be followed by others, and
// how many they are. It does not check who signed them.
func ReadRevocation(b []byte) (r Revocation, size int, err error) {
	if len(b) == 0 {
		return r, 0, fmt.Errorf("%w: it is empty", ErrBadRevocation)
	}
	var subject int
	switch b[0] {
	case revokeNode:
		subject = len(r.Node)
	case revokeInvite:
		subject = inviteIDLen
	default:
		return r, 0, fmt.Errorf("%w: it is of kind %d; use a newer release of weft", ErrBadRevocation, b[0])
	}
	if size = 1 + subject + untilLen + SignatureSize; len(b) < size {
		return r, 0, fmt.Errorf("%w: it is cut short", ErrBadRevocation)
	}
	if b[0] == revokeNode {
		r.Node = PublicKey(b[1 : 1+subject])
	} else {
		r.Invite = InviteID(binary.BigEndian.Uint64(b[1:]))
	}
	until := binary.BigEndian.Uint64(b[1+subject:])
	if r.subject() == (Revocation{}) || until > maxUntil {
		return Revocation{}, 0, fmt.Errorf("%w: it revokes nothing, or for longer than can be", ErrBadRevocation)
	}
	if until != 0 {
		r.Until = time.Unix(int64(until), 0).UTC()
	}
	return r, size, nil
}

// verifyRevocation returns what b says if it is one revocation that a CA of the
// network has signed, and whether that is the own one.
func (n *Network) verifyRevocation(b []byte) (r Revocation, own bool, err error) {
	r, size, err := ReadRevocation(b)
	switch {
	case err != nil:
		return r, false, err
	case size != len(b):
		return r, false, fmt.Errorf("%w: %d bytes behind it", ErrBadRevocation, len(b)-size)
	case n.ca == nil:
		return r, false, fmt.Errorf("%w: the network is open, where nobody can be kept out", ErrBadRevocation)
	}
	body := b[:size-SignatureSize]
	for i, ca := range n.authorities() {
		if ed25519.Verify(ca.public[:], n.statement(body), b[len(body):]) {
			return r, i == 0, nil
		}
	}
	return r, false, errOtherSecret
}

// FormatRevocation writes a revocation as one line of text. It is no secret.
func FormatRevocation(b []byte) string {
	return summed(revocationPrefix, b)
}

// ParseRevocation reads what [FormatRevocation] wrote, with white space around it.
// It does not check who signed it.
func ParseRevocation(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	rest, ok := strings.CutPrefix(text, revocationPrefix)
	if !ok {
		return nil, fmt.Errorf("%w: one begins with %s", ErrBadRevocation, revocationPrefix)
	}
	if len(rest) > base64.RawURLEncoding.EncodedLen(MaxRevocation+checksumLen) {
		return nil, fmt.Errorf("%w: it is too long", ErrBadRevocation)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(b) <= checksumLen {
		return nil, fmt.Errorf("%w: it is not complete; copy all of it again", ErrBadRevocation)
	}
	b, end := b[:len(b)-checksumLen], b[len(b)-checksumLen:]
	if sum := sha256.Sum256(b); string(sum[:checksumLen]) != string(end) {
		return nil, fmt.Errorf("%w: it is not complete; copy all of it again", ErrBadRevocation)
	}
	if _, size, err := ReadRevocation(b); err != nil || size != len(b) {
		return nil, errors.Join(fmt.Errorf("%w: it has a wrong form", ErrBadRevocation), err)
	}
	return b, nil
}
