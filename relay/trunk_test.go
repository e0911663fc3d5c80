package relay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/switchboard"
)

// claim dials as a relay does and proves who is there.
func (l *lab) claim(n *node, addr string) (*switchboard.Port, *session.Session) {
	l.t.Helper()
	fc, err := n.parts.Dial(l.t.Context(), addr)
	if err != nil {
		l.t.Fatal(err)
	}
	port := n.parts.Switch.Attach(fc, switchboard.PortConfig{Uplink: true, Name: addr})
	s, err := n.parts.Endpoint.DialNeighbour(l.t.Context(), port)
	if err != nil {
		l.t.Fatal(err)
	}
	return port, s
}

func TestANodeThatDialsAsARelayIsRefused(t *testing.T) { synctest.Test(t, testFalseClaim) }
func testFalseClaim(t *testing.T) {
	l := newLab(t)
	defer l.close()
	a := l.relay("a", newKey(t, "weft"), &Server{})
	defer l.stop(a)
	n := l.node("n", newKey(t, "weft"))
	defer n.close()
	port, s := l.claim(n, a.addr)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if stream, err := s.OpenStream(ctx, session.KindControl); err == nil {
		m := control.Register{Epoch: 1, Seq: 1}
		if err := m.Sign(n.parts.Credentials, a.id()); err != nil {
			t.Fatal(err)
		}
		if _, err := control.NewClient(stream, func(control.Message) {}).Register(ctx, m); err == nil {
			t.Error("a plain node registered over a link of the backbone")
		}
	}
	<-s.Done()
	if closed, ok := errors.AsType[*session.ClosedError](s.Err()); !ok || closed.Code != session.CodeRefused || closed.Reason != errNoRole.Error() {
		t.Errorf("the node was told %v", s.Err())
	}
	<-port.Done()
	synctest.Wait()
	if got := a.parts.Switch.Port(n.id()); got != nil {
		t.Errorf("the node has the link %v", got)
	}
	if s := a.Stats(); s.RefusedMeshRole != 1 || s.MeshClaims != 0 || s.MeshLinks != 0 || s.Nodes != 0 || s.Links != 0 {
		t.Errorf("stats %+v", s)
	}
	l.attach(n, a.addr) // as what it is
	l.ready(n)
}

func TestOnlyLinksDialledAsSuchJoinTheBackbone(t *testing.T) { synctest.Test(t, testPlainLink) }
func testPlainLink(t *testing.T) {
	l := newLab(t)
	defer l.close()
	a := l.relay("a", newKey(t, "weft"), &Server{})
	defer l.stop(a)
	b := l.relay("b", newKey(t, "weft"), &Server{}) // has the role
	defer l.stop(b)
	at := l.link(b.node, a.addr)
	time.Sleep(2 * delay)
	synctest.Wait()
	if p := a.parts.Switch.Port(b.id()); p == nil || p.Trusted() {
		t.Fatalf("the link that a relay has dialled as a node is trusted, or there is none: %v", p)
	}
	stream, err := at.session.OpenStream(t.Context(), session.KindMesh)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Accepted(t.Context()); err == nil || a.Stats().RefusedMesh != 1 {
		t.Errorf("it carries the backbone: %v", err)
	}
	if s := a.Stats(); s.Links != 1 || s.Nodes != 1 || s.MeshLinks != 0 || len(a.PeerStatus()) != 0 {
		t.Errorf("stats %+v", s)
	}
}

// A relay that another one serves as a node, too, has a link for each purpose.
func TestARelayMayBeANodeOfAnother(t *testing.T) { synctest.Test(t, testNodeAndRelay) }
func testNodeAndRelay(t *testing.T) {
	l := newLab(t)
	defer l.close()
	a := l.relay("a", newKey(t, "weft"), &Server{})
	defer l.stop(a)
	b := l.relay("b", newKey(t, "weft"), &Server{Peers: []string{a.addr}})
	defer l.stop(b)
	time.Sleep(settle)
	l.attach(b.node, a.addr)
	defer func() { _ = b.up.Close() }()
	var accepted uint64
	for range 3 { // it stays so
		time.Sleep(settle)
		if n, _ := trunksTo(b, a.id()); n != 1 || !b.up.Up() {
			t.Fatalf("%d links as relays; as a node %+v", n, b.up.Status())
		}
		if p := a.parts.Switch.Port(b.id()); p == nil || !p.Trusted() {
			t.Errorf("the link in use is %v", p)
		}
		s := a.Stats()
		if s.Links != 1 || s.MeshLinks != 1 || accepted != 0 && s.Accepted != accepted {
			t.Errorf("stats %+v", s)
		}
		accepted = s.Accepted
	}
}

// The nodes' budget is full, and so is what one address may have. Relays get in.
func TestARelayGetsInWhenNodesHaveTakenAllLinks(t *testing.T) { synctest.Test(t, testFullOfNodes) }
func testFullOfNodes(t *testing.T) {
	l := newLab(t)
	defer l.close()
	a := l.relay("a", newKey(t, "weft"), &Server{MaxLinks: 3, MaxLinksPerAddress: 2})
	defer l.stop(a)
	for i := range 3 {
		n := l.node(fmt.Sprintf("crowd-%d", i/2), newKey(t, "weft"))
		defer n.close()
		l.attach(n, a.addr)
		l.ready(n)
	}
	late := l.node("late", newKey(t, "weft"))
	defer late.close()
	l.attach(late, a.addr)
	b := l.relay("crowd-0", newKey(t, "weft"), &Server{Peers: []string{a.addr}})
	defer l.stop(b)
	time.Sleep(settle)
	if n, _ := trunksTo(b, a.id()); n != 1 {
		t.Errorf("the relay did not get in: %+v", b.PeerStatus())
	}
	if late.up.Up() {
		t.Error("one node too many got in")
	}
	if s := a.Stats(); s.Links != 3 || s.MeshLinks != 1 || s.RefusedBusy == 0 || s.RefusedMeshBusy != 0 || len(s.Relays) != 1 {
		t.Errorf("stats %+v", s)
	}
}

