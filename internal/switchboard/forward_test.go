package switchboard

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/simnet"
)

// ruleTest is a frame from alice's port and what becomes of it. Bob is bound.
type ruleTest struct {
	name      string
	leaf      bool // the switch does not forward
	cfg       PortConfig
	bound     bool // alice's port is
	src, dst  identity.NodeID
	kind      frame.Type
	hops      int // hop limit + 1; zero is the default
	packet    string
	delivered bool
	forwarded bool
	notice    frame.NoticeCode // back to alice's port
	count     func(Counters) uint64
}

func delivered(c Counters) uint64   { return c.Delivered }
func forwarded(c Counters) uint64   { return c.Forwarded }
func wrongSource(c Counters) uint64 { return c.DroppedSource }
func denied(c Counters) uint64      { return c.DroppedDenied }
func notForUs(c Counters) uint64    { return c.DroppedNotForUs }
func hopLimit(c Counters) uint64    { return c.DroppedHopLimit }
func unknown(c Counters) uint64     { return c.DroppedUnknown }
func tooBig(c Counters) uint64      { return c.DroppedTooBig }
func loop(c Counters) uint64        { return c.DroppedLoop }
func unknownType(c Counters) uint64 { return c.DroppedUnknownType }
func badNotice(c Counters) uint64   { return c.DroppedNotice }

var (
	claimsAlice = PortConfig{Claimed: alice}
	uplink      = PortConfig{Claimed: alice, Uplink: true}
)

var ruleTests = []ruleTest{
	{name: "unbound, to the neighbour", cfg: claimsAlice, src: alice, dst: 0, delivered: true, count: delivered},
	{name: "unbound, to this node", cfg: claimsAlice, src: alice, dst: self, delivered: true, count: delivered},
	{name: "unbound without a claim, to this node", src: carol, dst: self, delivered: true, count: delivered},
	{name: "unbound, to another node", cfg: claimsAlice, src: alice, dst: bob, notice: frame.NoticeDenied, count: denied},
	{name: "unbound uplink, to another node", cfg: uplink, src: carol, dst: bob, notice: frame.NoticeDenied, count: denied},
	{name: "unbound, source not as claimed", cfg: claimsAlice, src: carol, dst: self, count: wrongSource},
	{name: "bound, to this node", cfg: claimsAlice, bound: true, src: alice, dst: self, delivered: true, count: delivered},
	{name: "bound, to another node", cfg: claimsAlice, bound: true, src: alice, dst: bob, forwarded: true, count: forwarded},
	{name: "bound, forged source", cfg: claimsAlice, bound: true, src: carol, dst: bob, count: wrongSource},
	{name: "bound, forged source to this node", cfg: claimsAlice, bound: true, src: carol, dst: self, count: wrongSource},
	{name: "source 0", cfg: uplink, bound: true, src: 0, dst: self, count: wrongSource},
	{name: "our own source comes back", cfg: uplink, bound: true, src: self, dst: self, count: wrongSource},
	{name: "uplink speaks for others", cfg: uplink, bound: true, src: carol, dst: bob, forwarded: true, count: forwarded},
	{name: "uplink speaks for others to this node", cfg: uplink, bound: true, src: carol, dst: self, delivered: true, count: delivered},
	{name: "last hop", cfg: claimsAlice, bound: true, src: alice, dst: bob, hops: 2, forwarded: true, count: forwarded},
	{name: "hop limit reached", cfg: claimsAlice, bound: true, src: alice, dst: bob, hops: 1, notice: frame.NoticeHopLimit, count: hopLimit},
	{name: "hop limit reached at this node", cfg: claimsAlice, bound: true, src: alice, dst: self, hops: 1, delivered: true, count: delivered},
	{name: "unknown destination", cfg: claimsAlice, bound: true, src: alice, dst: nowhere, notice: frame.NoticeUnknown, count: unknown},
	{name: "to the sender itself", cfg: claimsAlice, bound: true, src: alice, dst: alice, count: loop},
	{name: "too big for the egress", cfg: claimsAlice, bound: true, src: alice, dst: bob, packet: strings.Repeat("x", 1301), notice: frame.NoticeTooBig, count: tooBig},
	{name: "as big as the egress takes", cfg: claimsAlice, bound: true, src: alice, dst: bob, packet: strings.Repeat("x", 1300), forwarded: true, count: forwarded},
	{name: "not a relay", leaf: true, cfg: claimsAlice, bound: true, src: alice, dst: bob, count: notForUs},
	{name: "unknown type", cfg: claimsAlice, bound: true, src: alice, dst: bob, kind: 9, count: unknownType},
	{name: "notice from a node", cfg: claimsAlice, bound: true, src: alice, dst: 0, kind: frame.TypeNotice, count: badNotice},
	{name: "malformed notice", cfg: uplink, bound: true, src: alice, dst: 0, kind: frame.TypeNotice, count: badNotice},
}

