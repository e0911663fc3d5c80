package identity

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// revoke signs a revocation in the closed test network.
func revoke(t testing.TB, r Revocation) []byte {
	t.Helper()
	b, err := openTestNetwork(t, closed).Revoke(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// add adds a revocation that is good.
func add(t testing.TB, c *Credentials, r Revocation) {
	t.Helper()
	if _, isNew, err := c.Revocations().Add(revoke(t, r)); err != nil || !isNew {
		t.Fatalf("added: %v, %v", isNew, err)
	}
}

func TestRevokedKeysAndInvitesAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		me, guest := newTestCredentials(t, closed), newGuest(t, Invite{})
		second, err := NewCredentials(newTestKey(t), guest.Network(), nil)
		if err != nil {
			t.Fatal(err)
		}
		member, bystander, other := newTestCredentials(t, closed), newTestCredentials(t, closed), newGuest(t, Invite{})
		refused := func(want bool, list ...*Credentials) {
			t.Helper()
			for i, c := range list {
				if _, err := me.VerifyPeer(rawLeaf(t, c)); errors.Is(err, ErrRevoked) != want || !want && err != nil {
					t.Errorf("peer %d: %v, want revoked: %v", i, err, want)
				}
			}
		}
		refused(false, guest, second, member, bystander, other)
		add(t, me, Revocation{Invite: guest.Network().Invite().ID})
		add(t, me, Revocation{Node: member.Key().Public(), Until: time.Now().Add(2 * time.Hour)})
		refused(true, guest, second, member)
		refused(false, bystander, other)
		time.Sleep(2*time.Hour + time.Second)
		refused(true, guest, second)
		refused(false, member)
	})
}

func TestWhatCannotBeRevoked(t *testing.T) {
	n := openTestNetwork(t, closed)
	key := newTestKey(t).Public()
	for name, r := range map[string]Revocation{
		"nothing": {}, "two things": {Node: key, Invite: 1}, "in the past": {Node: key, Until: time.Now().Add(-time.Minute)},
	} {
		if b, err := n.Revoke(r); err == nil {
			t.Errorf("%s: %x", name, b)
		}
	}
	for _, c := range []*Credentials{newGuest(t, Invite{}), newTestCredentials(t, open)} {
		if _, err := c.Network().Revoke(Revocation{Node: key}); !errors.Is(err, ErrNoSecret) {
			t.Errorf("without the secret: %v", err)
		}
	}
	if _, _, err := newTestCredentials(t, open).Revocations().Add(revoke(t, Revocation{Node: key})); !errors.Is(err, ErrBadRevocation) {
		t.Errorf("in an open network: %v", err)
	}
}

func TestForgedRevocationsAreRefused(t *testing.T) {
	me, victim, invited := newTestCredentials(t, closed), newTestCredentials(t, closed), newGuest(t, Invite{})
	r := Revocation{Node: victim.Key().Public()}
	good := revoke(t, r)
	other, err := OpenNetwork(NetworkConfig{Name: "lab", Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Revoke(r)
	if err != nil {
		t.Fatal(err)
	}
	body := good[:len(good)-SignatureSize]
	by := func(key ed25519.PrivateKey, message []byte) []byte {
		return append(bytes.Clone(body), ed25519.Sign(key, message)...)
	}
	changed := func(i int) []byte {
		b := bytes.Clone(good)
		b[i] ^= 1
		return b
	}
	ca := openTestNetwork(t, closed).ca.key
	attacks := map[string][]byte{
		"nothing":                     nil,
		"an unknown kind":             append([]byte{9}, good[1:]...),
		"cut short":                   good[:len(good)-1],
		"a byte behind":               append(bytes.Clone(good), 0),
		"of another network":          foreign,
		"signed by a node":            by(victim.key.private, me.network.statement(body)),
		"signed by an invite":         by(invited.network.grant.key, me.network.statement(body)),
		"under another label":         by(ca, signed("record 1", append(me.network.id[:], body...))),
		"without the network":         by(ca, signed(labelRevocation, body)),
		"of another node":             changed(1),
		"for another time":            changed(len(body) - 1),
		"for longer than can be":      changed(len(body) - 8),
		"of an invite that is a node": append([]byte{revokeInvite}, good[1:]...),
	}
	set := me.Revocations()
	for name, b := range attacks {
		if _, isNew, err := set.Add(b); !errors.Is(err, ErrBadRevocation) || isNew {
			t.Errorf("%s: %v, %v", name, isNew, err)
		}
	}
	if st := set.Stats(); st.Known != 0 || st.Forged != uint64(len(attacks)) || set.Sum() != 0 {
		t.Errorf("%+v", st)
	}
	if _, err := me.VerifyPeer(rawLeaf(t, victim)); err != nil {
		t.Error(err)
	}
}

// Who replays an old revocation neither shortens a newer one nor brings one back
// that has ended.
func TestOldRevocationsDoNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		me := newTestCredentials(t, closed)
		set, key := me.Revocations(), newTestKey(t).Public()
		short, long := revoke(t, Revocation{Node: key, Until: time.Now().Add(time.Hour)}), revoke(t, Revocation{Node: key})
		for i, tt := range []struct {
			b     []byte
			isNew bool
		}{{short, true}, {short, false}, {long, true}, {short, false}, {long, false}} {
			if _, isNew, err := set.Add(tt.b); isNew != tt.isNew || err != nil {
				t.Errorf("%d: %v, %v", i, isNew, err)
			}
		}
		if list, _, _ := set.After(0, 9); len(list) != 1 || !bytes.Equal(list[0], long) {
			t.Errorf("kept %x", list)
		}
		time.Sleep(2 * time.Hour)
		other := newTestCredentials(t, closed).Revocations()
		if _, isNew, err := other.Add(short); isNew || err != nil || other.Sum() != 0 {
			t.Errorf("ended: %v, %v", isNew, err)
		}
	})
}

func TestRevocationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := openTestNetwork(t, closed)
		me := newTestCredentials(t, closed)
		set, ends := me.Revocations(), time.Now().Add(time.Hour)
		for id := range InviteID(MaxRevocations) {
			b, err := n.Revoke(Revocation{Invite: id + 1, Until: ends})
			if err != nil {
				t.Fatal(err)
			}
			if _, isNew, err := set.Add(b); !isNew || err != nil {
				t.Fatal(id, err)
			}
		}
		last := revoke(t, Revocation{Invite: MaxRevocations + 1})
		if _, _, err := set.Add(last); !errors.Is(err, ErrRevocationsFull) || set.Stats().Full != 1 {
			t.Errorf("%v, %+v", err, set.Stats())
		}
		time.Sleep(2 * time.Hour)
		if _, isNew, err := set.Add(last); !isNew || err != nil || set.Stats().Known != 1 {
			t.Errorf("%v, %v, %+v", isNew, err, set.Stats())
		}
	})
}

func TestRevocationsAreReadInParts(t *testing.T) {
	me := newTestCredentials(t, closed)
	set := me.Revocations()
	var want, got [][]byte
	_, _, more := set.After(0, 9)
	for id := range InviteID(10) {
		b := revoke(t, Revocation{Invite: id + 1})
		want = append(want, b)
		if _, _, err := set.Add(b); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-more:
	default:
		t.Error("nobody is told")
	}
	for version := uint64(0); ; {
		list, upto, _ := set.After(version, 3)
		if len(list) == 0 {
			break
		}
		got, version = append(got, list...), upto
	}
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("read %d, want %d", len(got), len(want))
	}
	other := newTestCredentials(t, closed).Revocations()
	for _, b := range slices.Backward(want) {
		_, _, _ = other.Add(b)
	}
	if set.Sum() != other.Sum() || set.Sum() == 0 {
		t.Errorf("sums %x and %x", set.Sum(), other.Sum())
	}
}

func TestRevocationsAsText(t *testing.T) {
	b := revoke(t, Revocation{Invite: 7})
	text := FormatRevocation(b)
	if got, err := ParseRevocation(" " + text + "\n"); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%x, %v", got, err)
	}
	for _, bad := range []string{"", "weft-invite-1-x", text[:len(text)-2], text + "AAAA", revocationPrefix, revocationPrefix + "AAAAAAAA", FormatRevocation(append(b, 0))} {
		if got, err := ParseRevocation(bad); !errors.Is(err, ErrBadRevocation) {
			t.Errorf("%q: %x, %v", bad, got, err)
		}
	}
}

func FuzzReadRevocation(f *testing.F) {
	f.Add(revoke(f, Revocation{Node: newTestKey(f).Public()}))
	f.Add(revoke(f, Revocation{Invite: 9}))
	set := newTestCredentials(f, closed).Revocations()
	f.Fuzz(func(t *testing.T, b []byte) {
		r, size, err := ReadRevocation(b)
		if err != nil {
			return
		}
		if size > len(b) || size > MaxRevocation || !bytes.Equal(r.appendBody(nil), b[:size-SignatureSize]) {
			t.Errorf("%v from %x", r, b)
		}
		if got, err := ParseRevocation(FormatRevocation(b[:size])); err != nil || !bytes.Equal(got, b[:size]) {
			t.Errorf("%x, %v", got, err)
		}
		_, _, _ = set.Add(b)
	})
}
