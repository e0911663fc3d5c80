package listener

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/streamtest/memsession"
)

const serverAddr = "server:80"

func TestDialAndAccept(t *testing.T) {
	p := newPair(t)
	l := p.listen(t, 80, ListenConfig{})
	c := p.dial(t, serverAddr)
	s := accept(t, l)
	roundTrip(t, c, s)
	if want := (Addr{Node: memsession.AcceptorID, Port: 80}); c.RemoteAddr() != want || s.LocalAddr() != want || l.Addr() != want {
		t.Errorf("dialler has %v, acceptor %v, listener %v, want %v", c.RemoteAddr(), s.LocalAddr(), l.Addr(), want)
	}
	if got := p.table.Stats(); got != (Stats{Accepted: 1}) {
		t.Errorf("stats are %+v", got)
	}
}

func TestListenPicksAFreePort(t *testing.T) {
	table := NewTable(1)
	seen := map[net.Addr]bool{}
	for range 1000 {
		l, err := table.Listen(0, ListenConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if port := l.Addr().(Addr).Port; port < firstFreePort || seen[l.Addr()] {
			t.Fatalf("port %d is not free, or below %d", port, firstFreePort)
		}
		seen[l.Addr()] = true
	}
}

func TestListenSaysThatAllPortsAreTaken(t *testing.T) {
	table := NewTable(1)
	for range lastFreePort - firstFreePort + 1 {
		if _, err := table.Listen(0, ListenConfig{Backlog: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := table.Listen(0, ListenConfig{}); err == nil || !strings.Contains(err.Error(), "all ports") {
		t.Errorf("error is %v, want one that says all ports are taken", err)
	}
}

func TestListenOnATakenPortFails(t *testing.T) {
	table := NewTable(1)
	first, err := table.Listen(80, ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = table.Listen(80, ListenConfig{})
	if e, ok := err.(*net.OpError); !ok || e.Op != "listen" || !strings.Contains(err.Error(), "port 80 is taken") {
		t.Errorf("error is %v, want a *net.OpError that says the port is taken", err)
	}
	first.Close()
	if _, err := table.Listen(80, ListenConfig{}); err != nil {
		t.Errorf("Listen on the port that was closed: %v", err)
	}
	if got := table.Ports(); len(got) != 1 || got[0] != 80 {
		t.Errorf("open ports are %v", got)
	}
}

func TestRequestsWithoutListenerAreRefused(t *testing.T) {
	p := newPair(t)
	p.wantRefused(t, serverAddr, stream.CodeNoListener)
	if got := p.table.Stats().NoListener; got != 1 {
		t.Errorf("NoListener is %d", got)
	}
}

func TestAFullBacklogRefusesAtOnce(t *testing.T) {
	p := newPair(t)
	l := p.listen(t, 80, ListenConfig{Backlog: 2})
	first := p.dial(t, serverAddr)
	p.dial(t, serverAddr)
	p.wantRefused(t, serverAddr, stream.CodeBacklogFull)
	roundTrip(t, first, accept(t, l))
	p.dial(t, serverAddr) // there is room again
	if got := p.table.Stats(); got != (Stats{Accepted: 3, BacklogFull: 1}) {
		t.Errorf("stats are %+v", got)
	}
}

func TestRules(t *testing.T) {
	tests := []struct {
		name string
		rule *Rule
		want bool
	}{
		{"no rule allows members", nil, true},
		{"an empty rule allows nobody", &Rule{}, false},
		{"by ID", &Rule{IDs: []identity.NodeID{7, clientPeer.ID}}, true},
		{"another ID", &Rule{IDs: []identity.NodeID{7}}, false},
		{"by key", &Rule{Keys: []identity.PublicKey{clientPeer.Key}}, true},
		{"another key", &Rule{Keys: []identity.PublicKey{{9}}}, false},
		{"by name", &Rule{Names: []string{"CLIENT.example"}}, true},
		{"another name", &Rule{Names: []string{"example"}}, false},
		{"by role", &Rule{Roles: []string{"ops", "backup"}}, true},
		{"another role", &Rule{Roles: []string{"ops"}}, false},
		{"by function", &Rule{Func: func(p identity.Peer) bool { return p.ID == clientPeer.ID }}, true},
		{"a function says no", &Rule{Func: func(identity.Peer) bool { return false }}, false},
		{"any field suffices", &Rule{IDs: []identity.NodeID{7}, Names: []string{"client"}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t)
			l := p.listen(t, 80, ListenConfig{Allow: tt.rule})
			if !tt.want {
				p.wantRefused(t, serverAddr, stream.CodeNotAllowed)
				return
			}
			c := p.dial(t, serverAddr)
			roundTrip(t, c, accept(t, l))
		})
	}
}

func TestCloseReleasesAccept(t *testing.T) {
	p := newPair(t)
	l := p.listen(t, 80, ListenConfig{})
	done := make(chan error, 1)
	go func() { _, err := l.Accept(); done <- err }()
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wantClosed := func(op string, err error) {
		t.Helper()
		if e, ok := err.(*net.OpError); !ok || e.Op != op || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: error is %v, want a *net.OpError with net.ErrClosed", op, err)
		}
	}
	wantClosed("accept", <-done)
	_, err := l.Accept()
	wantClosed("accept", err)
	wantClosed("close", l.Close())
}

func TestCloseRefusesTheBacklogAndKeepsAcceptedConns(t *testing.T) {
	p := newPair(t)
	l := p.listen(t, 80, ListenConfig{})
	c := p.dial(t, serverAddr)
	s := accept(t, l)
	waiting := p.dial(t, serverAddr)
	l.Close()
	roundTrip(t, c, s)
	_, err := waiting.Read(make([]byte, 1))
	if e, ok := errors.AsType[*stream.ResetError](err); !ok || e.Code != stream.CodeNoListener {
		t.Errorf("Read of a conn in the backlog: error is %v, want a refusal", err)
	}
	p.wantRefused(t, serverAddr, stream.CodeNoListener)
}

func TestCloseDuringARushLosesNoConn(t *testing.T) {
	p := newPair(t)
	l := p.listen(t, 80, ListenConfig{})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			c, err := p.dialer().Dial(testContext(t), serverAddr)
			if err != nil {
				return // refused
			}
			defer c.Close()
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("a conn was neither accepted nor refused")
			}
		})
	}
	wg.Go(func() {
		for range 5 {
			if c, err := l.AcceptContext(testContext(t)); err == nil {
				c.Close()
			}
		}
		l.Close()
	})
	wg.Wait()
	if n := p.client.Streams(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
}

