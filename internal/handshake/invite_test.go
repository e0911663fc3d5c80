package handshake

import (
	"testing"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/wire"
)

// newInvited returns credentials by an invite with a name and a role.
func newInvited(t *testing.T) *identity.Credentials {
	t.Helper()
	n, err := identity.OpenNetwork(identity.NetworkConfig{Secret: "the secret of the invite test"})
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := n.Mint(identity.Invite{Expires: time.Now().Add(time.Hour), Names: []string{"kv-1"}, Roles: []string{"backup"}})
	if err != nil {
		t.Fatal(err)
	}
	if n, err = identity.OpenNetwork(identity.NetworkConfig{Invite: token}); err != nil {
		t.Fatal(err)
	}
	key, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.NewCredentials(key, n, []string{"kv-1"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Each flight is one packet on a link of large frames, and at most three of 1200
// bytes where there are only those.
func TestHandshakesOfInvitedNodesHaveThreeFlights(t *testing.T) {
	a, b := newInvited(t), newInvited(t)
	client, server := newPair(t, Config{Credentials: a, Params: []byte("c")}, Config{Credentials: b, Params: []byte("s")})
	var sizes []int
	for from, to := client, server; ; from, to = to, from {
		f, size := take(from)
		if size == 0 {
			break
		}
		sizes = append(sizes, size)
		if size > frame.MaxPacket || size > 3*(wire.MinPacket-100) {
			t.Errorf("a flight of %d bytes", size)
		}
		if err := deliver(to, f); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("flights of %v bytes", sizes)
	if len(sizes) != 3 {
		t.Errorf("%d flights, want 3", len(sizes))
	}
	if p := client.Peer(); p.Invite == 0 || !p.Has("backup") {
		t.Errorf("the server is %+v", p)
	}
	check(t, client, server)
}
