package relay

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
)

// settle is more than enough time for everything to be as it stays.
const settle = 65 * time.Second

// trunksTo counts the links from one relay to another, and how many of them
// the first dialled.
func trunksTo(h *hosted, to identity.NodeID) (all, dialled int) {
	for _, s := range h.PeerStatus() {
		if s.ID == to && s.Up {
			all++
			if s.Dialled {
				dialled++
			}
		}
	}
	return all, dialled
}

func TestRelaysLinkUp(t *testing.T) {
	for name, peers := range map[string][2][]string{
		"one dials":       {{"b:9999"}, nil},
		"both dial":       {{"b:9999"}, {"a:9999"}},
		"all have a list": {{"a:9999", "b:9999"}, {"a:9999", "b:9999"}},
		"twice the same":  {{"b:9999", "b:9999"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testLinkUp(t, peers[0], peers[1]) })
		})
	}
}

func testLinkUp(t *testing.T, ofA, ofB []string) {
	l := newLab(t)
	defer l.close()
	a := l.relay("a", newKey(t, "weft"), &Server{Peers: ofA})
	defer l.stop(a)
	b := l.relay("b", newKey(t, "weft"), &Server{Peers: ofB})
	defer l.stop(b)
	for range 3 { // it stays so
		time.Sleep(settle)
		fromA, _ := trunksTo(a, b.id())
		fromB, dialled := trunksTo(b, a.id())
		if fromA != 1 || fromB != 1 {
			t.Fatalf("A has %d links to B, B %d to A; want one:\n%+v\n%+v", fromA, fromB, a.PeerStatus(), b.PeerStatus())
		}
		if len(ofA) > 0 && len(ofB) > 0 && (dialled == 1) != (b.id() < a.id()) {
			t.Errorf("the link that stays was dialled by the larger ID")
		}
	}
	n := l.node("n", newKey(t, "weft"))
	defer n.close()
	l.register(n, "a:9999", 1)
	far := l.node("far", newKey(t, "weft"))
	defer far.close()
	far.parts.Hooks.Watch(&echoer{l})
	l.register(far, "b:9999", 1)
	synctest.Wait()
	stream, err := l.open(n, far.id())
	if err != nil {
		t.Fatal(err)
	}
	l.roundTrip(stream, "over two relays")
	if a.Stats().Forwarded == 0 || b.Stats().Forwarded == 0 {
		t.Error("both relays should have forwarded")
	}
	if path := stream.Session().Path().String(); !strings.Contains(path, "a:9999") {
		t.Errorf("path is %q", path)
	}
}

func TestARelayDialsAgainWhatWasCut(t *testing.T) { synctest.Test(t, testPeerRestart) }
func testPeerRestart(t *testing.T) {
	l := newLab(t)
	defer l.close()
	a := l.relay("a", newKey(t, "weft"), &Server{Peers: []string{"b:9999"}})
	defer l.stop(a)
	time.Sleep(settle)
	if s := a.PeerStatus()[0]; s.Up || s.Err == nil {
		t.Errorf("nobody is there, but the state is %+v", s)
	}
	creds := newKey(t, "weft")
	b := l.relay("b", creds, &Server{})
	time.Sleep(settle)
	first := a.parts.Endpoint.Session(b.id())
	if n, _ := trunksTo(a, b.id()); n != 1 || first == nil {
		t.Fatalf("no link: %+v", a.PeerStatus())
	}
	l.net.Kill("a") // the link breaks, both relays live on
	time.Sleep(settle)
	if n, _ := trunksTo(a, b.id()); n != 1 || a.parts.Endpoint.Session(b.id()) != first {
		t.Errorf("the session did not move to the new link: %+v", a.PeerStatus())
	}
	l.kill(b)
	time.Sleep(settle)
	if n, _ := trunksTo(a, b.id()); n != 0 {
		t.Errorf("a dead relay is up: %+v", a.PeerStatus())
	}
	b = l.relay("b", creds, &Server{})
	time.Sleep(settle)
	if n, _ := trunksTo(a, b.id()); n != 1 || a.parts.Endpoint.Session(b.id()) == first {
		t.Errorf("no link to the restarted relay: %+v", a.PeerStatus())
	}
	l.stop(b)
}

func TestOnlyRelaysAreTrusted(t *testing.T) { synctest.Test(t, testOnlyRelays) }
func testOnlyRelays(t *testing.T) {
	l := newLab(t)
	defer l.close()
	a := l.relay("a", newKey(t, "weft"), &Server{})
	defer l.stop(a)
	n := l.node("n", newKey(t, "weft"))
	defer n.close()
	l.attach(n, "a:9999")
	l.ready(n)
	if p := a.parts.Switch.Port(n.id()); p == nil || p.Trusted() {
		t.Errorf("the link of a plain node is trusted, or there is none: %v", p)
	}
	s := n.parts.Endpoint.Session(a.id())
	stream, err := s.OpenStream(t.Context(), session.KindMesh)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Accepted(t.Context()); err == nil || a.Stats().RefusedMesh != 1 {
		t.Errorf("a plain node joined the backbone: %v", err)
	}
	if a.Stats().Nodes != 1 || a.Stats().Links != 1 {
		t.Errorf("stats are %+v", a.Stats())
	}
}

func TestARelayOfAnotherNetworkIsNoPeer(t *testing.T) { synctest.Test(t, testForeignPeer) }
func testForeignPeer(t *testing.T) {
	l := newLab(t)
	defer l.close()
	a := l.relay("a", newKey(t, "weft"), &Server{Peers: []string{"b:9999"}})
	defer l.stop(a)
	b := l.relay("b", newKey(t, "lab"), &Server{})
	defer l.stop(b)
	time.Sleep(settle)
	if s := a.PeerStatus()[0]; s.Up || s.Err == nil || !strings.Contains(s.Err.Error(), "network") {
		t.Errorf("state is %+v", s)
	}
}

func TestShutdownDoesNotWaitForOtherRelays(t *testing.T) { synctest.Test(t, testShutdownPeers) }
func testShutdownPeers(t *testing.T) {
	l := newLab(t)
	defer l.close()
	a := l.relay("a", newKey(t, "weft"), &Server{})
	defer l.stop(a)
	b := l.relay("b", newKey(t, "weft"), &Server{Peers: []string{"a:9999"}})
	defer l.stop(b)
	time.Sleep(settle)
	if n, _ := trunksTo(a, b.id()); n != 1 || a.Stats().Links != 0 {
		t.Fatalf("%d links to B, stats %+v", n, a.Stats())
	}
	began := time.Now()
	if err := a.Shutdown(t.Context()); err != nil || time.Since(began) > time.Second {
		t.Errorf("Shutdown took %v: %v", time.Since(began), err)
	}
}

func TestNodesLearnOfARelayWhereAnotherHasFoundIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		defer l.close()
		b := l.relay("b", newKey(t, "weft"), &Server{Addrs: []string{}})
		defer l.stop(b)
		a := l.relay("a", newKey(t, "weft"), &Server{Peers: []string{"b:9999"}})
		defer l.stop(a)
		time.Sleep(settle)
		n := l.node("n", newKey(t, "weft"))
		defer n.close()
		l.attach(n, "a:9999")
		l.ready(n)
		time.Sleep(time.Second)
		known := n.up.Known()
		if len(known) != 1 || known[0].ID != b.id() || len(known[0].Addrs) != 1 || known[0].Addrs[0] != "b:9999" {
			t.Errorf("the node knows %+v", known)
		}
	})
}
