package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var closed = NetworkConfig{Secret: testSecret}
var open = NetworkConfig{Open: true}

func TestVerifyPeerReturnsWhoThePeerIs(t *testing.T) {
	for name, cfg := range map[string]NetworkConfig{"closed": closed, "open": open} {
		t.Run(name, func(t *testing.T) {
			a, b := newTestCredentials(t, cfg), newTestCredentials(t, cfg, "kv-1")
			got, err := a.VerifyPeer(rawLeaf(t, b))
			if err != nil {
				t.Fatal(err)
			}
			if got.ID != b.Key().ID() || got.Key != b.Key().Public() || !slices.Equal(got.Names, []string{"kv-1"}) || got.Expires.Before(time.Now()) {
				t.Errorf("VerifyPeer = %+v, want node %v named kv-1", got, b.Key().ID())
			}
		})
	}
}

// forge signs a changed leaf for a new key with the network's CA, as a member
// who knows the secret could.
func forge(t *testing.T, change func(template *x509.Certificate), public crypto.PublicKey) [][]byte {
	t.Helper()
	ca := openTestNetwork(t, closed).ca
	if public == nil {
		k := newTestKey(t).Public()
		public = ed25519.PublicKey(k[:])
	}
	template := &x509.Certificate{
		NotBefore:             time.Now().Add(-clockSkew),
		NotAfter:              time.Now().Add(leafLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           leafUsage(),
		BasicConstraintsValid: true,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, public, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{der}
}

func TestVerifyPeerRefuses(t *testing.T) {
	me := newTestCredentials(t, closed)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := rawLeaf(t, newTestCredentials(t, closed))
	flipped := slices.Clone(good[0])
	flipped[len(flipped)-1] ^= 1
	critical := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}
	as := func(f func(*x509.Certificate)) [][]byte { return forge(t, f, nil) }
	tests := []struct {
		name  string
		certs [][]byte
		want  error
	}{
		{"no certificate", nil, ErrBadCertificate},
		{"a chain", append(slices.Clone(good), good...), ErrBadCertificate},
		{"an empty certificate", [][]byte{nil}, ErrBadCertificate},
		{"garbage", [][]byte{[]byte("garbage")}, ErrBadCertificate},
		{"trailing bytes", [][]byte{append(slices.Clone(good[0]), 0)}, ErrBadCertificate},
		{"a huge certificate", [][]byte{make([]byte, maxLeaf+1)}, ErrBadCertificate},
		{"a key that is not Ed25519", forge(t, func(*x509.Certificate) {}, ec.Public()), ErrBadCertificate},
		{"a CA certificate", [][]byte{me.network.ca.cert.Raw}, ErrBadCertificate},
		{"a certificate for servers only", as(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), ErrBadCertificate},
		{"a bad name", as(func(c *x509.Certificate) { c.DNSNames = []string{"*"} }), ErrBadCertificate},
		{"a name that is a node ID", as(func(c *x509.Certificate) { c.DNSNames = []string{"9f3a5b6c7d8e9f00"} }), ErrBadCertificate},
		{"too many names", as(func(c *x509.Certificate) { c.DNSNames = make([]string, MaxNames+1) }), ErrBadCertificate},
		{"an unknown critical extension", as(func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{critical} }), ErrBadCertificate},
		{"its own certificate", rawLeaf(t, me), ErrSelf},
		{"a member of another network", rawLeaf(t, newTestCredentials(t, NetworkConfig{Name: "lab", Secret: testSecret})), ErrNotMember},
		{"a self-signed certificate", rawLeaf(t, newTestCredentials(t, open)), ErrNotMember},
		{"a broken signature", [][]byte{flipped}, ErrNotMember},
		{"an expired certificate", as(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), ErrExpired},
		{"a certificate of tomorrow", as(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), ErrExpired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if p, err := me.VerifyPeer(tt.certs); !errors.Is(err, tt.want) {
				t.Errorf("VerifyPeer = %+v, %v; want %v", p, err, tt.want)
			}
		})
	}
}

