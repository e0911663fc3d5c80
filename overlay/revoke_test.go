package overlay

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
)

// maxRevoke is how long those who are revoked may stay once a relay knows it.
const maxRevoke = time.Second

// revoke makes a revocation in the lab's network.
func (l *lab) revoke(r Revocation) string {
	l.t.Helper()
	text, made, err := NewRevocation("", labSecret, r)
	if err != nil || made.Node != r.Node || made.Invite != r.Invite {
		l.t.Fatalf("%v, %v", made, err)
	}
	return text
}

// wantGone checks that a node has neither sessions nor a link.
func (l *lab) wantGone(revoked *Node, peers ...*Node) {
	l.t.Helper()
	for i, p := range append(peers, l.host) {
		if p.ep.Session(revoked.ID()) != nil {
			l.t.Errorf("node %d has a session with who is revoked", i)
		}
	}
	if l.host.sw.Port(revoked.ID()) != nil {
		l.t.Error("the relay has a link to who is revoked")
	}
}

func TestAllNodesOfARevokedInviteAreCutOff(t *testing.T) {
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		bad, good := l.invite(Invite{}), l.invite(Invite{})
		in, err := ReadInvite(bad)
		if err != nil {
			t.Fatal(err)
		}
		server, admin := l.ready("server", Config{}), l.ready("admin", Config{})
		l.echo(server)
		told := make(chan Event, 64)
		guests := []*Node{
			l.ready("guest-1", Config{Invite: bad, OnEvent: func(e Event) {
				if e.Kind == EventRevoked {
					told <- e
				}
			}}),
			l.ready("guest-2", Config{Invite: bad}), l.ready("guest-3", Config{Invite: bad}),
		}
		bystander := l.ready("bystander", Config{Invite: good})
		var conns []net.Conn
		for _, n := range append(guests, bystander) {
			c, err := n.Dial(t.Context(), server.ID().String()+":7")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			roundTrip(t, c)
			conns = append(conns, c)
		}
		if err := admin.Revoke(t.Context(), l.revoke(Revocation{Invite: in.ID})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(maxRevoke)
		for i, n := range guests {
			l.wantGone(n, server)
			if _, err := conns[i].Read(make([]byte, 1)); err == nil {
				t.Error("a conn lives")
			}
		}
		roundTrip(t, conns[len(guests)])
		for _, n := range guests {
			if dialErr(t, bystander, n.ID().String()+":7") == nil || dialErr(t, n, server.ID().String()+":7") == nil {
				t.Error("who is revoked is reachable")
			}
		}
		if err := guests[0].Status().Relays[0].Err; err == nil || !strings.Contains(err.Error(), "revoked") {
			t.Errorf("the relay's state is %v", err)
		}
		if len(told) > 1 { // it may be cut off before it hears of it
			t.Errorf("%d events", len(told))
		}
		late := l.node("late", Config{Invite: bad})
		if err := late.WaitReady(withTimeout(t, time.Minute)); err == nil {
			t.Error("another node has come with the invite")
		}
		l.wantGone(late)
		for _, n := range []*Node{server, bystander, l.host} {
			if st := n.credentials.Revocations().Stats(); st != (identity.RevocationStats{Known: 1}) {
				t.Errorf("%+v", st)
			}
		}
	})
}

func TestARevokedKeyIsCutOffUntilItIsNot(t *testing.T) {
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		server, admin, thief := l.ready("server", Config{}), l.ready("admin", Config{}), l.ready("thief", Config{})
		l.echo(server)
		if err := dialErr(t, thief, server.ID().String()+":7"); err != nil {
			t.Fatal(err)
		}
		r := Revocation{Node: thief.Key(), Until: time.Now().Add(time.Hour)}
		if err := admin.Revoke(t.Context(), l.revoke(r)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(maxRevoke)
		l.wantGone(thief, server)
		if err := dialErr(t, thief, server.ID().String()+":7"); err == nil {
			t.Error("who is revoked can dial")
		}
		if err := dialErr(t, admin, server.ID().String()+":7"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if err := thief.WaitReady(withTimeout(t, time.Minute)); err != nil {
			t.Error(err)
		}
		if err := dialErr(t, thief, server.ID().String()+":7"); err != nil {
			t.Error(err)
		}
	})
}

func TestRevocationsSurviveRestarts(t *testing.T) {
	state, relayState := t.TempDir(), t.TempDir()
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		_ = l.server.Close()
		_ = l.host.Close()
		l.net.Kill("relay")
		l.state = relayState
		l.startRelay()
		server, admin, thief := l.ready("server", Config{StateDir: state}), l.ready("admin", Config{}), l.ready("thief", Config{})
		text := l.revoke(Revocation{Node: thief.Key()})
		if err := admin.Revoke(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		time.Sleep(maxRevoke)
		if err := admin.Close(); err != nil {
			t.Fatal(err)
		}
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{state, relayState} {
			if b, err := os.ReadFile(filepath.Join(dir, revocationsFile)); string(b) != text+"\n" {
				t.Errorf("the file holds %q, %v", b, err)
			}
		}
		alone := l.node("server", Config{StateDir: state, Relays: []string{}}) // nobody tells it
		if st := alone.credentials.Revocations().Stats(); st.Known != 1 {
			t.Errorf("the node knows %+v", st)
		}
		l.killRelay()
		l.startRelay()
		if err := thief.WaitReady(withTimeout(t, time.Minute)); err == nil {
			t.Error("the relay has forgotten who is revoked")
		}
		late := l.ready("late", Config{})
		synctest.Wait()
		if st := late.credentials.Revocations().Stats(); st.Known != 1 {
			t.Errorf("a newcomer knows %+v", st)
		}
	})
}

