package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// An InviteID names an invite: the serial number of its certificate, random.
// Zero stands for no invite.
type InviteID uint64

// String returns the ID as 16 lowercase hex digits.
func (id InviteID) String() string { return NodeID(id).String() }

// ParseInviteID reads what [InviteID.String] prints.
func ParseInviteID(s string) (InviteID, error) {
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != nodeIDLen || v == 0 {
		return 0, fmt.Errorf("invite ID %.64q: want %d hex digits, as `weft invite` and `weft network` show them", s, nodeIDLen)
	}
	return InviteID(v), nil
}

// maxGrant is the longest certificate of an invite, in bytes. With a few names
// it has about 400.
const maxGrant = 2 << 10

// A grant is what an invite allows: an intermediate CA, which signs leaves and
// nothing else, with names and roles of its own and within its validity.
type grant struct {
	id     InviteID
	cert   *x509.Certificate
	key    ed25519.PrivateKey // nil for those who only verify
	public PublicKey
	names  []string
	roles  []string
}

// readGrant returns what an intermediate certificate allows, if it has the shape
// of those in invites. It does not check who signed it.
func readGrant(der []byte) (*grant, error) {
	if len(der) > maxGrant {
		return nil, fmt.Errorf("the invite's certificate has %d bytes, want at most %d", len(der), maxGrant)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	public, ok := cert.PublicKey.(ed25519.PublicKey)
	serial := cert.SerialNumber
	switch {
	case !ok:
		return nil, fmt.Errorf("the invite's key is %v, want Ed25519", cert.PublicKeyAlgorithm)
	case !cert.BasicConstraintsValid || !cert.IsCA || cert.MaxPathLen != 0 || !cert.MaxPathLenZero:
		return nil, errors.New("the invite's certificate is not that of a CA that signs only leaves (path length 0)")
	case cert.KeyUsage != x509.KeyUsageCertSign:
		return nil, errors.New("the invite's key is not for signing certificates alone")
	case !serial.IsUint64() || serial.Sign() <= 0:
		return nil, errors.New("the invite's serial number is not of 1 to 64 bits")
	case len(cert.UnhandledCriticalExtensions) != 0:
		return nil, errors.New("the invite's certificate has critical extensions that nobody here knows")
	}
	g := &grant{id: InviteID(serial.Uint64()), cert: cert, public: PublicKey(public)}
	if g.names, err = parseNames(cert.DNSNames); err != nil {
		return nil, err
	}
	g.roles, err = rolesOf(cert.URIs)
	return g, err
}

// verify checks that a CA has signed the grant, but not when.
func (g *grant) verify(ca *authority) error {
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	_, err := g.cert.Verify(x509.VerifyOptions{
		Roots:       roots,
		CurrentTime: g.cert.NotBefore,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

// covers reports what of the names and roles goes beyond the grant.
func (g *grant) covers(names, roles []string) error {
	for _, name := range names {
		if !slices.Contains(g.names, name) {
			return fmt.Errorf("the invite does not give the name %q, but %s", name, orNone(g.names))
		}
	}
	for _, role := range roles {
		if !slices.Contains(g.roles, role) {
			return fmt.Errorf("the invite does not give the role %q, but %s", role, orNone(g.roles))
		}
	}
	return nil
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return fmt.Sprintf("%q", list)
}

// An InviteExpiredError says that the invite by which a node was a member has
// expired, so that the node has no certificate any more.
type InviteExpiredError struct {
	Invite  InviteID
	Expired time.Time
}

// Error says what to do.
func (e *InviteExpiredError) Error() string {
	return fmt.Sprintf("identity: the invite %v has expired at %s; ask whoever gave it for a new one (weft invite)",
		e.Invite, e.Expired.UTC().Format(time.RFC3339))
}

// current reports whether the grant is valid at a time.
func (g *grant) current(now time.Time) error {
	switch {
	case now.After(g.cert.NotAfter):
		return &InviteExpiredError{g.id, g.cert.NotAfter}
	case now.Before(g.cert.NotBefore):
		return fmt.Errorf("identity: the invite %v is valid from %s on, and here it is %s; set this machine's clock",
			g.id, g.cert.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}
