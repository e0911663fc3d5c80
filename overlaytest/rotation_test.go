package overlaytest

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// A rotation replaces the secret of a lab's network, one process at a time.
type rotation struct {
	t      *testing.T
	l      *Lab
	relays []*Relay
	nodes  []string // hosts; the first two talk all the time
	talk   *talk
}

// restartWith restarts what runs on a host with another config.
func (l *Lab) restartWith(host string, change func(*overlay.Config)) *overlay.Node {
	h := l.host(host)
	h.life.Lock()
	change(&h.cfg)
	h.life.Unlock()
	return l.Restart(host)
}

func (r *rotation) node(host string) *overlay.Node { return r.l.host(host).process().node }

// step takes all processes to the next step, in turns from one step to the next
// relays or nodes first. After each restart everybody can dial everybody.
func (r *rotation) step(relaysFirst bool, secret string, also ...string) {
	r.t.Helper()
	var hosts []string
	for _, relay := range r.relays {
		hosts = append(hosts, relay.name)
	}
	if relaysFirst {
		hosts = append(hosts, r.nodes...)
	} else {
		hosts = append(append([]string(nil), r.nodes...), hosts...)
	}
	for _, host := range hosts {
		talks := host == r.nodes[0] || host == r.nodes[1]
		if talks {
			r.talk.wantSilence(maxSilence)
			r.talk.survived()
		}
		r.l.restartWith(host, func(cfg *overlay.Config) { cfg.Secret, cfg.AlsoAccept = secret, also })
		if !strings.HasPrefix(host, "relay") {
			r.l.WaitReady(host)
			echo(r.t, r.node(host), 7)
		}
		time.Sleep(5 * time.Second)
		if talks {
			r.talk = talkBetween(r.t, r.node(r.nodes[0]), r.node(r.nodes[1]))
		}
		r.allDial("after the restart of " + host)
	}
}

// allDial dials each node from each, by name and by ID in turns.
func (r *rotation) allDial(when string) {
	r.t.Helper()
	for i, from := range r.nodes {
		for j, to := range r.nodes {
			if i == j {
				continue
			}
			addr := to + ":7"
			if (i+j)%2 == 0 {
				addr = r.node(to).ID().String() + ":7"
			}
			if err := helloTo(r.t.Context(), r.node(from), addr); err != nil {
				r.t.Errorf("%s: from %s to %s: %v", when, from, addr, err)
			}
		}
	}
}

// helloTo dials an echo and uses it once.
func helloTo(ctx context.Context, n *overlay.Node, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := n.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 5))
	return err
}

// Three relays and six nodes go from one secret to another, one process after the
// other, and nobody is cut off at any time.
func TestASecretIsReplacedWithoutAGap(t *testing.T) {
	fresh, err := overlay.RotateSecret("", closedSecret)
	if err != nil {
		t.Fatal(err)
	}
	inClosedBackbone(t, 3, func(t *testing.T, l *Lab, relays []*Relay) {
		r := &rotation{t: t, l: l, relays: relays}
		for i := range 6 {
			host := fmt.Sprintf("node-%d", i)
			r.nodes = append(r.nodes, host)
			echo(t, l.Node(host, at(relays[i%3], relays[(i+1)%3])), 7)
		}
		oldInvite, newInvite := inviteBy(t, closedSecret), inviteBy(t, fresh)
		time.Sleep(5 * time.Second)
		r.talk = talkBetween(t, r.node(r.nodes[0]), r.node(r.nodes[1]))
		r.allDial("at first")

		r.step(true, closedSecret, fresh)
		revokeWith(t, r.node(r.nodes[4]), closedSecret, overlay.Revocation{Invite: 1})
		r.step(false, fresh, closedSecret)
		revokeWith(t, r.node(r.nodes[5]), fresh, overlay.Revocation{Invite: 2})
		for _, relay := range relays {
			if st := relay.Server().Stats(); st.NodesOtherCA != 0 || st.Revocations.Known != 2 {
				t.Errorf("before the old secret is dropped, %s has %d nodes with it, and knows %+v", relay.name, st.NodesOtherCA, st.Revocations)
			}
		}
		guest := guestOf("guest", relays[0], oldInvite, newInvite)
		echo(t, l.Node("guest", guest), 7)
		if err := helloTo(t.Context(), r.node(r.nodes[3]), "guest:7"); err != nil {
			t.Errorf("a guest with an old invite, before the old secret is dropped: %v", err)
		}
		r.step(true, fresh)
		r.talk.wantSilence(maxSilence)
		r.talk.survived()
		time.Sleep(time.Minute)
		for _, relay := range relays {
			if st := relay.Server().Stats(); st.Revocations.Known != 1 || st.Backbone.Liars != 0 {
				t.Errorf("at last %s knows %+v, and of liars %+v", relay.name, st.Revocations, st.Backbone)
			}
		}
		r.strangers(oldInvite, newInvite)
	})
}

// strangers checks who is no member any more at the end, and who is.
func (r *rotation) strangers(oldInvite, newInvite string) {
	l, t := r.l, r.t
	t.Helper()
	l.Kill("guest")
	stray := at(r.relays[1])
	stray.Secret = closedSecret
	for host, cfg := range map[string]overlay.Config{
		"stray": stray,
		"late":  guestOf("late", r.relays[1], oldInvite),
		"lazy":  guestOf("guest", r.relays[1], oldInvite, newInvite), // in step 2, so that it is refused, and does not refuse
	} {
		n := l.Start(host, cfg)
		time.Sleep(30 * time.Second)
		if st := n.Status().Relays[0]; st.Up || st.Err == nil || !strings.Contains(st.Err.Error(), "the present ones, if the secret was rotated") {
			t.Errorf("%s, a member by the old secret: %+v", host, st)
		}
	}
	l.Node("welcome", guestOf("welcome", r.relays[1], newInvite))
	if err := helloTo(t.Context(), r.node("welcome"), r.nodes[2]+":7"); err != nil {
		t.Errorf("a guest with a new invite: %v", err)
	}
}

func guestOf(name string, relay *Relay, token string, also ...string) overlay.Config {
	cfg := at(relay)
	cfg.Invite, cfg.Name, cfg.AlsoAccept = token, name, also
	return cfg
}

// inviteBy makes an invite with a secret.
func inviteBy(t *testing.T, secret string) string {
	t.Helper()
	token, _, err := overlay.NewInvite("", secret, overlay.Invite{Expires: time.Now().Add(24 * time.Hour), Names: []string{"guest", "late", "welcome"}})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// revokeWith has a node hand on a revocation that a secret has signed.
func revokeWith(t *testing.T, by *overlay.Node, secret string, r overlay.Revocation) {
	t.Helper()
	text, _, err := overlay.NewRevocation("", secret, r)
	if err == nil {
		err = by.Revoke(t.Context(), text)
	}
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(maxRevoke)
}