func TestRules(t *testing.T) {
	for _, tt := range ruleTests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testRule(t, tt) })
		})
	}
}

func testRule(t *testing.T, tt ruleTest) {
	l := newLab(t, Config{Forwarding: forwardingIf(!tt.leaf)})
	defer l.close()
	a := l.attach(tt.cfg)
	if tt.bound {
		l.s.Bind(a.port, alice)
	}
	b := l.attachOver(simnet.Impairment{MaxPacket: 1300}, PortConfig{Claimed: bob})
	l.s.Bind(b.port, bob)

	f := newFrame(tt.src, tt.dst, tt.packet)
	f.SetType(tt.kind)
	if tt.hops > 0 {
		f.SetHopLimit(uint8(tt.hops - 1))
	}
	want := got{tt.src, tt.dst, f.HopLimit(), tt.packet}
	_ = a.link.Send(f)
	synctest.Wait()

	if !tt.delivered && len(l.delivered) > 0 || tt.delivered && !slices.Equal(l.delivered, []got{want}) {
		t.Errorf("delivered %v, want %v: %v", l.delivered, tt.delivered, want)
	}
	want.hops--
	if !tt.forwarded && len(b.frames) > 0 || tt.forwarded && !slices.Equal(b.frames, []got{want}) {
		t.Errorf("forwarded %v, want %v: %v", b.frames, tt.forwarded, want)
	}
	checkNotice(t, a, tt.notice, tt.dst)
	c := l.s.Counters()
	if tt.count(c) != 1 {
		t.Errorf("counters are %+v", c)
	}
	if sum := c.Delivered + c.Forwarded + c.DroppedUnknownType + c.DroppedSource + c.DroppedNotForUs + c.DroppedDenied +
		c.DroppedHopLimit + c.DroppedUnknown + c.DroppedTooBig + c.DroppedLoop + c.DroppedNotice; sum != 1 {
		t.Errorf("the frame was counted %d times: %+v", sum, c)
	}
}

func checkNotice(t *testing.T, n *neighbour, code frame.NoticeCode, about identity.NodeID) {
	t.Helper()
	want := frame.Notice{Code: code, Node: about}
	if code == frame.NoticeTooBig {
		want.Arg = 1300
	}
	if code == 0 && len(n.notices) > 0 || code != 0 && !slices.Equal(n.notices, []frame.Notice{want}) {
		t.Errorf("notices are %+v, want %+v", n.notices, want)
	}
}

