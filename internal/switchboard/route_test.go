package switchboard

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/simnet"
)

// path is what sessions want of ports and routes.
type path interface {
	Ready(w interface{ Wake() }) bool
	Send(f *frame.Frame) error
	MaxPacket() int
	Neighbour() bool
	String() string
}

func TestRoutesToOnePeerAreEqual(t *testing.T) {
	s := New(Config{Self: self})
	var a, b, c path = s.Route(alice), s.Route(alice), s.Route(bob)
	if a != b || a == c {
		t.Error("routes are not told apart by their peer alone")
	}
}

func TestRouteFollowsTheLinks(t *testing.T) { synctest.Test(t, testRouteFollows) }
func testRouteFollows(t *testing.T) {
	l := newLab(t, Config{})
	defer l.close()
	r, w := l.s.Route(alice), &wakes{}
	send := func(want error) {
		t.Helper()
		if err := r.Send(newFrame(0, alice, "x")); !errors.Is(err, want) {
			t.Errorf("Send returned %v, want %v", err, want)
		}
		synctest.Wait()
	}
	if first, second := r.Ready(w), r.Ready(w); first || second || r.MaxPacket() != minMaxPacket || r.String() != "no route" {
		t.Errorf("without links the route is ready, or carries %d bytes over %q", r.MaxPacket(), r)
	}
	send(ErrNoRoute)

	// A relay.
	first := l.attach(PortConfig{Uplink: true, Name: "relay.example.org:9999"})
	if w.n != 0 || r.Ready(w) {
		t.Error("a relay that has proven nothing makes the route ready")
	}
	l.s.Bind(first.port, 0xe1)
	if w.n != 1 || !r.Ready(w) || r.Neighbour() || r.String() != "relay relay.example.org:9999" {
		t.Errorf("woken %d times for a route over %q, want once", w.n, r)
	}
	send(nil)
	if len(first.frames) != 1 || first.frames[0].src != self {
		t.Errorf("the relay got %v", first.frames)
	}

	// A second relay is the reserve.
	second := l.attach(PortConfig{Uplink: true})
	l.s.Bind(second.port, 0xe2)
	send(nil)
	_ = first.link.Close()
	synctest.Wait()
	send(nil)
	if len(first.frames) != 2 || len(second.frames) != 1 {
		t.Errorf("first relay got %v, second %v", first.frames, second.frames)
	}

	// A direct link is better.
	direct := l.bind(alice)
	if !r.Neighbour() || r.Port() != direct.port {
		t.Errorf("route is %v, want the direct link", r)
	}
	send(nil)
	if len(direct.frames) != 1 || direct.frames[0].src != self {
		t.Errorf("alice got %v", direct.frames)
	}
	_ = direct.link.Close()
	_ = second.link.Close()
	synctest.Wait()
	send(ErrNoRoute)
}

func TestWaiterOfADeadRouteIsToldOfAnother(t *testing.T) { synctest.Test(t, testWaiterMoves) }
func testWaiterMoves(t *testing.T) {
	l := newLab(t, Config{Link: link.Config{QueueFrames: 2}})
	defer l.close()
	for _, id := range []identity.NodeID{0xe1, 0xe2} {
		n := l.attachOver(simnet.Impairment{Rate: 1, Queue: 1, Backpressure: true}, PortConfig{Uplink: true})
		l.s.Bind(n.port, id)
	}
	r, w := l.s.Route(alice), &wakes{}
	for r.Send(newFrame(0, alice, "x")) == nil {
		synctest.Wait()
	}
	if r.Ready(w) {
		t.Fatal("a full link is ready")
	}
	l.ends[0].port.CloseWithError(errors.New("gone"))
	synctest.Wait()
	if w.n != 1 || !r.Ready(w) {
		t.Errorf("woken %d times when the first relay died, want once", w.n)
	}
}

func TestWaitersForRoutesAreBounded(t *testing.T) {
	s := New(Config{Self: self})
	w := &wakes{}
	for id := range identity.NodeID(maxAwaited + 10) {
		s.Route(id + 1000).Ready(w)
	}
	if len(s.waiters) != maxAwaited || w.n != 10 {
		t.Errorf("%d peers are awaited and %d waiters were woken early, want %d and 10", len(s.waiters), w.n, maxAwaited)
	}
}

func TestNoFramesToThisNode(t *testing.T) {
	s := New(Config{Self: self})
	r := s.Route(self)
	if err := r.Send(newFrame(0, self, "x")); !errors.Is(err, ErrSelf) || !r.Ready(&wakes{}) {
		t.Errorf("Send returned %v, want ErrSelf at once", err)
	}
}

func TestPortIsAPathToItsNeighbour(t *testing.T) { synctest.Test(t, testPortPath) }
func testPortPath(t *testing.T) {
	l := newLab(t, Config{})
	defer l.close()
	n := l.attachOver(simnet.Impairment{MaxPacket: 1300}, PortConfig{})
	var p path = n.port
	if !p.Ready(&wakes{}) || p.MaxPacket() != 1300 || !p.Neighbour() || p.String() != "sim b:0" {
		t.Errorf("path %v carries %d bytes", p, p.MaxPacket())
	}
	if err := p.Send(newFrame(0, 0, "hello")); err != nil {
		t.Error(err)
	}
	if err := p.Send(newFrame(0, 0, string(make([]byte, 1301)))); !errors.Is(err, ErrTooBig) {
		t.Errorf("Send returned %v, want ErrTooBig", err)
	}
	synctest.Wait()
	if len(n.frames) != 1 || n.frames[0] != (got{self, 0, frame.DefaultHopLimit, "hello"}) {
		t.Errorf("the neighbour got %v", n.frames)
	}
}
