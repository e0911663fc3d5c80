package identity

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// rotate returns a new secret for the network of cfg.
func rotate(t testing.TB, cfg NetworkConfig) string {
	t.Helper()
	secret, err := openTestNetwork(t, cfg).Rotate()
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// accepting returns the credentials of a new node that accepts others besides.
func accepting(t testing.TB, cfg NetworkConfig, also ...string) *Credentials {
	t.Helper()
	n, err := OpenNetwork(cfg, also...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCredentials(newTestKey(t), n, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestARotatedSecretIsOfTheSameNetwork(t *testing.T) {
	for _, cfg := range []NetworkConfig{closed, {Name: "lab", Secret: testSecret}} {
		before := openTestNetwork(t, cfg)
		once := rotate(t, cfg)
		for _, secret := range []string{once, rotate(t, NetworkConfig{Secret: once})} {
			after := openTestNetwork(t, NetworkConfig{Secret: secret})
			if after.ID() != before.ID() || after.Name() != before.Name() || after.Derive("x") != before.Derive("x") || after.ALPN() != before.ALPN() {
				t.Errorf("%v became %v", before, after)
			}
			if after.ca.public == before.ca.public || after.CA() == before.CA() {
				t.Error("the CA is the old one")
			}
			if before.Open() || strings.Contains(secret, cfg.Secret) {
				t.Errorf("the new secret shows the old one: %s", secret)
			}
		}
	}
	if a, b := rotate(t, closed), rotate(t, closed); a == b {
		t.Error("two rotations gave one secret")
	}
}

// The members of two steps of a rotation that follow each other accept each
// other; those of the first and the last do not.
func TestStepsOfARotation(t *testing.T) {
	secret := rotate(t, closed)
	old, young := closed, NetworkConfig{Secret: secret}
	oldCA, youngCA := openTestNetwork(t, old).CA(), openTestNetwork(t, young).CA()
	oldInvite, youngInvite := mintIn(t, old), mintIn(t, young)
	steps := [][]*Credentials{
		{accepting(t, old), accepting(t, NetworkConfig{Invite: oldInvite})},
		{
			accepting(t, old, secret), accepting(t, old, youngCA), accepting(t, old, testSecret, youngInvite, secret),
			accepting(t, NetworkConfig{Invite: oldInvite}, youngCA), accepting(t, NetworkConfig{Invite: oldInvite}, youngInvite),
		},
		{
			accepting(t, young, testSecret), accepting(t, young, oldCA),
			accepting(t, NetworkConfig{Invite: youngInvite}, oldCA), accepting(t, NetworkConfig{Invite: youngInvite}, oldInvite),
		},
		{accepting(t, young), accepting(t, NetworkConfig{Invite: youngInvite})},
	}
	for i, from := range steps {
		for j, to := range steps {
			for x, a := range from {
				for y, b := range to {
					if a == b {
						continue
					}
					p, err := a.VerifyPeer(rawLeaf(t, b))
					want := i == 1 || i == 2 || (i == 0) == (j < 2) // both of two steps that follow each other, then
					if want != (err == nil) || !want && !errors.Is(err, ErrNotMember) {
						t.Errorf("node %d of step %d says of node %d of step %d: %v", x, i+1, y, j+1, err)
					}
					if former := (i < 2) != (j < 2); err == nil && p.OtherCA != former {
						t.Errorf("node %d of step %d, node %d of step %d: OtherCA is %v", x, i+1, y, j+1, p.OtherCA)
					}
				}
			}
		}
	}
}

// mintIn makes an invite to the network of cfg.
func mintIn(t testing.TB, cfg NetworkConfig) string {
	t.Helper()
	token, _, err := openTestNetwork(t, cfg).Mint(Invite{Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestInvitesOfARotatedNetworkNameItsID(t *testing.T) {
	token := mintIn(t, NetworkConfig{Secret: rotate(t, closed)})
	if !strings.HasPrefix(token, "weft-invite-2-") {
		t.Errorf("the token is %.20s", token)
	}
	in, err := ReadInvite(token)
	if err != nil || in.NetworkID != openTestNetwork(t, closed).ID() {
		t.Errorf("%+v, %v", in, err)
	}
	for _, forged := range []string{
		strings.Replace(token, "-2-", "-1-", 1), strings.Replace(mint(t, Invite{}), "-1-", "-2-", 1),
		reseal(t, token, func(p *inviteToken) { p.ID = p.ID[:31] }),
	} {
		if _, err := ReadInvite(forged); err == nil {
			t.Errorf("%.20s was accepted", forged)
		}
	}
}

func TestWhatCannotBeAccepted(t *testing.T) {
	secret := rotate(t, closed)
	lab := NetworkConfig{Name: "lab", Secret: testSecret}
	for name, tt := range map[string]struct {
		cfg  NetworkConfig
		also []string
		want string
	}{
		"another secret":           {closed, []string{testSecret + "."}, "another network"},
		"another rotated network":  {closed, []string{rotate(t, lab)}, `network "lab"`},
		"another CA":               {closed, []string{openTestNetwork(t, lab).CA()}, "another network"},
		"an invite of another":     {closed, []string{mintIn(t, lab)}, "another network"},
		"a name and another":       {NetworkConfig{Name: "lab", Secret: secret}, nil, "leave the network's name out"},
		"a second entry":           {closed, []string{secret, testSecret + "."}, "AlsoAccept[1]"},
		"a damaged secret":         {closed, []string{secret[:len(secret)-1]}, "copy all of it again"},
		"a damaged CA":             {closed, []string{openTestNetwork(t, closed).CA() + "A"}, "copy all of it again"},
		"a damaged invite":         {closed, []string{mint(t, Invite{})[:99]}, "copy all of it again"},
		"a short secret":           {closed, []string{"hunter2"}, "16"},
		"too many":                 {closed, slices.Repeat([]string{secret}, MaxAccepted+1), "at most 4"},
		"anything in an open one":  {NetworkConfig{Open: true}, []string{secret}, "everybody"},
		"a damaged own secret":     {NetworkConfig{Secret: secret + "A"}, nil, "copy all of it again"},
		"an own secret with lines": {NetworkConfig{Secret: secret[:40] + "\n" + secret[40:]}, nil, "copy all of it again"},
	} {
		_, err := OpenNetwork(tt.cfg, tt.also...)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if err != nil && (strings.Contains(err.Error(), secret[40:60]) || strings.Contains(err.Error(), testSecret)) {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
	}
	for _, cfg := range []NetworkConfig{{Open: true}, {Invite: mint(t, Invite{})}} {
		n, err := OpenNetwork(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Rotate(); !errors.Is(err, ErrNoSecret) {
			t.Errorf("%+v: Rotate: %v", cfg, err)
		}
	}
}

func TestRevocationsDuringARotation(t *testing.T) {
	secret := rotate(t, closed)
	young := openTestNetwork(t, NetworkConfig{Secret: secret})
	byNew := func(id InviteID) []byte {
		b, err := young.Revoke(Revocation{Invite: id})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	old := [][]byte{revoke(t, Revocation{Invite: 1}), revoke(t, Revocation{Invite: 2})}
	list := [][]byte{old[0], byNew(3), byNew(4), old[1], byNew(5)}
	for name, c := range map[string]*Credentials{
		"2": accepting(t, closed, secret), "3": accepting(t, NetworkConfig{Secret: secret}, testSecret),
	} {
		set := c.Revocations()
		for _, b := range list {
			if _, isNew, err := set.Add(b); !isNew || err != nil {
				t.Fatalf("step %s: %v, %v", name, isNew, err)
			}
		}
		want := [][][]byte{list[:1], list[1:3], list[3:4], list[4:5]}
		for version := uint64(0); len(want) > 0; want = want[1:] {
			part, upto, _ := set.After(version, 9)
			if !slices.EqualFunc(part, want[0], bytes.Equal) {
				t.Fatalf("step %s: after %d come %x, want %x", name, version, part, want[0])
			}
			version = upto
		}
		all := [][]byte{list[1], list[2], list[4], list[0], list[3]}
		if name == "2" {
			all = [][]byte{list[0], list[3], list[1], list[2], list[4]}
		}
		if !slices.EqualFunc(set.All(), all, bytes.Equal) {
			t.Errorf("step %s: all are %x, want %x", name, set.All(), all)
		}
	}
	last := accepting(t, NetworkConfig{Secret: secret}).Revocations()
	if _, _, err := last.Add(old[0]); !errors.Is(err, ErrBadRevocation) || !strings.Contains(err.Error(), "weft revoke") {
		t.Errorf("step 4, one of the old secret: %v", err)
	}
}

func FuzzReadRotated(f *testing.F) {
	n := openTestNetwork(f, closed)
	secret := rotate(f, closed)
	f.Add(secret)
	f.Add(n.CA())
	f.Add(strings.Replace(secret, "-2-", "-3-", 1))
	f.Add(secret[:60] + "\n" + secret[60:])
	f.Add(rotatedPrefix)
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := readRotated(text); k != nil {
			b, _ := readSummed(rotatedPrefix, text)
			if err != nil || rotatedText(*k, [newSecretBytes]byte(b[64:])) != text {
				t.Errorf("%q reads as %+v, %v", text, k, err)
			}
		}
		if n, err := readCA(text); err == nil && n.CA() != text {
			t.Errorf("%q reads as %q", text, n.CA())
		}
	})
}