func TestOpenNetworkRefusesWhatIsNotSelfSigned(t *testing.T) {
	me := newTestCredentials(t, open)
	if _, err := me.VerifyPeer(rawLeaf(t, newTestCredentials(t, closed))); !errors.Is(err, ErrNotMember) {
		t.Errorf("a leaf signed by a CA: %v, want ErrNotMember", err)
	}
	flipped := rawLeaf(t, newTestCredentials(t, open))
	flipped[0] = slices.Clone(flipped[0])
	flipped[0][len(flipped[0])-1] ^= 1
	if _, err := me.VerifyPeer(flipped); !errors.Is(err, ErrNotMember) {
		t.Errorf("a broken signature: %v, want ErrNotMember", err)
	}
}

func TestLeafIsValidFromAnHourBeforeIssueUntilItExpires(t *testing.T) {
	for name, cfg := range map[string]NetworkConfig{"closed": closed, "open": open} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				me, peer := newTestCredentials(t, cfg), newTestCredentials(t, cfg)
				raw := rawLeaf(t, peer)
				leaf := peer.leaf.Leaf
				if got := time.Since(leaf.NotBefore); got != clockSkew {
					t.Errorf("valid since %v, want %v", got, clockSkew)
				}
				time.Sleep(time.Until(leaf.NotAfter))
				if _, err := me.VerifyPeer(raw); err != nil {
					t.Errorf("in its last second: %v", err)
				}
				time.Sleep(time.Second)
				if _, err := me.VerifyPeer(raw); !errors.Is(err, ErrExpired) {
					t.Errorf("a second later: %v, want ErrExpired", err)
				}
			})
		})
	}
}

func TestTargetChecksThePeer(t *testing.T) {
	k, other := newTestKey(t), newTestKey(t)
	p := Peer{ID: k.ID(), Key: k.Public(), Names: []string{"kv-1"}}
	tests := []struct {
		name   string
		target Target
		want   error
	}{
		{"right ID", Target{ID: k.ID()}, nil},
		{"right key", Target{Key: k.Public()}, nil},
		{"right name", Target{Name: "KV-1"}, nil},
		{"wrong ID", Target{ID: other.ID()}, ErrWrongPeer},
		{"wrong key", Target{Key: other.Public()}, ErrWrongPeer},
		{"wrong name", Target{Name: "kv-2"}, ErrWrongPeer},
	}
	for _, tt := range tests {
		if err := tt.target.Check(p); !errors.Is(err, tt.want) {
			t.Errorf("%s: Check = %v, want %v", tt.name, err, tt.want)
		}
		if tt.target.String() == "" {
			t.Errorf("%s: prints nothing", tt.name)
		}
	}
	for _, bad := range []Target{{}, {ID: k.ID(), Name: "kv-1"}, {ID: k.ID(), Key: k.Public()}} {
		if err := bad.Check(p); err == nil || errors.Is(err, ErrWrongPeer) {
			t.Errorf("%+v: Check = %v, want an error about the target", bad, err)
		}
	}
}

func FuzzVerifyPeer(f *testing.F) {
	inClosed, inOpen := newTestCredentials(f, closed), newTestCredentials(f, open)
	f.Add(rawLeaf(f, newTestCredentials(f, closed, "kv-1"))[0])
	f.Add(rawLeaf(f, newTestCredentials(f, open, "kv-1"))[0])
	f.Add(inClosed.network.ca.cert.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		for _, c := range []*Credentials{inClosed, inOpen} {
			p, err := c.VerifyPeer([][]byte{der})
			if err == nil && (p.ID == 0 || p.ID != p.Key.ID() || len(p.Names) > MaxNames) {
				t.Errorf("VerifyPeer = %+v", p)
			}
		}
	})
}
