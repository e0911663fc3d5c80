package overlay

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
)

func TestRulesDecideWhoMayConnect(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		friend, other := l.ready("friend", Config{Name: "friend"}), l.ready("other", Config{})
		server := l.ready("server", Config{})
		for i, rule := range []*Rule{
			{IDs: []NodeID{friend.ID()}},
			{Keys: []PublicKey{friend.Key()}},
			{Names: []string{"friend"}},
			{Func: func(p Peer) bool { return p.ID == friend.ID() }},
		} {
			ln, err := ListenConfig{Allow: rule}.Listen(server, 80)
			if err != nil {
				t.Fatal(err)
			}
			c, err := friend.Dial(t.Context(), server.ID().String()+":80")
			if err != nil {
				t.Fatalf("rule %d: %v", i, err)
			}
			c.Close()
			_, err = other.Dial(t.Context(), server.ID().String()+":80")
			checkDialError(t, err, ErrNotAllowed)
			if !errors.Is(err, ErrRefused) {
				t.Errorf("rule %d: %v is no refusal", i, err)
			}
			ln.Close()
		}
	})
}

func TestTheNodesRuleComesBeforeThoseOfItsListeners(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		friend, other := l.ready("friend", Config{}), l.ready("other", Config{})
		server := l.ready("server", Config{Allow: &Rule{IDs: []NodeID{friend.ID()}}})
		l.echo(server)
		pc, err := server.ListenPacket(53)
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		c, err := friend.Dial(t.Context(), server.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = other.Dial(t.Context(), server.ID().String()+":7")
		checkDialError(t, err, ErrNotAllowed)
		_, err = other.Dial(t.Context(), server.ID().String()+":8") // nor may it see what is there
		checkDialError(t, err, ErrNotAllowed)
		u, err := other.DialPacket(t.Context(), server.ID().String()+":53")
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		if _, err := u.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		roundTrip(t, c)
		synctest.Wait()
		if st := server.Status(); st.NotAllowed != 2 || st.PacketsDropped != 1 {
			t.Errorf("%d conns and %d packets were not allowed, want 2 and 1", st.NotAllowed, st.PacketsDropped)
		}
	})
}

func TestListenRefusesWhatItCannotDo(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		n := l.node("n", Config{})
		ln := l.listen(n, 80)
		defer ln.Close()
		if ln.Addr() != net.Addr(Addr{Node: n.ID(), Port: 80}) {
			t.Errorf("Addr is %v", ln.Addr())
		}
		if _, err := n.Listen(80); err == nil {
			t.Error("a port was taken twice")
		}
		if _, err := (ListenConfig{Backlog: -1}).Listen(n, 81); err == nil {
			t.Error("a negative backlog was accepted")
		}
		free := l.listen(n, 0)
		defer free.Close()
		if port := free.Addr().(Addr).Port; port < firstFreePort {
			t.Errorf("port 0 gave %d", port)
		}
	})
}

func TestAFullBacklogRefuses(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server, client := l.ready("server", Config{Backlog: 2}), l.ready("client", Config{})
		ln := l.listen(server, 80)
		defer ln.Close()
		for range 2 {
			c, err := client.Dial(t.Context(), server.ID().String()+":80")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		_, err := client.Dial(t.Context(), server.ID().String()+":80")
		checkDialError(t, err, ErrRefused)
		if st := server.Status(); st.Accepted != 2 || st.BacklogFull != 1 {
			t.Errorf("%d accepted and %d refused, want 2 and 1", st.Accepted, st.BacklogFull)
		}
	})
}
