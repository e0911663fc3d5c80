package switchboard

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// The relays of the tests, and nodes that are attached to them.
const (
	relayX identity.NodeID = 0x1000
	relayY identity.NodeID = 0x2000
	xena   identity.NodeID = 0x1001
	yuri   identity.NodeID = 0x2001
)

// backboneLab is a relay's switch whose table a test fills.
type backboneLab struct {
	*lab
	at        map[identity.NodeID]identity.NodeID // node -> relay
	elsewhere []got
}

func newBackboneLab(t *testing.T) *backboneLab {
	b := &backboneLab{at: map[identity.NodeID]identity.NodeID{xena: relayX, yuri: relayY}}
	b.lab = newLab(t, Config{Forwarding: &Forwarding{
		NextHop: func(dst identity.NodeID, _ *Port) (*Port, bool) {
			relay, known := b.at[dst]
			if p := b.s.Port(relay); known && p != nil {
				return p, false
			}
			return nil, known
		},
		Elsewhere: func(f *frame.Frame) bool {
			b.elsewhere = append(b.elsewhere, got{f.Src(), f.Dst(), f.HopLimit(), string(f.Packet())})
			f.Release()
			return true
		},
	}})
	return b
}

// relay attaches another relay that has proven to be one.
func (b *backboneLab) relay(id identity.NodeID) *neighbour {
	n := b.attach(PortConfig{Claimed: id})
	n.port.Trust()
	b.s.Bind(n.port, id)
	return n
}

func TestARelaySpeaksForItsNodesOnlyOnceItIsTrusted(t *testing.T) { synctest.Test(t, testTrust) }
func testTrust(t *testing.T) {
	b := newBackboneLab(t)
	defer b.close()
	x, a := b.bind(relayX), b.bind(alice)
	x.send(xena, alice, "before")
	notice := frame.NewNotice(frame.Notice{Code: frame.NoticeUnknown, Node: xena})
	notice.SetDst(alice)
	_ = x.link.Send(notice.Clone())
	synctest.Wait()
	if len(a.frames)+len(a.notices) != 0 || b.s.Counters().DroppedSource != 1 || b.s.Counters().DroppedNotice != 1 {
		t.Errorf("before: alice got %v, %v; counters %+v", a.frames, a.notices, b.s.Counters())
	}
	x.port.Trust()
	x.send(xena, alice, "after")
	_ = x.link.Send(notice)
	synctest.Wait()
	if len(a.frames) != 1 || len(a.notices) != 1 || a.nodes[0] != 0 {
		t.Errorf("after: alice got %v, %v", a.frames, a.notices)
	}
	x.send(self, alice, "in our name")
	if len(a.frames) != 1 {
		t.Error("a relay spoke in this one's name")
	}
}

// A relay may be a node of another, too: neither of its links ends the other, and
// the one between relays is used first.
func TestATrustedPortAndAnotherOfOneNode(t *testing.T) {
	for name, first := range map[string]bool{"trusted first": true, "trusted second": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBackboneLab(t)
				defer b.close()
				var plain, trusted *neighbour
				for _, relay := range []bool{first, !first} {
					if relay {
						trusted = b.relay(relayX)
					} else {
						plain = b.bind(relayX)
					}
				}
				second := b.relay(relayX)
				for _, want := range []*neighbour{second, trusted, plain} {
					if got := b.s.Port(relayX); got != want.port {
						t.Fatalf("the port is %v, want %v", got, want.port)
					}
					_ = want.port.Close()
					synctest.Wait()
				}
				if b.s.Port(relayX) != nil || len(b.s.spares) != 0 {
					t.Errorf("a port stays: %v, %v", b.s.Port(relayX), b.s.spares)
				}
			})
		})
	}
}

func TestATrustedPortIsNotThrottled(t *testing.T) { synctest.Test(t, testTrustedLimit) }
func testTrustedLimit(t *testing.T) {
	b := newBackboneLab(t)
	defer b.close()
	fw := *b.s.forwarding.Load()
	fw.Limits.PacketsPerSecond = 1
	b.s.SetForwarding(&fw)
	x, a := b.relay(relayX), b.bind(alice)
	for range 10 {
		x.send(xena, alice, "x")
	}
	if len(a.frames) != 10 {
		t.Errorf("%d of 10 frames from another relay passed", len(a.frames))
	}
}

