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

// formers are nodes with one invite: one with a direct path to the victim, one
// without, and one with code that does not care.
type formers struct {
	w         *world
	victim, r *host
	relayed   *host
	pairs     []*pair // with the victim
	mallory   *rogue
	talk      *talk
	ids       []identity.NodeID
}

// formers starts them.
func (w *world) formers(victim, r *host, token string) *formers {
	w.Helper()
	cfg := overlay.Config{Invite: token}
	former, relayed := w.node("former", cfg, r), w.node("relayed", cfg, r)
	f := &formers{
		w: w, victim: victim, r: r, relayed: relayed,
		pairs:   []*pair{w.newPair(former, victim, share/4), w.newPair(relayed, victim, share/4)},
		mallory: w.rogueWith("mallory", r, cfg),
	}
	f.talk = f.mallory.dial(victim.ID(), wire.Params{})
	f.ids = []identity.NodeID{former.ID(), relayed.ID(), f.mallory.creds.Key().ID()}
	return f
}

// known returns how many links and sessions they have with the victim and the relay.
func (f *formers) known() (n int) {
	for _, id := range f.ids {
		for _, there := range []bool{talksTo(f.victim, id), talksTo(f.r, id), f.r.RelayHost().Switch.Port(id) != nil} {
			if there {
				n++
			}
		}
	}
	return n
}

// insist goes on as if nothing had ended, and checks that all has within a while.
func (f *formers) insist(within time.Duration) {
	for range 10 {
		f.talk.say([]byte{wire.TypePing})
		time.Sleep(within / 10)
	}
	if n := f.known(); n != 0 {
		f.w.Errorf("%d links and sessions are left after %v", n, within)
	}
	for _, p := range f.pairs {
		if _, err := p.talk.Read(make([]byte, 1)); err == nil {
			f.w.Errorf("%s: a conn lives", p.name)
		}
	}
	if f.talk.alive() && f.mallory.link.Up() {
		f.w.Error("the rogue has its link and session")
	}
	ctx, cancel := context.WithTimeout(f.w.Context(), 5*time.Second)
	defer cancel()
	if c, err := f.relayed.Dial(ctx, f.victim.Key().String()+":7"); err == nil {
		f.w.Errorf("a dial: %v", c.RemoteAddr())
	}
	time.Sleep(5 * time.Second)
	if n := f.known(); n != 0 {
		f.w.Errorf("%d links and sessions came back", n)
	}
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
				token, in := w.invite(in)
				f := w.formers(victim, r, token)
				time.Sleep(time.Until(ends.Add(-10 * time.Second)))
				f.talk.say([]byte{wire.TypePing})
				if n := f.known(); n != 3*len(f.ids) {
					w.Fatalf("before the end there are %d links and sessions", n)
				}
				b.withstand(assault{
					play: func(ctx context.Context) {
						time.Sleep(time.Until(ends))
						if revoked {
							w.revoke(ctx, b[0].from, overlay.Revocation{Invite: in.ID})
						}
						f.insist(within)
					},
					may: []cost{{"the nodes' own attempts", 3, perNode + perLink + perSimulatedConn}},
				})
			})
		})
	}
}

// revoke has a node tell its relays of a revocation.
func (w *world) revoke(ctx context.Context, by *host, r overlay.Revocation) {
	w.Helper()
	text, _, err := overlay.NewRevocation("", secret, r)
	if err == nil {
		err = by.Revoke(ctx, text)
	}
	if err != nil {
		w.Error(err)
	}
}
