package identity

import (
	"crypto/x509"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestARoleThatWasTakenIsSeenByPeers(t *testing.T) {
	for name, cfg := range map[string]NetworkConfig{"closed": closed, "open": open} {
		t.Run(name, func(t *testing.T) {
			me, relay := newTestCredentials(t, cfg), newTestCredentials(t, cfg, "relay-1")
			before, err := me.VerifyPeer(rawLeaf(t, relay))
			if err != nil || before.Has(RoleRelay) {
				t.Fatalf("before: %+v, %v", before, err)
			}
			for range 2 {
				if err := relay.TakeRole(RoleRelay); err != nil {
					t.Fatal(err)
				}
			}
			after, err := me.VerifyPeer(rawLeaf(t, relay))
			if err != nil || !after.Has(RoleRelay) || after.Has("king") || !slices.Equal(after.Names, []string{"relay-1"}) {
				t.Errorf("after: %+v, %v", after, err)
			}
			if got := relay.Roles(); !slices.Equal(got, []string{RoleRelay}) {
				t.Errorf("Roles() = %q", got)
			}
		})
	}
}

func TestOnlyWordsAreRoles(t *testing.T) {
	c := newTestCredentials(t, open)
	for _, role := range []string{"", "King", "a b", "rôle", strings.Repeat("x", maxLabel+1)} {
		if err := c.TakeRole(role); err == nil {
			t.Errorf("role %q was taken", role)
		}
	}
	for i := range MaxRoles {
		if err := c.TakeRole("r" + strconv.Itoa(i)); err != nil {
			t.Error(err)
		}
	}
	if err := c.TakeRole("one-more"); err == nil {
		t.Error("more roles than a certificate can have were taken")
	}
	if p, err := newTestCredentials(t, open).VerifyPeer(rawLeaf(t, c)); err != nil || len(p.Roles) != MaxRoles {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestRolesInCertificates(t *testing.T) {
	me := newTestCredentials(t, closed)
	many := make([]string, MaxRoles+1)
	for i := range many {
		many[i] = "weft:role:r" + strconv.Itoa(i)
	}
	tests := []struct {
		name string
		uris []string
		want []string
		bad  bool
	}{
		{"another scheme", []string{"spiffe://weft/role:relay", "other:role:relay"}, nil, false},
		{"another word of ours", []string{"weft:rank:relay", "weft:relay"}, nil, false},
		{"twice the same", []string{"weft:role:relay", "weft:role:relay"}, []string{"relay"}, false},
		{"several", []string{"weft:role:relay", "weft:role:auditor"}, []string{"auditor", "relay"}, false},
		{"an empty one", []string{"weft:role:"}, nil, true},
		{"not a word", []string{"weft:role:RELAY"}, nil, true},
		{"too many", many, nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := forge(t, func(c *x509.Certificate) {
				for _, s := range tt.uris {
					u, err := url.Parse(s)
					if err != nil {
						t.Fatal(err)
					}
					c.URIs = append(c.URIs, u)
				}
			}, nil)
			p, err := me.VerifyPeer(raw)
			if tt.bad != errors.Is(err, ErrBadCertificate) || !slices.Equal(p.Roles, tt.want) {
				t.Errorf("roles %q, %v; want %q", p.Roles, err, tt.want)
			}
		})
	}
}
