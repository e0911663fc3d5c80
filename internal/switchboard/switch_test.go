package switchboard

import (
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/simnet"
)

func TestCorrespondentsLearnThatANodeIsGoneAndBack(t *testing.T) { synctest.Test(t, testGoneAndBack) }
func testGoneAndBack(t *testing.T) {
	l := newLab(t, Config{Forwarding: new(Forwarding)})
	defer l.close()
	a, b, c := l.bind(alice), l.bind(bob), l.bind(carol)
	a.send(alice, bob, "hello")
	for round := range 2 {
		_ = b.link.Close()
		synctest.Wait()
		gone := []frame.Notice{{Code: frame.NoticeGone, Node: bob, Arg: frame.GoneHungUp}}
		if !slices.Equal(a.notices, gone) {
			t.Errorf("round %d: alice was told %+v, want %+v", round, a.notices, gone)
		}
		a.send(alice, bob, "still there?")
		if want := append(gone, gone...); !slices.Equal(a.notices, want) {
			t.Errorf("round %d: a frame to a node that left gives %+v, want %+v", round, a.notices, want)
		}
		a.notices = nil
		b = l.bind(bob)
		synctest.Wait()
		if want := []frame.Notice{{Code: frame.NoticeBack, Node: bob}}; !slices.Equal(a.notices, want) {
			t.Errorf("round %d: alice was told %+v, want %+v", round, a.notices, want)
		}
		a.notices = nil
	}
	if len(c.notices) != 0 {
		t.Errorf("carol, who never talked to bob, was told %+v", c.notices)
	}
	_ = a.link.Close()
	synctest.Wait()
	if want := []frame.Notice{{Code: frame.NoticeGone, Node: alice, Arg: frame.GoneHungUp}}; !slices.Equal(b.notices, want) {
		t.Errorf("bob was told %+v, want %+v", b.notices, want)
	}
	if want := []identity.NodeID{bob, bob, alice}; !slices.Equal(l.unbound, want) {
		t.Errorf("OnUnbind was told %v, want %v", l.unbound, want)
	}
}

func TestNoticeTellsASilentLinkFromOneThatHungUp(t *testing.T) { synctest.Test(t, testSilentLink) }
func testSilentLink(t *testing.T) {
	l := newLab(t, Config{Forwarding: new(Forwarding)})
	defer l.close()
	a, b := l.bind(alice), l.bind(bob)
	a.send(alice, bob, "hello")
	b.wire.Set(simnet.Impairment{Down: true})
	<-b.port.Done()
	synctest.Wait()
	a.send(alice, bob, "still there?")
	gone := frame.Notice{Code: frame.NoticeGone, Node: bob}
	if want := []frame.Notice{gone, gone}; !slices.Equal(a.notices, want) {
		t.Errorf("alice was told %+v, want %+v", a.notices, want)
	}
}

func TestDepartedNodeIsForgottenAfterAMinute(t *testing.T) { synctest.Test(t, testForgotten) }
func testForgotten(t *testing.T) {
	l := newLab(t, Config{Forwarding: new(Forwarding)})
	defer l.close()
	a, b := l.bind(alice), l.bind(bob)
	_ = b.link.Close()
	<-time.After(departedFor)
	a.send(alice, bob, "x")
	if want := []frame.Notice{{Code: frame.NoticeUnknown, Node: bob}}; !slices.Equal(a.notices, want) {
		t.Errorf("notices are %+v, want %+v", a.notices, want)
	}
}

func TestNewestPortOfANodeWins(t *testing.T) { synctest.Test(t, testNewestWins) }
func testNewestWins(t *testing.T) {
	l := newLab(t, Config{Forwarding: new(Forwarding)})
	defer l.close()
	a, old := l.bind(alice), l.bind(bob)
	a.send(alice, bob, "one")
	young := l.bind(bob)
	synctest.Wait()
	if !errors.Is(old.port.Err(), ErrReplaced) {
		t.Errorf("the former port ended with %v, want ErrReplaced", old.port.Err())
	}
	a.send(alice, bob, "two")
	if len(old.frames) != 1 || len(young.frames) != 1 {
		t.Errorf("old port got %v, new port got %v", old.frames, young.frames)
	}
	if want := []frame.Notice{{Code: frame.NoticeBack, Node: bob}}; !slices.Equal(a.notices, want) {
		t.Errorf("alice was told %+v, want %+v", a.notices, want)
	}
	if len(l.unbound) != 0 {
		t.Errorf("OnUnbind was told %v although bob never left", l.unbound)
	}
	if l.s.Port(bob) != young.port || len(l.s.Ports()) != 2 {
		t.Errorf("bob is on %v, there are %d ports; want the new one and 2", l.s.Port(bob), len(l.s.Ports()))
	}
}

