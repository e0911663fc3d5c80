package identity

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newTestCredentials(t testing.TB, cfg NetworkConfig, names ...string) *Credentials {
	t.Helper()
	c, err := NewCredentials(newTestKey(t), openTestNetwork(t, cfg), names)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rawLeaf returns the DER of the current leaf, as a peer shows it.
func rawLeaf(t testing.TB, c *Credentials) [][]byte {
	t.Helper()
	cert, err := c.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	return cert.Certificate
}

func TestCredentialsCarryNamesInLowerCase(t *testing.T) {
	c := newTestCredentials(t, NetworkConfig{Open: true}, "KV-1", "kv.example")
	want := []string{"kv-1", "kv.example"}
	if !slices.Equal(c.Names(), want) {
		t.Errorf("Names() = %q, want %q", c.Names(), want)
	}
	c.Names()[0] = "changed"
	if !slices.Equal(c.Names(), want) {
		t.Error("Names() returned its own slice")
	}
}

func TestCredentialsRefuseBadNames(t *testing.T) {
	n := openTestNetwork(t, NetworkConfig{Open: true})
	for _, names := range [][]string{
		{""},
		{"ok", "not ok"},
		strings.Split(strings.Repeat("a,", MaxNames)+"a", ","),
	} {
		if _, err := NewCredentials(newTestKey(t), n, names); err == nil {
			t.Errorf("names %q were accepted", names)
		}
	}
}

func TestALeafWithTheMostAndLongestNamesIsAcceptedByPeers(t *testing.T) {
	names := make([]string, MaxNames)
	for i := range names {
		names[i] = strings.Repeat("x", 62) + string(rune('a'+i)) + strings.Repeat(".abcdefg", 15)
	}
	c := newTestCredentials(t, NetworkConfig{Open: true}, names...)
	if _, err := newTestCredentials(t, NetworkConfig{Open: true}).VerifyPeer(rawLeaf(t, c)); err != nil {
		t.Error(err)
	}
}

func TestLeafIsReissuedWhenAThirdOfItsLifeIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCredentials(t, NetworkConfig{Secret: testSecret})
		first := rawLeaf(t, c)[0]
		time.Sleep(leafLife - clockSkew - renewAt)
		if again := rawLeaf(t, c)[0]; !slices.Equal(again, first) {
			t.Error("reissued too early")
		}
		time.Sleep(time.Second)
		second := rawLeaf(t, c)[0]
		if slices.Equal(second, first) {
			t.Error("not reissued")
		}
		if _, err := newTestCredentials(t, NetworkConfig{Secret: testSecret}).VerifyPeer([][]byte{second}); err != nil {
			t.Errorf("the new leaf does not verify: %v", err)
		}
	})
}

func TestLeafIsReissuedWhenTheClockWasSetBack(t *testing.T) {
	c := newTestCredentials(t, NetworkConfig{Open: true})
	cert, err := c.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	if now := time.Now(); !c.fresh(cert.Leaf, now) || c.fresh(cert.Leaf, now.Add(-2*clockSkew)) || c.fresh(cert.Leaf, now.Add(leafLife)) {
		t.Error("a leaf is fresh outside of its life")
	}
}
