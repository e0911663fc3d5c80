package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// mint makes an invite of the closed test network for a day.
func mint(t testing.TB, in Invite) string {
	t.Helper()
	if in.Expires.IsZero() {
		in.Expires = time.Now().Add(24 * time.Hour)
	}
	token, _, err := openTestNetwork(t, closed).Mint(in)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// newGuest returns credentials by an invite.
func newGuest(t testing.TB, in Invite, names ...string) *Credentials {
	t.Helper()
	n, err := OpenNetwork(NetworkConfig{Invite: mint(t, in)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCredentials(newTestKey(t), n, names)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnInviteSaysWhatItIsFor(t *testing.T) {
	n := openTestNetwork(t, closed)
	want := Invite{
		Expires: time.Now().Add(time.Hour), Names: []string{"KV-1", "kv-2"}, Roles: []string{"ops", RoleRelay},
		Relays: []string{"relay.example.org:9999", "wss://relay.example.org"}, Note: "für Ann",
	}
	token, made, err := n.Mint(want)
	if err != nil {
		t.Fatal(err)
	}
	wrapped := " " + token[:20] + "\r\n  " + token[20:] + "\n"
	got, err := ReadInvite(wrapped)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != made.ID || got.ID == 0 || got.Network != "weft" || got.NetworkID != n.ID() ||
		got.Expires.Unix() != want.Expires.Unix() || time.Since(got.Issued) > time.Minute ||
		!slices.Equal(got.Names, []string{"kv-1", "kv-2"}) || !slices.Equal(got.Roles, want.Roles) ||
		!slices.Equal(got.Relays, want.Relays) || got.Note != want.Note {
		t.Errorf("read %+v, made %+v", got, made)
	}
	if id, err := ParseInviteID(got.ID.String()); err != nil || id != got.ID {
		t.Errorf("ParseInviteID: %v, %v", id, err)
	}
	t.Logf("%d characters; with nothing but a relay %d", len(token), len(mint(t, Invite{Relays: []string{"relay.example.org:9999"}})))
}

func TestGuestsAndMembersKnowEachOther(t *testing.T) {
	member := newTestCredentials(t, closed, "files")
	guest := newGuest(t, Invite{Names: []string{"kv-1", "kv-2"}, Roles: []string{"ops", RoleRelay}}, "kv-1")
	other := newGuest(t, Invite{})
	if guest.Network().ID() != member.Network().ID() || guest.Network().ALPN() != member.Network().ALPN() || guest.Network().Open() {
		t.Fatal("a guest is in another network")
	}
	for _, c := range []*Credentials{member, other} {
		p, err := c.VerifyPeer(rawLeaf(t, guest))
		if err != nil {
			t.Fatal(err)
		}
		in := guest.Network().Invite()
		if !slices.Equal(p.Names, []string{"kv-1"}) || !slices.Equal(p.Roles, []string{"ops"}) || p.Invite != in.ID || !p.InviteExpires.Equal(in.Expires) {
			t.Errorf("a guest is %+v", p)
		}
		for _, seen := range []*Credentials{member, other} {
			if seen == c {
				continue
			}
			chain, err := seen.Chain()
			if err != nil {
				t.Fatal(err)
			}
			if p, err := guest.VerifyChain(chain); err != nil || (p.Invite == 0) != (seen == member) {
				t.Errorf("a guest sees %+v, %v", p, err)
			}
		}
	}
	if err := guest.TakeRole(RoleRelay); err != nil {
		t.Error(err)
	}
	if p, err := member.VerifyPeer(rawLeaf(t, guest)); err != nil || !p.Has(RoleRelay) {
		t.Errorf("a guest that is a relay: %+v, %v", p, err)
	}
	if want := member.Network().Derive("x"); guest.Network().Derive("x") != want || other.Network().Derive("x") != want {
		t.Error("guests and members derive different bytes")
	}
}

func TestAGuestKeepsToItsInvite(t *testing.T) {
	n, err := OpenNetwork(NetworkConfig{Invite: mint(t, Invite{Names: []string{"kv-1"}, Roles: []string{"ops"}})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewCredentials(newTestKey(t), n, []string{"kv-2"}); err == nil || !strings.Contains(err.Error(), `"kv-1"`) {
		t.Errorf("another name: %v", err)
	}
	c, err := NewCredentials(newTestKey(t), n, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.TakeRole(RoleRelay); err == nil {
		t.Error("another role was taken")
	}
	if _, _, err := n.Mint(Invite{Expires: time.Now().Add(time.Hour)}); !errors.Is(err, ErrNoSecret) {
		t.Errorf("a guest makes invites: %v", err)
	}
	if strings.Contains(n.String(), "secret") || n.ca.key != nil {
		t.Error("a guest knows the CA's key")
	}
}

func TestALeafLivesNoLongerThanItsInvite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		member := newTestCredentials(t, closed)
		guest := newGuest(t, Invite{Expires: time.Now().Add(60 * time.Hour)})
		ends := guest.Network().Invite().Expires
		seen := map[string]bool{}
		for time.Now().Before(ends) {
			raw := rawLeaf(t, guest)
			if _, err := member.VerifyPeer(raw); err != nil {
				t.Fatalf("%v before the end: %v", time.Until(ends), err)
			}
			if guest.leaf.Leaf.NotAfter.After(ends) {
				t.Fatal("a leaf outlives its invite")
			}
			seen[string(raw[0])] = true
			time.Sleep(time.Hour)
		}
		if len(seen) < 3 || len(seen) > 6 {
			t.Errorf("%d leaves in 60 hours", len(seen))
		}
		last := guest.leaf.Certificate
		time.Sleep(time.Until(ends) + 2*time.Second)
		if _, err := member.VerifyPeer(last); !errors.Is(err, ErrExpired) {
			t.Errorf("after the end: %v", err)
		}
		_, err := guest.Certificate()
		if expired, ok := errors.AsType[*InviteExpiredError](err); !ok || expired.Invite != guest.Network().grant.id || !strings.Contains(err.Error(), "new one") {
			t.Errorf("after the end the guest's certificate: %v", err)
		}
		if _, err := NewCredentials(newTestKey(t), guest.Network(), nil); err == nil {
			t.Error("an expired invite makes members")
		}
	})
}

func TestWhatCannotBeMinted(t *testing.T) {
	n := openTestNetwork(t, closed)
	soon := time.Now().Add(time.Hour)
	for name, in := range map[string]Invite{
		"no life":       {},
		"too long":      {Expires: time.Now().Add(MaxInviteLife + time.Hour)},
		"bad name":      {Expires: soon, Names: []string{"*"}},
		"many names":    {Expires: soon, Names: slices.Repeat([]string{"a"}, MaxNames+1)},
		"long names":    {Expires: soon, Names: slices.Repeat([]string{strings.Repeat("a.", 100) + "b"}, MaxNames)},
		"bad role":      {Expires: soon, Roles: []string{"King"}},
		"many roles":    {Expires: soon, Roles: slices.Repeat([]string{"a"}, MaxRoles+1)},
		"many relays":   {Expires: soon, Relays: slices.Repeat([]string{"a:1"}, MaxInviteRelays+1)},
		"empty relay":   {Expires: soon, Relays: []string{""}},
		"note of lines": {Expires: soon, Note: "a\nb"},
		"long note":     {Expires: soon, Note: strings.Repeat("x", MaxNote+1)},
	} {
		if token, _, err := n.Mint(in); err == nil {
			t.Errorf("%s: %s", name, token)
		}
	}
	if _, _, err := openTestNetwork(t, open).Mint(Invite{Expires: soon}); !errors.Is(err, ErrNoSecret) {
		t.Errorf("an open network: %v", err)
	}
}

func TestDamagedTokensSayWhatToDo(t *testing.T) {
	token := mint(t, Invite{})
	changed := []byte(token)
	changed[len(changed)/2] ^= 1
	for name, tt := range map[string]struct{ token, want string }{
		"nothing":     {"", "no invite"},
		"a file":      {"/etc/weft/invite", "--invite FILE"},
		"a secret":    {NewSecret(), "no invite"},
		"a newer one": {"weft-invite-3-abc", "newer"},
		"truncated":   {token[:len(token)-5], "copy all of it again"},
		"only a head": {token[:16], "copy all of it again"},
		"changed":     {string(changed), "copy all of it again"},
		"too long":    {token + strings.Repeat("A", maxToken), "damaged"},
	} {
		if _, err := ReadInvite(tt.token); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if _, err := OpenNetwork(NetworkConfig{Invite: tt.token, Open: tt.token == ""}); err == nil && tt.token != "" {
			t.Errorf("%s: was accepted", name)
		}
	}
	if _, err := OpenNetwork(NetworkConfig{Invite: token, Name: "lab"}); err == nil || !strings.Contains(err.Error(), "leave the network's name out") {
		t.Errorf("another network's name: %v", err)
	}
	if _, err := OpenNetwork(NetworkConfig{Invite: token, Secret: testSecret}); err == nil {
		t.Error("a secret and an invite")
	}
}

// reseal makes a token of changed content, with a right checksum.
func reseal(t testing.TB, token string, change func(*inviteToken)) string {
	t.Helper()
	parsed, err := decodeToken(token)
	if err != nil {
		t.Fatal(err)
	}
	change(parsed)
	forged, err := parsed.encode()
	if err != nil {
		t.Fatal(err)
	}
	return forged
}

func TestForgedTokensAreRefused(t *testing.T) {
	token := mint(t, Invite{Names: []string{"kv-1"}})
	for name, change := range map[string]func(*inviteToken){
		"another network": func(p *inviteToken) { p.Network = "lab" },
		"another CA":      func(p *inviteToken) { p.CA = slices.Repeat([]byte{7}, 32) },
		"a short CA key":  func(p *inviteToken) { p.CA = p.CA[:31] },
		"another key":     func(p *inviteToken) { p.Seed = make([]byte, 32) },
		"no certificate":  func(p *inviteToken) { p.Cert = nil },
		"a leaf":          func(p *inviteToken) { p.Cert = rawLeaf(t, newTestCredentials(t, closed))[0] },
		"the CA's":        func(p *inviteToken) { p.Cert = openTestNetwork(t, closed).ca.cert.Raw },
		"an escape":       func(p *inviteToken) { p.Note = "\x1b[2J" },
		"a short share":   func(p *inviteToken) { p.Shared = []byte{1} },
		"a short ID":      func(p *inviteToken) { p.ID = []byte{1} },
	} {
		if _, err := ReadInvite(reseal(t, token, change)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// A forger signs certificates with a key that an attacker holds.
type forger struct {
	t    *testing.T
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

// sign signs an intermediate CA, unless change makes it something else.
func (f forger) sign(public ed25519.PublicKey, change func(*x509.Certificate)) []byte {
	f.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "weft invite"},
		NotBefore: time.Now().Add(-clockSkew), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, f.cert, public, f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	return der
}

// intermediate returns a new CA that f has signed.
func (f forger) intermediate(change func(*x509.Certificate)) forger {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(f.sign(public, change))
	if err != nil {
		f.t.Fatal(err)
	}
	return forger{f.t, cert, key}
}

// leaf returns a leaf that f has signed.
func (f forger) leaf(change func(*x509.Certificate)) []byte {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.sign(public, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "leaf"}
		c.KeyUsage, c.IsCA, c.MaxPathLenZero = x509.KeyUsageDigitalSignature, false, false
		c.ExtKeyUsage = leafUsage()
		change(c)
	})
}

func same(*x509.Certificate) {}

func TestAttacksWithInvites(t *testing.T) {
	me := newTestCredentials(t, closed)
	ca := openTestNetwork(t, closed).ca
	root := forger{t, ca.cert, ca.key}
	other, err := OpenNetwork(NetworkConfig{Name: "lab", Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	stranger := forger{t, other.ca.cert, other.ca.key}.intermediate(same)
	named := *ca.cert // the CA's name on another key
	named.PublicKey = stranger.key.Public()
	impostor := forger{t, &named, stranger.key}
	a, b := root.intermediate(same), root.intermediate(same)
	names := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = names }
	}
	relay := func(c *x509.Certificate) { c.URIs = roleURIs([]string{RoleRelay}) }
	kv := root.intermediate(names("kv-1"))
	below := a.intermediate(same)
	long := root.intermediate(func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 1, false })
	free := root.intermediate(func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = -1, false })
	over := root.intermediate(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early := root.intermediate(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	two := root.intermediate(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageDigitalSignature })
	zero := root.intermediate(func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 64) })
	chain := func(leaf []byte, f ...forger) [][]byte {
		all := [][]byte{leaf}
		for _, f := range f {
			all = append(all, f.cert.Raw)
		}
		return all
	}
	if _, err := me.VerifyPeer(chain(kv.leaf(names("kv-1")), kv)); err != nil {
		t.Fatalf("what is right is refused: %v", err)
	}
	for name, tt := range map[string]struct {
		certs [][]byte
		want  error
	}{
		"an intermediate of another network":       {chain(stranger.leaf(same), stranger), ErrNotMember},
		"a forged intermediate":                    {chain(stranger.leaf(same), impostor.intermediate(same)), ErrNotMember},
		"an invite that invites":                   {chain(below.leaf(same), below), ErrNotMember},
		"an invite that invites, in full":          {chain(below.leaf(same), below, a), ErrBadCertificate},
		"a leaf of another invite":                 {chain(a.leaf(same), b), ErrNotMember},
		"a leaf alone":                             {chain(a.leaf(same)), ErrNotMember},
		"a member's leaf behind an invite":         {chain(root.leaf(names("kv-1")), kv), ErrBadCertificate},
		"an intermediate as a leaf":                {chain(a.cert.Raw), ErrBadCertificate},
		"a leaf that is a CA":                      {chain(a.leaf(func(c *x509.Certificate) { c.IsCA = true }), a), ErrBadCertificate},
		"a name outside":                           {chain(kv.leaf(names("kv-2")), kv), ErrBadCertificate},
		"a name below an allowed one":              {chain(kv.leaf(names("x.kv-1")), kv), ErrBadCertificate},
		"one name of two outside":                  {chain(kv.leaf(names("kv-1", "kv-2")), kv), ErrBadCertificate},
		"a name where none is given":               {chain(a.leaf(names("kv-1")), a), ErrBadCertificate},
		"a role outside":                           {chain(a.leaf(relay), a), ErrBadCertificate},
		"an intermediate of path length 1":         {chain(long.leaf(same), long), ErrBadCertificate},
		"an intermediate of any path length":       {chain(free.leaf(same), free), ErrBadCertificate},
		"an expired invite":                        {chain(over.leaf(same), over), ErrExpired},
		"an invite of tomorrow":                    {chain(early.leaf(same), early), ErrExpired},
		"an invite whose key signs messages":       {chain(two.leaf(same), two), ErrBadCertificate},
		"an invite with a long serial number":      {chain(zero.leaf(same), zero), ErrBadCertificate},
		"an expired leaf of an invite":             {chain(a.leaf(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), a), ErrExpired},
		"a leaf that ended before its invite":      {chain(early.leaf(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), early), ErrExpired},
		"garbage behind a leaf":                    {[][]byte{a.leaf(same), []byte("garbage")}, ErrBadCertificate},
		"something huge behind a leaf":             {[][]byte{a.leaf(same), make([]byte, maxGrant+1)}, ErrBadCertificate},
		"a member that shows its network's own CA": {chain(root.leaf(same), root), ErrBadCertificate},
	} {
		if p, err := me.VerifyPeer(tt.certs); !errors.Is(err, tt.want) || p.ID != 0 {
			t.Errorf("%s: %+v, %v; want %v", name, p, err, tt.want)
		}
	}
	if _, err := newTestCredentials(t, open).VerifyPeer(chain(a.leaf(same), a)); !errors.Is(err, ErrBadCertificate) {
		t.Errorf("an invite in an open network: %v", err)
	}
	if _, err := me.VerifyChain(append(rawLeaf(t, newTestCredentials(t, closed))[0], 0)); !errors.Is(err, ErrBadCertificate) {
		t.Errorf("a byte behind a chain: %v", err)
	}
}

func FuzzReadInvite(f *testing.F) {
	f.Add(mint(f, Invite{Names: []string{"kv-1"}, Relays: []string{"a:1"}, Note: "x"}))
	f.Add(mint(f, Invite{Roles: []string{RoleRelay}}))
	f.Add("weft-invite-1-")
	f.Fuzz(func(t *testing.T, token string) {
		in, err := ReadInvite(token)
		if err == nil && (in.ID == 0 || in.Network == "" || len(in.Names) > MaxNames) {
			t.Errorf("ReadInvite = %+v", in)
		}
	})
}

// FuzzInviteBody changes what a token holds, behind the checksum.
func FuzzInviteBody(f *testing.F) {
	body, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(mint(f, Invite{Names: []string{"kv-1"}}), InvitePrefix+inviteVersion))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body[:len(body)-checksumLen])
	f.Fuzz(func(_ *testing.T, body []byte) {
		for _, version := range []string{inviteVersion, rotatedVersion} {
			_, _ = ReadInvite(summed(InvitePrefix+version, body))
		}
	})
}

func FuzzVerifyChain(f *testing.F) {
	me := newTestCredentials(f, closed)
	for _, c := range []*Credentials{newGuest(f, Invite{Names: []string{"kv-1"}}, "kv-1"), newTestCredentials(f, closed)} {
		chain, err := c.Chain()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(chain)
	}
	f.Fuzz(func(t *testing.T, chain []byte) {
		if p, err := me.VerifyChain(chain); (err == nil) != (p.ID != 0) {
			t.Errorf("VerifyChain = %+v, %v", p, err)
		}
	})
}
