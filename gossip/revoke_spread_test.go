package gossip_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/gossip/gossiptest"
	"github.com/weftnet/weft/internal/identity"
)

// Revocations reach relays that are there by broadcast, and those that come later
// by what the digests say, also when they are more than fit one answer.
func TestRevocationsReachAllRelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub gossiptest.Hub
		a, b := newRelay(t, hub.Transport()), newRelay(t, hub.Transport())
		defer hub.Connect(a.id, b.id)()
		time.Sleep(time.Second)
		const many = 1500
		for id := range identity.InviteID(many) {
			raw, err := network.Revoke(identity.Revocation{Invite: id + 1})
			if err != nil {
				t.Fatal(err)
			}
			if _, isNew, err := a.revoked.Add(raw); !isNew || err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if st := b.Stats(); st.Pulls > 1 || b.revoked.Stats().Known != many {
			t.Errorf("by broadcasts b knows %+v: %+v", b.revoked.Stats(), st)
		}
		late := newRelay(t, hub.Transport())
		defer hub.Connect(b.id, late.id)()
		time.Sleep(2 * time.Minute)
		for name, r := range map[string]*testRelay{"b": b, "late": late} {
			if st := r.revoked.Stats(); st != (identity.RevocationStats{Known: many}) || r.revoked.Sum() != a.revoked.Sum() {
				t.Errorf("%s knows %+v, %+v", name, st, r.Stats())
			}
		}
	})
}
