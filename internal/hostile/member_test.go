package hostile

import (
	"context"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/wire"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// invite makes an invite of the world's network.
func (w *world) invite(in overlay.Invite) (string, overlay.Invite) {
	w.Helper()
	token, made, err := overlay.NewInvite("", secret, in)
	if err != nil {
		w.Fatal(err)
	}
	return token, made
}

// Nodes whose invite has expired, or was revoked, had links, sessions and conns, over
// the relay and direct ones, and one of them has code that does not care. A second
// later they have none, and get none.
func TestMembershipsThatEndGoOn(t *testing.T) {
	const within = time.Second
	for name, revoked := range map[string]bool{"expired": false, "revoked": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				r := w.relay("relay", &relay.Server{})
				w.place("victim", "friend", "former")
				victim := w.node("victim", overlay.Config{}, r)
				b := w.bystanders(r).nearby(w, r).befriend(w, victim, r)
				ends := time.Now().Add(time.Minute)
				in := overlay.Invite{Expires: ends}
				if revoked {
					in.Expires = ends.Add(time.Hour)
				}
				token, invite := w.invite(in)
				former := w.node("former", overlay.Config{Invite: token}, r)
				relayed := w.node("relayed", overlay.Config{Invite: token}, r)
				pairs := []*pair{w.newPair(former, victim, share/4), w.newPair(relayed, victim, share/4)}
				m := w.rogueWith("mallory", r, overlay.Config{Invite: token})
				talk := m.dial(victim.ID(), wire.Params{})
				all := []identity.NodeID{former.ID(), relayed.ID(), m.creds.Key().ID()}
				known := func() (n int) {
					for _, id := range all {
						if talksTo(victim, id) {
							n++
						}
						if talksTo(r, id) {
							n++
						}
						if r.RelayHost().Switch.Port(id) != nil {
							n++
						}
					}
					return n
				}
				time.Sleep(time.Until(ends.Add(-10 * time.Second)))
				talk.say([]byte{wire.TypePing})
				if n := known(); n != 3*len(all) {
					w.Fatalf("before the end there are %d links and sessions", n)
				}
				b.withstand(assault{
					play: func(ctx context.Context) {
						time.Sleep(time.Until(ends))
						if revoked {
							text, _, err := overlay.NewRevocation("", secret, overlay.Revocation{Invite: invite.ID})
							if err == nil {
								err = b[0].from.Revoke(ctx, text)
							}
							if err != nil {
								w.Error(err)
							}
						}
						for range 10 { // it goes on
							talk.say([]byte{wire.TypePing})
							time.Sleep(within / 10)
						}
						if n := known(); n != 0 {
							w.Errorf("%d links and sessions are left after %v", n, within)
						}
						for _, p := range pairs {
							if _, err := p.talk.Read(make([]byte, 1)); err == nil {
								w.Errorf("%s: a conn lives", p.name)
							}
						}
						if talk.alive() && m.link.Up() {
							w.Error("the rogue has its link and session")
						}
						ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
						defer cancel()
						if c, err := relayed.Dial(ctx, victim.Key().String()+":7"); err == nil {
							w.Errorf("a dial: %v", c.RemoteAddr())
						}
						time.Sleep(5 * time.Second)
						if n := known(); n != 0 {
							w.Errorf("%d links and sessions came back", n)
						}
					},
					may: []cost{{"the nodes' own attempts", 3, perNode + perLink + perSimulatedConn}},
				})
			})
		})
	}
}