func TestFramesTakeAtMostAFewHopsInTheBackbone(t *testing.T) { synctest.Test(t, testBackboneHops) }
func testBackboneHops(t *testing.T) {
	b := newBackboneLab(t)
	defer b.close()
	x, a := b.relay(relayX), b.bind(alice)
	a.send(alice, xena, "there")
	a.send(alice, yuri, "over the mesh")
	if len(x.frames) != 1 || x.frames[0].hops != backboneHops {
		t.Errorf("relay X got %v, want a hop limit of %d", x.frames, backboneHops)
	}
	if len(b.elsewhere) != 1 || b.elsewhere[0].hops != backboneHops {
		t.Errorf("elsewhere went %v", b.elsewhere)
	}
}

func TestAFrameForANodeThatMovedIsForwardedOnceMore(t *testing.T) { synctest.Test(t, testMoved) }
func testMoved(t *testing.T) {
	b := newBackboneLab(t)
	defer b.close()
	x, y := b.relay(relayX), b.relay(relayY)
	x.send(xena, yuri, "yuri was here")
	if len(y.frames) != 1 || y.frames[0].hops != backboneHops {
		t.Errorf("relay Y got %v", y.frames)
	}
	// The tables contradict each other: X thinks that its own node is here.
	x.send(yuri, xena, "back")
	if len(x.frames) != 0 || b.s.Counters().DroppedLoop != 1 {
		t.Errorf("relay X got %v, counters are %+v", x.frames, b.s.Counters())
	}
	for what, inject := range map[string]*frame.Frame{
		"data":   newFrame(xena, yuri, "by mesh"),
		"notice": frame.NewNotice(frame.Notice{Code: frame.NoticeGone, Node: alice}),
	} {
		inject.SetDst(yuri)
		if err := b.s.Inject(inject); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	synctest.Wait()
	if len(y.frames) != 2 || len(y.notices) != 1 || y.nodes[0] != yuri {
		t.Errorf("relay Y got %v, %v", y.frames, y.notices)
	}
}

func TestRefusalsFindTheirWayBack(t *testing.T) { synctest.Test(t, testRefusalBack) }
func testRefusalBack(t *testing.T) {
	b := newBackboneLab(t)
	defer b.close()
	x := b.relay(relayX)
	if err := b.s.Inject(newFrame(xena, nowhere, "x")); err == nil {
		t.Error("a frame for nobody was injected")
	}
	if err := b.s.Inject(newFrame(yuri, nowhere, "x")); err == nil {
		t.Error("a frame for nobody was injected")
	}
	synctest.Wait()
	want := frame.Notice{Code: frame.NoticeUnknown, Node: nowhere}
	if !slices.Equal(x.notices, []frame.Notice{want}) || !slices.Equal(x.nodes, []identity.NodeID{xena}) {
		t.Errorf("relay X was told %v for %v", x.notices, x.nodes)
	}
	if len(b.elsewhere) != 1 || b.elsewhere[0].dst != yuri {
		t.Errorf("elsewhere went %v", b.elsewhere)
	}
	// A notice that nobody can take does not make another one.
	n := frame.NewNotice(want)
	n.SetDst(nowhere)
	_ = b.s.Inject(n)
	n = frame.NewNotice(want)
	n.SetDst(yuri)
	n.SetHopLimit(0)
	_ = b.s.Inject(n)
	if c := b.s.Counters(); c.DroppedNotice != 2 {
		t.Errorf("counters are %+v", c)
	}
}

func TestNodesLearnWhatBecameOfNodesOnOtherRelays(t *testing.T) { synctest.Test(t, testRemoteNotices) }
func testRemoteNotices(t *testing.T) {
	b := newBackboneLab(t)
	defer b.close()
	b.relay(relayX)
	a, c := b.bind(alice), b.bind(carol)
	a.send(alice, xena, "hello")
	a.send(alice, yuri, "hello")
	var want []frame.Notice
	expect := func(what string, n ...frame.Notice) {
		t.Helper()
		want = append(want, n...)
		synctest.Wait()
		if !slices.Equal(a.notices, want) {
			t.Errorf("%s: alice was told %v, want %v", what, a.notices, want)
		}
	}
	b.at[yuri] = relayX
	b.s.NodeMoved(yuri)
	expect("moved", frame.Notice{Code: frame.NoticeBack, Node: yuri})
	delete(b.at, xena)
	b.s.NodeGone(xena, frame.GoneHungUp)
	gone := frame.Notice{Code: frame.NoticeGone, Node: xena, Arg: frame.GoneHungUp}
	expect("gone", gone)
	a.send(alice, xena, "are you there?")
	expect("asked about", gone)
	b.at[xena] = relayY
	b.s.NodeMoved(xena)
	expect("back", frame.Notice{Code: frame.NoticeBack, Node: xena})
	b.s.NodeGone(xena, 0)
	expect("gone again", frame.Notice{Code: frame.NoticeGone, Node: xena})
	if len(c.notices) != 0 {
		t.Errorf("carol, who talked to nobody, was told %v", c.notices)
	}
}

func TestANodeThatLeftForAnotherRelayIsNotGone(t *testing.T) { synctest.Test(t, testLeftForAnother) }
func testLeftForAnother(t *testing.T) {
	b := newBackboneLab(t)
	defer b.close()
	a, n := b.bind(alice), b.bind(bob)
	a.send(alice, bob, "x")
	b.at[bob] = relayY
	_ = n.port.Close()
	synctest.Wait()
	if want := []frame.Notice{{Code: frame.NoticeBack, Node: bob}}; !slices.Equal(a.notices, want) {
		t.Errorf("alice was told %v, want %v", a.notices, want)
	}
	a.send(alice, bob, "y")
	if len(b.elsewhere) != 1 {
		t.Errorf("elsewhere went %v", b.elsewhere)
	}
	// It comes here again, and what the directory says late does not matter.
	n = b.bind(bob)
	b.s.NodeGone(bob, 0)
	a.send(alice, bob, "z")
	if len(n.frames) != 1 || len(a.notices) != 1 {
		t.Errorf("bob got %v; alice was told %v", n.frames, a.notices)
	}
}

func TestTwoLinksBetweenRelaysAreHarmless(t *testing.T) { synctest.Test(t, testTwoLinks) }
func testTwoLinks(t *testing.T) {
	b := newBackboneLab(t)
	defer b.close()
	first, second := b.relay(relayX), b.relay(relayX)
	third := b.relay(relayX)
	a := b.bind(alice)
	for i, n := range []*neighbour{first, second, third} {
		n.send(xena, alice, "over any")
		if len(a.frames) != i+1 {
			t.Errorf("link %d is not used", i)
		}
	}
	_ = second.port.Close()
	a.send(alice, xena, "x")
	_ = third.port.Close()
	a.send(alice, xena, "y")
	if len(third.frames) != 1 || len(first.frames) != 1 || b.s.Port(relayX) != first.port || len(b.unbound) != 0 {
		t.Errorf("frames went %v, %v; unbound %v", third.frames, first.frames, b.unbound)
	}
	_ = first.port.Close()
	if !slices.Equal(b.unbound, []identity.NodeID{relayX}) || len(b.s.spares) != 0 {
		t.Errorf("unbound %v, spares %v", b.unbound, b.s.spares)
	}
}

func TestRemotesAreBounded(t *testing.T) {
	var r remotes
	before := r.mark(1)
	for i := range identity.NodeID(maxRemote + 10) {
		r.add(i+1, alice)
	}
	if len(r.nodes) != maxRemote || r.mark(1) == before {
		t.Errorf("%d are remembered, want %d, and a new mark once one is forgotten", len(r.nodes), maxRemote)
	}
}

func TestTheRelayIsToldWhomItThrottles(t *testing.T) { synctest.Test(t, testOnThrottled) }
func testOnThrottled(t *testing.T) {
	told := make(map[identity.NodeID][]uint64)
	l := newLab(t, Config{Forwarding: &Forwarding{
		Limits:      Limits{PacketsPerSecond: 10},
		OnThrottled: func(id identity.NodeID, dropped uint64) { told[id] = append(told[id], dropped) },
	}})
	defer l.close()
	a := l.bind(alice)
	l.bind(bob)
	for range 2 {
		for range 30 {
			a.send(alice, bob, "x")
		}
		time.Sleep(throttledEvery)
	}
	if !slices.Equal(told[alice], []uint64{1, 21}) || a.port.Counters().Throttled != 40 {
		t.Errorf("told %v, counted %d", told, a.port.Counters().Throttled)
	}
}
