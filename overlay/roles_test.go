package overlay

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestRolesDecideWhoMayConnect(t *testing.T) {
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		server := l.ready("server", Config{})
		ln, err := ListenConfig{Allow: &Rule{Roles: []string{"ops"}}}.Listen(server, 80)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		addr := server.ID().String() + ":80"
		for host, cfg := range map[string]Config{
			"member": {Roles: []string{"ops"}}, "guest": {Invite: l.invite(Invite{Roles: []string{"ops"}})},
		} {
			if err := dialErr(t, l.ready(host, cfg), addr); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
		checkDialError(t, dialErr(t, l.ready("other", Config{Roles: []string{"dev"}}), addr), ErrNotAllowed)
		synctest.Wait()
		if st := server.Status(); st.NotAllowed != 1 {
			t.Errorf("%d conns were not allowed, want 1", st.NotAllowed)
		}
	})
}

func TestARelayServesWhomItAllows(t *testing.T) {
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		l.server.Allow = &Rule{Roles: []string{"ops"}}
		l.ready("ops", Config{Roles: []string{"ops"}})
		other := l.node("other", Config{})
		if err := other.WaitReady(withTimeout(t, 10*time.Second)); err == nil {
			t.Error("the relay serves a node that it does not allow")
		}
		if l.host.sw.Port(other.ID()) != nil {
			t.Error("the node's link is bound")
		}
		if st := l.server.Stats(); st.NotAllowed == 0 || st.Nodes != 1 {
			t.Errorf("%d links were not allowed, %d nodes are here", st.NotAllowed, st.Nodes)
		}
	})
}