// Whoever only says that it is a relay takes no more than its share, for a while,
// and neither the place of a node nor that of a relay that has proven it.
func TestClaimsToBeARelayAreBounded(t *testing.T) { synctest.Test(t, testClaims) }
func testClaims(t *testing.T) {
	const claims, share = 8, 2
	l := newLab(t)
	defer l.close()
	a := l.relay("a", newKey(t, "weft"), &Server{MaxLinks: 1, MaxMeshClaims: claims, HandshakeTimeout: 30 * time.Second})
	defer l.stop(a)
	early := l.relay("early", newKey(t, "weft"), &Server{Peers: []string{a.addr}})
	defer l.stop(early)
	time.Sleep(time.Second)
	hello := link.Hello{Network: a.Server.relay().network, Node: 77, Flags: link.FlagMesh}
	for host := range claims/share + 1 {
		for i := range share + 1 {
			fc := l.dialRaw(fmt.Sprintf("liar-%d", host), a, hello)
			defer func() { _ = fc.Close() }()
			if i < share && host < claims/share {
				continue
			}
			_, err := fc.ReadFrame()
			if refused, ok := errors.AsType[*link.RefusedError](err); !ok || refused.Status != link.StatusBusy {
				t.Errorf("claim %d from host %d: %v", i, host, err)
			}
		}
	}
	const refused = (claims/share+1)*(share+1) - claims
	if s := a.Stats(); s.MeshClaims != claims || s.MeshLinks != 1 || s.Links != 0 || s.RefusedMeshBusy != refused {
		t.Errorf("stats %+v", s)
	}
	n := l.node("n", newKey(t, "weft"))
	defer n.close()
	l.attach(n, a.addr)
	l.ready(n)
	if n, _ := trunksTo(early, a.id()); n != 1 {
		t.Error("the relay that was there is gone")
	}
	late := l.relay("late", newKey(t, "weft"), &Server{Peers: []string{a.addr}})
	defer l.stop(late)
	time.Sleep(settle)
	if n, _ := trunksTo(late, a.id()); n != 1 || a.Stats().MeshClaims != 0 {
		t.Errorf("the claims are still there: %+v", a.Stats())
	}
}

func TestLinksOfRelaysAreLimited(t *testing.T) { synctest.Test(t, testMeshLimit) }
func testMeshLimit(t *testing.T) {
	l := newLab(t)
	defer l.close()
	a := l.relay("a", newKey(t, "weft"), &Server{MaxMeshLinks: 1})
	defer l.stop(a)
	first := l.relay("b", newKey(t, "weft"), &Server{Peers: []string{a.addr}})
	time.Sleep(settle)
	second := l.relay("c", newKey(t, "weft"), &Server{Peers: []string{a.addr}})
	defer l.stop(second)
	time.Sleep(settle)
	if n, _ := trunksTo(second, a.id()); n != 0 {
		t.Errorf("%d links", n)
	}
	if s := a.Stats(); s.MeshLinks != 1 || s.MeshClaims != 0 || s.RefusedMeshBusy == 0 {
		t.Errorf("stats %+v", s)
	}
	l.stop(first)
	time.Sleep(settle)
	if n, _ := trunksTo(second, a.id()); n != 1 {
		t.Errorf("%d links after the first relay has left", n)
	}
}

// Two that have claimed while there was room for one: the proof decides.
func TestTheProofTakesThePlace(t *testing.T) {
	a := newAdmission(1, -1, 2, -1)
	one, two := a.enter(textAddr("192.0.2.1:1")), a.enter(textAddr("192.0.2.2:1"))
	for _, step := range []struct {
		what      string
		got, want link.Status
	}{
		{"room", one.room(), link.StatusOK},
		{"proof", one.link(), link.StatusOK},
		{"proof again", one.link(), link.StatusOK},
		{"proof of another", two.link(), link.StatusBusy},
	} {
		if step.got != step.want {
			t.Errorf("%s: %v", step.what, step.got)
		}
	}
	if links, claims := a.count(); links != 1 || claims != 1 {
		t.Errorf("%d links, %d claims", links, claims)
	}
	one.leave()
	if got := two.link(); got != link.StatusOK {
		t.Errorf("after the first has left: %v", got)
	}
	two.leave()
	if links, claims := a.count(); links != 0 || claims != 0 || len(a.addresses) != 0 {
		t.Errorf("%d links, %d claims, %d addresses stay", links, claims, len(a.addresses))
	}
}

func TestSharesOfRelays(t *testing.T) {
	for _, tt := range []struct{ perAddress, field, want int }{
		{0, 0, 64}, {1, 0, 64}, {0, 8, 2}, {0, -1, 64}, {-1, 8, -1},
	} {
		s := &Server{MaxLinksPerAddress: tt.perAddress}
		if got := s.meshShare(tt.field, 256); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}