func TestPortThatProvesAnotherIdentityLeavesTheFormer(t *testing.T) { synctest.Test(t, testRebind) }
func testRebind(t *testing.T) {
	l := newLab(t, Config{Forwarding: new(Forwarding)})
	defer l.close()
	a, b := l.bind(alice), l.bind(bob)
	l.s.Bind(b.port, carol)
	l.s.Bind(b.port, carol)
	a.send(alice, bob, "x")
	a.send(alice, carol, "y")
	if len(b.frames) != 1 || b.frames[0].packet != "y" || !slices.Equal(l.unbound, []identity.NodeID{bob}) {
		t.Errorf("frames are %v, unbound are %v", b.frames, l.unbound)
	}
}

func TestNobodyBindsThisNode(t *testing.T) { synctest.Test(t, testBindSelf) }
func testBindSelf(t *testing.T) {
	l := newLab(t, Config{})
	defer l.close()
	n := l.bind(self)
	<-n.port.Done()
	if !errors.Is(n.port.Err(), ErrSelf) {
		t.Errorf("the port ended with %v, want ErrSelf", n.port.Err())
	}
}

func TestNoticesFromARelayReachTheNode(t *testing.T) { synctest.Test(t, testNoticeIn) }
func testNoticeIn(t *testing.T) {
	l := newLab(t, Config{})
	defer l.close()
	relay := l.attach(PortConfig{Uplink: true})
	want := frame.Notice{Code: frame.NoticeUnknown, Node: bob}
	_ = relay.link.Send(frame.NewNotice(want))
	synctest.Wait()
	if !slices.Equal(l.notices, []frame.Notice{want}) {
		t.Errorf("notices are %+v, want %+v", l.notices, want)
	}
}

func TestNoticesTravelBackThroughTheOtherRelay(t *testing.T) {
	synctest.Test(t, testNoticeThroughRelay)
}
func testNoticeThroughRelay(t *testing.T) {
	l := newLab(t, Config{Forwarding: new(Forwarding)})
	defer l.close()
	backbone := l.attach(PortConfig{Uplink: true})
	l.s.Bind(backbone.port, carol)
	a := l.bind(alice)

	// A frame from a node behind the other relay cannot go on: the notice
	// names the node it is for.
	backbone.send(bob, nowhere, "x")
	want := frame.Notice{Code: frame.NoticeUnknown, Node: nowhere}
	if !slices.Equal(backbone.notices, []frame.Notice{want}) || backbone.nodes[0] != bob {
		t.Errorf("the other relay was told %+v for %v, want %+v for bob", backbone.notices, backbone.nodes, want)
	}
	// And the other way round: a notice for a node that is attached here.
	f := frame.NewNotice(want)
	f.SetDst(alice)
	_ = backbone.link.Send(f)
	synctest.Wait()
	if !slices.Equal(a.notices, []frame.Notice{want}) || a.nodes[0] != 0 || len(l.notices) != 0 {
		t.Errorf("alice was told %+v for %v, the relay %+v", a.notices, a.nodes, l.notices)
	}
}

func TestRelaysFindTheNextHop(t *testing.T) { synctest.Test(t, testNextHop) }
func testNextHop(t *testing.T) {
	var next *Port
	var elsewhere []identity.NodeID
	l := newLab(t, Config{Forwarding: &Forwarding{
		NextHop: func(dst identity.NodeID, _ *Port) (*Port, bool) {
			if dst == bob {
				return next, false
			}
			return nil, dst == carol
		},
		Elsewhere: func(f *frame.Frame) bool {
			elsewhere = append(elsewhere, f.Dst())
			f.Release()
			return true
		},
	}})
	defer l.close()
	backbone := l.attach(PortConfig{Uplink: true})
	l.s.Bind(backbone.port, 0xee)
	next = backbone.port
	a := l.bind(alice)
	a.send(alice, bob, "over the backbone")
	a.send(alice, carol, "over the mesh")
	a.send(alice, nowhere, "nobody knows")
	if len(backbone.frames) != 1 || !slices.Equal(elsewhere, []identity.NodeID{carol}) || len(a.notices) != 1 {
		t.Errorf("backbone %v, elsewhere %v, notices %v", backbone.frames, elsewhere, a.notices)
	}
	if r := l.s.Route(bob); r.Port() != next || r.Neighbour() {
		t.Errorf("route to bob leads to %v", r.Port())
	}
	if err := l.s.Route(carol).Send(newFrame(0, carol, "")); err != nil || len(elsewhere) != 2 {
		t.Errorf("own frame to carol: %v, elsewhere %v", err, elsewhere)
	}
	backbone.send(bob, bob, "sent back")
	if l.s.Counters().DroppedLoop != 1 {
		t.Errorf("counters are %+v, want a loop cut", l.s.Counters())
	}
}