func TestAcceptContext(t *testing.T) {
	p := newPair(t)
	l := p.listen(t, 80, ListenConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := l.AcceptContext(ctx); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
	p.dial(t, serverAddr)
	c, err := l.AcceptContext(ctx)
	if err != nil {
		t.Fatalf("with a conn waiting and an ended context: %v", err)
	}
	c.Close()
}

func TestAClosedTableIsShuttingDown(t *testing.T) {
	p := newPair(t)
	l := p.listen(t, 80, ListenConfig{})
	p.table.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := p.table.Listen(81, ListenConfig{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Listen: %v", err)
	}
	p.wantRefused(t, serverAddr, stream.CodeShuttingDown)
	if got := p.table.Stats().ShuttingDown; got != 1 {
		t.Errorf("ShuttingDown is %d", got)
	}
}

func TestServeEndsWithTheSession(t *testing.T) {
	p := newPair(t)
	p.client.Kill(errLost)
	if err := <-p.served; !errors.Is(err, errLost.Cause) {
		t.Errorf("Serve: %v", err)
	}
}

func TestConnsOfListenersHaveDeadlines(t *testing.T) {
	p := newPair(t)
	l := p.listen(t, 80, ListenConfig{})
	c := p.dial(t, serverAddr)
	accept(t, l)
	c.SetReadDeadline(pastTime)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
}
