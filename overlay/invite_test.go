package overlay

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

const labSecret = "the secret of the lab's network"

// invite makes an invite of the lab's network, for a week unless in says.
func (l *lab) invite(in Invite) string {
	l.t.Helper()
	if in.Expires.IsZero() {
		in.Expires = time.Now().Add(7 * 24 * time.Hour)
	}
	token, _, err := NewInvite("", labSecret, in)
	if err != nil {
		l.t.Fatal(err)
	}
	return token
}

func TestAnInvitedNodeIsAMember(t *testing.T) {
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		token := l.invite(Invite{Names: []string{"guest"}, Roles: []string{"backup"}, Relays: []string{relayAddr}})
		files := l.ready("files", Config{Name: "files"})
		guest := l.newNode("guest", Config{Invite: token, Name: "guest"}) // with the invite's relays
		defer guest.Close()
		if err := guest.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		other := l.ready("other", Config{Invite: token})
		ln, err := ListenConfig{Allow: &Rule{Func: func(p Peer) bool { return p.Has("backup") && p.Invite != 0 }}}.Listen(files, 80)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		for _, n := range []*Node{guest, other} {
			c, err := n.Dial(t.Context(), "files:80")
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		l.echo(guest)
		for _, n := range []*Node{files, other} {
			c, err := n.Dial(t.Context(), "guest:7")
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, c)
			if p, ok := PeerOf(c); !ok || p.Invite == 0 || !slices.Equal(p.Names, []string{"guest"}) {
				t.Errorf("the guest is %+v", p)
			}
			c.Close()
		}
		if st := guest.Status(); st.Invite == nil || st.Invite.Expired || !slices.Equal(st.Invite.Roles, []string{"backup"}) {
			t.Errorf("status: %+v", st.Invite)
		}
		if files.Status().Invite != nil {
			t.Error("a member with the secret has an invite")
		}
	})
}

func TestAnInviteThatEndsSaysSo(t *testing.T) {
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		start := time.Now()
		var mu sync.Mutex
		var told []Event
		ends := start.Add(10 * time.Minute)
		server := l.ready("server", Config{})
		l.echo(server)
		quiet := 2 * time.Hour // so that the test need not simulate every ping of a day
		guest := l.ready("guest", Config{KeepAlive: quiet, PeerTimeout: 2 * quiet, LinkKeepAlive: quiet, LinkDeadAfter: 2 * quiet, Invite: l.invite(Invite{Expires: ends}), OnEvent: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind >= EventInviteEnding {
				told = append(told, e)
			}
		}})
		c, err := guest.Dial(t.Context(), server.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		broken := make(chan time.Time, 1)
		l.wg.Go(func() {
			_, _ = c.Read(make([]byte, 1))
			broken <- time.Now()
		})
		time.Sleep(time.Until(ends.Add(-time.Minute)))
		if err := dialErr(t, guest, server.ID().String()+":7"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(ends.Add(time.Minute)))
		mu.Lock()
		defer mu.Unlock()
		if len(told) != 2 || told[0].Kind != EventInviteEnding || told[0].Grace.Round(time.Minute) != 10*time.Minute || told[1].Kind != EventInviteExpired {
			t.Fatalf("events: %v", told)
		}
		if _, ok := errors.AsType[*identity.InviteExpiredError](told[1].Err); !ok || !guest.Status().Invite.Expired {
			t.Errorf("event %v, status %+v", told[1], guest.Status().Invite)
		}
		select {
		case at := <-broken:
			if d := at.Sub(ends); d < 0 || d > time.Second {
				t.Errorf("the conn ended %v after the invite", d)
			}
		default:
			t.Fatal("the conn outlived the invite")
		}
		if server.ep.Session(guest.ID()) != nil || l.host.ep.Session(guest.ID()) != nil {
			t.Error("a session outlived the invite")
		}
		if l.host.sw.Port(guest.ID()) != nil {
			t.Error("a link outlived the invite")
		}
		for _, err := range []error{guest.WaitReady(withTimeout(t, time.Minute)), dialErr(t, server, guest.ID().String()+":7")} {
			if err == nil {
				t.Error("a node is reachable without its invite")
			}
		}
		if err := guest.Status().Relays[0].Err; err == nil || !strings.Contains(err.Error(), "has expired") {
			t.Errorf("the relay's state is %v", err)
		}
	})
}