func TestThrottledPortIsToldOnceASecond(t *testing.T) { synctest.Test(t, testThrottle) }
func testThrottle(t *testing.T) {
	l := newLab(t, Config{Forwarding: &Forwarding{Limits: Limits{PacketsPerSecond: 10}}})
	defer l.close()
	a, b := l.bind(alice), l.bind(bob)
	for range 50 {
		a.send(alice, bob, "x")
	}
	if len(b.frames) != 10 || l.s.Counters().DroppedThrottled != 40 {
		t.Errorf("%d frames of a burst of 50 passed a limit of 10, %d were counted", len(b.frames), l.s.Counters().DroppedThrottled)
	}
	want := []frame.Notice{{Code: frame.NoticeThrottled, Node: bob}}
	if !slices.Equal(a.notices, want) {
		t.Errorf("notices are %+v, want %+v", a.notices, want)
	}
	<-time.After(time.Second)
	b.frames = nil
	for range 50 {
		a.send(alice, bob, "x")
	}
	if len(b.frames) != 10 || len(a.notices) != 2 {
		t.Errorf("a second later %d frames passed and there are %d notices, want 10 and 2", len(b.frames), len(a.notices))
	}
	for range 50 {
		a.send(alice, self, "x")
	}
	if len(l.delivered) != 50 {
		t.Errorf("%d of 50 frames to the relay itself were delivered, want all", len(l.delivered))
	}
}

func TestByteLimitLetsTheLargestFramePass(t *testing.T) { synctest.Test(t, testByteLimit) }
func testByteLimit(t *testing.T) {
	l := newLab(t, Config{Forwarding: &Forwarding{Limits: Limits{BytesPerSecond: 1000}}})
	defer l.close()
	a, b := l.bind(alice), l.bind(bob)
	for range 5 {
		a.send(alice, bob, strings.Repeat("x", frame.MaxPacket))
	}
	if len(b.frames) != 2 {
		t.Errorf("%d frames passed, want the two that the smallest burst has room for", len(b.frames))
	}
}

func TestFullEgressQueueDropsWithoutANotice(t *testing.T) { synctest.Test(t, testFullEgress) }
func testFullEgress(t *testing.T) {
	l := newLab(t, Config{Forwarding: new(Forwarding), Link: link.Config{QueueFrames: 5}})
	defer l.close()
	a := l.bind(alice)
	slow := l.attachOver(simnet.Impairment{Rate: 1, Queue: 1, Backpressure: true}, PortConfig{Claimed: bob})
	l.s.Bind(slow.port, bob)
	c := l.bind(carol)
	for range 20 {
		a.send(alice, bob, "x")
	}
	a.send(alice, carol, "past the slow one")
	if n := l.s.Counters().DroppedQueue; n < 13 || n > 15 || len(a.notices) != 0 {
		t.Errorf("%d frames were dropped, notices are %v; want about 14 and none", n, a.notices)
	}
	if len(c.frames) != 1 {
		t.Error("a slow node held up another one")
	}
}

func TestNoticesToAPortAreLimited(t *testing.T) { synctest.Test(t, testNoticeLimit) }
func testNoticeLimit(t *testing.T) {
	l := newLab(t, Config{Forwarding: new(Forwarding)})
	defer l.close()
	a := l.bind(alice)
	for range noticeBurst + 100 {
		a.send(alice, nowhere, "x")
	}
	if len(a.notices) != noticeBurst || l.s.Counters().NoticesLimited != 100 {
		t.Errorf("%d notices, %d held back; want %d and 100", len(a.notices), l.s.Counters().NoticesLimited, noticeBurst)
	}
}

func TestForwardingAllocatesNothing(t *testing.T) {
	s := New(Config{Self: self, Forwarding: &Forwarding{Limits: Limits{BytesPerSecond: 1 << 50}}})
	defer s.Close()
	ports := make([]*Port, 2)
	for i, id := range []identity.NodeID{alice, bob} {
		ours, theirs := simnet.NewPipe(simnet.Impairment{}, simnet.Impairment{}, 1)
		defer theirs.Close()
		ports[i] = s.Attach(ours, PortConfig{Claimed: id})
		s.Bind(ports[i], id)
	}
	_ = ports[1].link.Close() // frames go all the way to a link that refuses them
	s.mu.Lock()
	s.bound.Store(bob, ports[1])
	s.mu.Unlock()
	if n := testing.AllocsPerRun(1000, func() { s.receive(ports[0], newFrame(alice, bob, "x")) }); n != 0 {
		t.Errorf("%v allocations a frame, want none", n)
	}
}