func TestADamagedFileOfRevocationsLosesOnlyWhatIsDamaged(t *testing.T) {
	dir := t.TempDir()
	foreign, _, err := NewRevocation("other", labSecret, Revocation{Invite: 1})
	if err != nil {
		t.Fatal(err)
	}
	good, _, err := NewRevocation("", labSecret, Revocation{Invite: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, revocationsFile), []byte("x\n"+foreign+"\n"+good[:40]+"\n"+good+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		n := l.node("n", Config{StateDir: dir, Relays: []string{}})
		if st := n.credentials.Revocations().Stats(); st.Known != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// Forged revocations are refused at the first, wherever they come in, and
// nobody else hears of them.
func TestForgedRevocationsGoNowhere(t *testing.T) {
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		victim := l.ready("victim", Config{})
		attacker := l.ready("attacker", Config{Invite: l.invite(Invite{})})
		foreign, _, err := NewRevocation("other", labSecret, Revocation{Node: victim.Key()})
		if err != nil {
			t.Fatal(err)
		}
		if err := attacker.Revoke(t.Context(), foreign); !errors.Is(err, identity.ErrBadRevocation) {
			t.Errorf("another network's: %v", err)
		}
		b, err := identity.ParseRevocation(foreign)
		if err != nil {
			t.Fatal(err)
		}
		var flood [][]byte
		for range control.MaxRevocations {
			flood = append(flood, b)
		}
		const messages = 20
		for range messages {
			err := attacker.uplinks.Revoke(t.Context(), flood)
			if failed, ok := errors.AsType[*control.Failed](err); !ok || failed.Code != control.FailureNotAllowed {
				t.Fatalf("the relay says %v", err)
			}
		}
		victim.learnRevocations(flood) // from a relay
		if st := l.host.credentials.Revocations().Stats(); st != (identity.RevocationStats{Forged: messages}) {
			t.Errorf("the relay has %+v", st)
		}
		if st := victim.credentials.Revocations().Stats(); st != (identity.RevocationStats{Forged: 1}) {
			t.Errorf("the node has %+v", st)
		}
		if !victim.uplinks.Up() {
			t.Error("the victim is cut off")
		}
	})
}

// A node that comes when there are as many revocations as can be is told all.
func TestANewcomerIsToldOfAllRevocations(t *testing.T) {
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		n := l.host.credentials.Network()
		const many = 17 * control.MaxRevocations // more than a control stream's queue holds
		for id := range identity.InviteID(many) {
			b, err := n.Revoke(Revocation{Invite: id + 1})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := l.host.credentials.Revocations().Add(b); err != nil {
				t.Fatal(err)
			}
		}
		late := l.ready("late", Config{})
		time.Sleep(maxRevoke)
		if late.credentials.Revocations().Sum() != l.host.credentials.Revocations().Sum() {
			t.Errorf("knows %+v", late.credentials.Revocations().Stats())
		}
	})
}

func TestWhatCannotBeRevokedByANode(t *testing.T) {
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		n := l.node("n", Config{Relays: []string{}})
		text := l.revoke(Revocation{Invite: 1})
		for name, list := range map[string][]string{"nothing": nil, "text": {"x"}, "too many": make([]string, 65)} {
			if n.Revoke(t.Context(), list...) == nil {
				t.Errorf("%s was taken", name)
			}
		}
		if err := n.Revoke(t.Context(), text); err == nil || !strings.Contains(err.Error(), "no relay") {
			t.Errorf("without a relay: %v", err)
		}
		if _, _, err := NewRevocation("", labSecret, Revocation{}); err == nil {
			t.Error("nothing was revoked")
		}
		if _, _, err := NewRevocation("", "", Revocation{Invite: 1}); err == nil {
			t.Error("revoked without a secret")
		}
	})
}

// A relay without a state directory has forgotten all after a restart, and hears
// it from the nodes that come back.
func TestNodesRemindTheirRelay(t *testing.T) {
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		server, thief := l.ready("server", Config{}), l.ready("thief", Config{})
		if err := server.Revoke(t.Context(), l.revoke(Revocation{Node: thief.Key()})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(maxRevoke)
		l.wantGone(thief, server)
		l.killRelay()
		l.startRelay()
		if st := l.host.credentials.Revocations().Stats(); st.Known != 0 {
			t.Fatalf("the relay knows %+v", st)
		}
		time.Sleep(time.Minute)
		l.wantGone(thief, server)
		if st := l.host.credentials.Revocations().Stats(); st != (identity.RevocationStats{Known: 1}) {
			t.Errorf("the relay knows %+v", st)
		}
	})
}
