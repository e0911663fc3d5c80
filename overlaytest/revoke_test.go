package overlaytest

import (
	"errors"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/overlay"
)

const closedSecret = "a secret of the laboratory"

// maxRevoke is how long after a relay was told, at the other end of the backbone,
// those who are revoked may stay.
const maxRevoke = time.Second

// inClosedBackbone runs a test with n relays in a line, in a network with a secret.
func inClosedBackbone(t *testing.T, n int, f func(t *testing.T, l *Lab, relays []*Relay)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := New(t, Config{Link: Impairment{Latency: latency}, Secret: closedSecret})
		f(t, l, l.backbone(n))
	})
}

// revoke has a node hand a revocation to its relays.
func revoke(t *testing.T, by *overlay.Node, r overlay.Revocation) {
	t.Helper()
	text, _, err := overlay.NewRevocation("", closedSecret, r)
	if err != nil {
		t.Fatal(err)
	}
	if err := by.Revoke(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

// Three nodes of a revoked invite, at three relays, lose relays and peers at once,
// and what was told at one relay survives the restart of all others and of nodes.
func TestARevokedInviteEndsAtAllRelays(t *testing.T) {
	state := t.TempDir()
	inClosedBackbone(t, 3, func(t *testing.T, l *Lab, relays []*Relay) {
		hosts := []string{"guest-0", "guest-1", "guest-2"}
		token, in, err := overlay.NewInvite("", closedSecret, overlay.Invite{Expires: time.Now().Add(100 * 24 * time.Hour), Names: hosts})
		if err != nil {
			t.Fatal(err)
		}
		server := l.Node("server", overlay.Config{Relays: at(relays[2]).Relays, StateDir: state})
		admin := l.Node("admin", at(relays[0]))
		echo(t, server, 7)
		time.Sleep(time.Second)
		var guests []*overlay.Node
		for i, host := range hosts {
			cfg := at(relays[i])
			cfg.Invite = token
			guests = append(guests, l.Node(host, cfg))
			roundTrip(t, dial(t, guests[i], server.ID().String()+":7"))
		}
		kept := dial(t, admin, "server:7")
		time.Sleep(30 * time.Second) // spares, too
		revoke(t, admin, overlay.Revocation{Invite: in.ID})
		time.Sleep(maxRevoke)
		cutOff := func() { // as the members see it: a guest learns at the end of a handshake that it was refused
			t.Helper()
			members := []*overlay.Node{server, admin}
			for _, r := range relays {
				members = append(members, r.Node())
			}
			for i, n := range members {
				for _, p := range n.Status().Peers {
					if slices.ContainsFunc(guests, func(g *overlay.Node) bool { return g.ID() == p.ID }) {
						t.Errorf("member %d has a session with a guest: %+v", i, p)
					}
				}
			}
			for i, n := range guests {
				if relayIsUp(n) {
					t.Errorf("guest %d has a relay", i)
				}
			}
		}
		cutOff()
		roundTrip(t, kept)
		for _, r := range relays[1:] { // the first goes on, the others remember nothing
			l.Restart(r.name)
		}
		server = l.Restart("server")
		l.WaitReady("server")
		time.Sleep(time.Minute)
		cutOff()
		echo(t, server, 7)
		roundTrip(t, dial(t, admin, "server:7"))
		if _, err := os.Stat(state + "/revocations"); err != nil {
			t.Error(err)
		}
	})
}

// The relay that a revoked node is at hears of it from another one.
func TestANodeAtAnotherRelayIsCutOff(t *testing.T) {
	inClosedBackbone(t, 2, func(t *testing.T, l *Lab, relays []*Relay) {
		thief, admin := l.Node("thief", at(relays[1])), l.Node("admin", at(relays[0]))
		echo(t, thief, 7)
		time.Sleep(time.Second)
		c := dial(t, admin, "thief:7")
		roundTrip(t, c)
		revoke(t, admin, overlay.Revocation{Node: thief.Key()})
		time.Sleep(maxRevoke)
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the conn lives")
		}
		time.Sleep(time.Minute)
		if relayIsUp(thief) {
			t.Error("a relay serves who is revoked")
		}
		ctx := t.Context()
		for _, addr := range []string{"thief:7", thief.ID().String() + ":7"} {
			if _, err := admin.Dial(ctx, addr); err == nil || errors.Is(err, ctx.Err()) {
				t.Errorf("dial of %s: %v", addr, err)
			}
		}
	})
}

// A relay that is revoked is left by its nodes, which go to another one.
func TestNodesLeaveARevokedRelay(t *testing.T) {
	inClosedBackbone(t, 3, func(t *testing.T, l *Lab, relays []*Relay) {
		a, b := l.Node("a", at(relays[2], relays[1])), l.Node("b", at(relays[0]))
		echo(t, a, 7)
		time.Sleep(10 * time.Second)
		bad, _ := homeOf(t, a)
		var key overlay.PublicKey
		for _, r := range relays {
			if r.Node().ID() == bad.ID {
				key = r.Node().Key()
			}
		}
		revoke(t, b, overlay.Revocation{Node: key})
		time.Sleep(10 * time.Second)
		if home, _ := homeOf(t, a); home.ID == bad.ID || !home.Up {
			t.Errorf("the node is at %+v", home)
		}
		roundTrip(t, dial(t, b, "a:7"))
	})
}