func TestTheEndOfAnInviteIsToldADayBefore(t *testing.T) {
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		told := make(chan Event, 8)
		ends := time.Now().Add(7 * 24 * time.Hour)
		l.node("guest", Config{Relays: []string{}, Invite: l.invite(Invite{Expires: ends}), OnEvent: func(e Event) { told <- e }})
		e := <-told
		if e.Kind != EventInviteEnding || e.Grace != inviteWarning || time.Until(ends) != inviteWarning || e.String() == "" {
			t.Errorf("%v before the end: %v", time.Until(ends), e)
		}
		e = <-told
		if d := time.Since(ends); e.Kind != EventInviteExpired || d < 0 || d > time.Second {
			t.Errorf("%v after the end: %v", d, e)
		}
		synctest.Wait()
		if len(told) != 0 {
			t.Errorf("another event: %v", <-told)
		}
	})
}

func TestConfigsOfMembership(t *testing.T) {
	token, made, err := NewInvite("lab", labSecret, Invite{Expires: time.Now().Add(time.Hour), Relays: []string{"a:1"}, Names: []string{"x"}, Note: "n"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ReadInvite(token); err != nil || got.ID != made.ID || got.Network != "lab" || got.Note != "n" {
		t.Errorf("ReadInvite: %+v, %v", got, err)
	}
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"both":          {Config{Invite: token, Secret: labSecret}, "only one of Invite and Secret"},
		"open":          {Config{Invite: token, Open: true}, "only one of Invite and Open"},
		"another name":  {Config{Invite: token, Name: "y"}, `does not give the name "y", but ["x"]`},
		"a role":        {Config{Invite: token, Roles: []string{"king"}}, "does not give the role"},
		"the relays'":   {Config{Secret: labSecret, Roles: []string{"relay"}}, "remove it"},
		"cut short":     {Config{Invite: token[:100]}, "copy all of it again"},
		"a file's name": {Config{Invite: "invite.txt"}, "--invite FILE"},
	} {
		tt.cfg.Key = newKey(t)
		n, err := New(tt.cfg)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if err == nil {
			n.Close()
		}
	}
	for name, in := range map[string]Invite{
		"no end": {}, "a bad relay": {Expires: time.Now().Add(time.Hour), Relays: []string{"ftp://x"}},
	} {
		if _, _, err := NewInvite("", labSecret, in); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, _, err := NewInvite("", "", Invite{}); err == nil {
		t.Error("an open network has invites")
	}
}

func TestTheEnvironmentMayHoldAnInvite(t *testing.T) {
	token, _, err := NewInvite("", labSecret, Invite{Expires: time.Now().Add(time.Hour), Relays: []string{"a:1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{EnvNetwork, EnvSecret, EnvOpen, EnvRelays, EnvName, EnvState} {
		t.Setenv(v, "")
	}
	t.Setenv(EnvInvite, token)
	cfg, err := ConfigFromEnv()
	if err != nil || cfg.Invite != token || cfg.Relays != nil {
		t.Errorf("%+v, %v", cfg, err)
	}
	if cfg, err = cfg.check(); err != nil || !slices.Equal(cfg.Relays, []string{"a:1"}) {
		t.Errorf("%q, %v", cfg.Relays, err)
	}
}

func withTimeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// dialErr dials for at most a minute.
func dialErr(t *testing.T, n *Node, addr string) error {
	c, err := n.Dial(withTimeout(t, time.Minute), addr)
	if err == nil {
		c.Close()
	}
	return err
}