func TestInjectedFramesReachAttachedNodesOnly(t *testing.T) { synctest.Test(t, testInject) }
func testInject(t *testing.T) {
	l := newLab(t, Config{Forwarding: new(Forwarding)})
	defer l.close()
	a := l.bind(alice)
	for _, tt := range []struct {
		src, dst identity.NodeID
		want     error
	}{
		{bob, alice, nil},
		{bob, self, nil},
		{bob, nowhere, ErrNoRoute},
		{self, alice, ErrNoRoute},
	} {
		if err := l.s.Inject(newFrame(tt.src, tt.dst, "x")); !errors.Is(err, tt.want) {
			t.Errorf("from %v to %v: %v, want %v", tt.src, tt.dst, err, tt.want)
		}
	}
	synctest.Wait()
	if len(a.frames) != 1 || len(l.delivered) != 1 {
		t.Errorf("alice got %v, the relay %v", a.frames, l.delivered)
	}
}

func TestCloseEndsAllPorts(t *testing.T) { synctest.Test(t, testClose) }
func testClose(t *testing.T) {
	l := newLab(t, Config{Forwarding: new(Forwarding)})
	a, b := l.bind(alice), l.attach(PortConfig{})
	l.close()
	for _, n := range []*neighbour{a, b} {
		if err := n.port.Err(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("port ended with %v, want net.ErrClosed", err)
		}
	}
	ours, theirs := simnet.NewPipe(simnet.Impairment{}, simnet.Impairment{}, 1)
	defer theirs.Close()
	p := l.s.Attach(ours, PortConfig{})
	<-p.Done()
	if len(l.s.Ports()) != 0 {
		t.Errorf("%d ports are left", len(l.s.Ports()))
	}
}

func TestCorrespondentsAreBounded(t *testing.T) {
	var c correspondents
	for i := range identity.NodeID(maxCorrespondents + 10) {
		c.add(i + 1)
		c.add(i + 1)
	}
	ids := c.snapshot()
	if len(ids) != maxCorrespondents || slices.Contains(ids, 10) || !slices.Contains(ids, 11) {
		t.Errorf("%d are known, want %d, without the oldest ten", len(ids), maxCorrespondents)
	}
}

func TestDeparturesAreBounded(t *testing.T) {
	var d departures
	now := time.Unix(1, 0)
	for i := range identity.NodeID(maxDeparted + 10) {
		d.add(i+1, new(correspondents), 0, now)
	}
	has := func(id identity.NodeID, now time.Time) bool { _, ok := d.has(id, now); return ok }
	if len(d.nodes) != maxDeparted || has(10, now) || !has(11, now) {
		t.Errorf("%d are known, want %d, without the oldest ten", len(d.nodes), maxDeparted)
	}
	for range 3 * maxDeparted { // one node that comes and goes
		d.add(11, d.take(11), 0, now)
	}
	if !has(11, now) || len(d.nodes) != maxDeparted || len(d.order) > 2*maxDeparted {
		t.Errorf("a node that comes and goes is forgotten, or costs memory: %d entries", len(d.order))
	}
	if has(11, now.Add(departedFor)) || len(d.nodes) != 0 {
		t.Errorf("%d are still known after %v", len(d.nodes), departedFor)
	}
}

func TestASwitchCanBeginAndCeaseToForward(t *testing.T) { synctest.Test(t, testSetForward) }

func testSetForward(t *testing.T) {
	l := newLab(t, Config{})
	defer l.close()
	a, b := l.bind(alice), l.bind(bob)
	for i, on := range []bool{false, true, false} {
		l.s.SetForwarding(forwardingIf(on))
		a.send(alice, bob, "x")
		if got := len(b.frames) > 0; got != on {
			t.Errorf("step %d: forwarded %v, want %v", i, got, on)
		}
		b.frames = nil
	}
}
