package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/simnet"
)

// A fleet is a lab with relays that form a backbone.
type fleet struct {
	*lab
	relays map[string]*hosted
	nodes  []*node
}

// newFleet starts a relay on the first host of each list, whose peers are those
// on the others.
func newFleet(t *testing.T, hosts ...[]string) *fleet {
	w := &fleet{lab: newLab(t), relays: make(map[string]*hosted)}
	for _, list := range hosts {
		w.start(list[0], newKey(t, "weft"), list[1:]...)
	}
	time.Sleep(settle)
	return w
}

// start starts a relay.
func (w *fleet) start(host string, c *identity.Credentials, peers ...string) *hosted {
	s := new(Server)
	for _, p := range peers {
		s.Peers = append(s.Peers, p+":9999")
	}
	w.relays[host] = w.relay(host, c, s)
	return w.relays[host]
}

// line is three relays of which the first and the last have no link.
func line(t *testing.T) *fleet {
	return newFleet(t, []string{"a", "b"}, []string{"b", "c"}, []string{"c"})
}

// triangle is three relays, each with a link to both others.
func triangle(t *testing.T) *fleet {
	return newFleet(t, []string{"a", "b", "c"}, []string{"b", "c"}, []string{"c"})
}

// add starts a node that echoes, without any relay.
func (w *fleet) add(host string, names ...string) *node {
	n := w.node(host, newKey(w.t, "weft", names...))
	n.parts.Hooks.Watch(&echoer{w.lab})
	w.nodes = append(w.nodes, n)
	return n
}

// at starts a node that echoes, registered at a relay.
func (w *fleet) at(relay, host string, names ...string) (*node, *registration) {
	w.t.Helper()
	n := w.add(host, names...)
	return n, w.register(n, relay+":9999", 1)
}

// close ends everything.
func (w *fleet) close() {
	for _, n := range w.nodes {
		n.close()
	}
	for _, r := range w.relays {
		w.stop(r)
	}
	w.lab.close()
}

// wantAt checks where all relays believe a node to be; 0 is nowhere.
func (w *fleet) wantAt(id, relay identity.NodeID) {
	w.t.Helper()
	for host, r := range w.relays {
		if got, _ := r.relay().directory.RelayOf(id); got != relay {
			w.t.Errorf("relay %s believes node %v to be at %v, want %v", host, id, got, relay)
		}
	}
}

func TestNodesMeetOverTheBackbone(t *testing.T) {
	for name, relays := range map[string]func(*testing.T) *fleet{"line": line, "triangle": triangle} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testMeet(t, relays(t)) }) })
	}
}

func testMeet(t *testing.T, w *fleet) {
	defer w.close()
	x, rx := w.at("a", "x")
	y, ry := w.at("c", "y", "kv-1")
	time.Sleep(100 * time.Millisecond)
	w.wantAt(x.id(), rx.relay)
	w.wantAt(y.id(), ry.relay)
	found, err := rx.client.Lookup(t.Context(), identity.Target{Name: "kv-1"})
	if err != nil || len(found) != 1 || found[0].ID != y.id() {
		t.Errorf("look-up of a name on another relay: %v, %v", found, err)
	}
	for _, to := range []identity.NodeID{y.id(), ry.relay} {
		s, err := x.parts.Endpoint.Dial(t.Context(), identity.Target{ID: to})
		if err != nil {
			for h, r := range w.relays {
				at, ok := r.relay().directory.RelayOf(to)
				t.Logf("%s %v: %v %v %+v %+v", h, r.id(), at, ok, r.Stats().Backbone, r.Relays())
			}
			t.Fatalf("to %v: %v", to, err)
		}
		if _, err := s.Ping(t.Context()); err != nil {
			t.Errorf("ping of %v: %v", to, err)
		}
	}
	stream, err := w.open(x, y.id())
	if err != nil {
		t.Fatal(err)
	}
	w.roundTrip(stream, strings.Repeat("over the backbone ", 100000))
	if _, err := w.open(x, 12345); !errors.As(err, new(*session.UnreachableError)) {
		t.Errorf("dial of nobody: %v", err)
	}
}

func TestRelaysTellNodesOfOtherRelays(t *testing.T) { synctest.Test(t, testTellRelays) }
func testTellRelays(t *testing.T) {
	w := line(t)
	defer w.close()
	_, r := w.at("a", "x")
	list := func() (addrs []string) {
		t.Helper()
		time.Sleep(settle)
		var last *control.Relays
		for len(r.pushed) > 0 {
			if m, ok := (<-r.pushed).(*control.Relays); ok {
				last = m
			}
		}
		if last == nil {
			return nil
		}
		for _, relay := range last.Relays {
			addrs = append(addrs, relay.Addrs...)
		}
		slices.Sort(addrs)
		return addrs
	}
	if got, want := list(), []string{"b:9999", "c:9999"}; !slices.Equal(got, want) {
		t.Errorf("after the registration: %q, want %q", got, want)
	}
	d := w.start("d", newKey(t, "weft"), "c")
	if got, want := list(), []string{"b:9999", "c:9999", "d:9999"}; !slices.Equal(got, want) {
		t.Errorf("with a new one: %q, want %q", got, want)
	}
	w.stop(d)
	delete(w.relays, "d")
	if got, want := list(), []string{"b:9999", "c:9999"}; !slices.Equal(got, want) {
		t.Errorf("without it: %q, want %q", got, want)
	}
	s := w.relays["a"].Stats()
	reachable := slices.DeleteFunc(s.Relays, func(r gossip.RelayInfo) bool { return !r.Reachable })
	if len(reachable) != 2 || len(s.Peers) != 1 || s.Backbone.Merged == 0 {
		t.Errorf("stats are %+v", s)
	}
}

// A node moves from one relay to another while a stream is busy: what is in
// flight is forwarded once more, and nothing is lost.
func TestAStreamGoesOnWhileItsNodeMoves(t *testing.T) {
	for name, relays := range map[string]func(*testing.T) *fleet{"line": line, "triangle": triangle} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testMove(t, relays(t)) }) })
	}
}

func testMove(t *testing.T, w *fleet) {
	defer w.close()
	x, _ := w.at("a", "x")
	y, old := w.at("b", "y")
	time.Sleep(100 * time.Millisecond)
	stream, err := w.open(x, y.id())
	if err != nil {
		t.Fatal(err)
	}
	w.roundTrip(stream, "before")
	for seq, relay := range []string{"c", "b", "a", "c"} {
		now := w.link(y, relay+":9999") // as a spare
		if err := now.register(1, uint64(seq+2)); err != nil {
			t.Fatal(err)
		}
		old.close()
		old = now
		began := time.Now()
		w.roundTrip(stream, strings.Repeat("while it moves ", 10000))
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("after the move to %s: %v", relay, took)
		}
		w.wantAt(y.id(), now.relay)
	}
}

// A frame that is on its way to a relay when its node moves on is forwarded by
// that relay; the session need not send it again.
func TestFramesInFlightFollowTheNode(t *testing.T) { synctest.Test(t, testInFlight) }
func testInFlight(t *testing.T) {
	w := triangle(t)
	defer w.close()
	y, r := w.at("b", "y")
	now := w.link(y, "c:9999")
	time.Sleep(time.Second)
	before := y.parts.Switch.Counters().Delivered
	f := frame.New(100)
	f.SetSrc(12345)
	f.SetDst(y.id())
	if _, hop := w.relays["a"].relay().nextHop(y.id(), nil); hop {
		t.Fatal("A has no link to B")
	}
	if err := w.relays["a"].parts.Switch.Inject(f); err != nil { // takes 10 ms to B
		t.Fatal(err)
	}
	if err := now.register(1, 2); err != nil { // takes 20 ms
		t.Fatal(err)
	}
	r.close()
	f = frame.New(100)
	f.SetSrc(12345)
	f.SetDst(y.id())
	_ = w.relays["b"].parts.Switch.Inject(f) // B has heard by now
	time.Sleep(time.Second)
	if got := y.parts.Switch.Counters().Delivered - before; got < 2 {
		t.Errorf("%d frames arrived, want both", got)
	}
}

func TestADialFailsAtOnceWhenTheNodeHasLeftItsRelay(t *testing.T) { synctest.Test(t, testRemoteGone) }
func testRemoteGone(t *testing.T) {
	w := line(t)
	defer w.close()
	x, _ := w.at("a", "x")
	y, r := w.at("c", "y")
	time.Sleep(100 * time.Millisecond)
	stream, err := w.open(x, y.id())
	if err != nil {
		t.Fatal(err)
	}
	r.close()
	time.Sleep(100 * time.Millisecond)
	w.wantAt(y.id(), 0)
	z := w.add("z")
	w.register(z, "a:9999", 1)
	if _, err := w.open(z, y.id()); !errors.As(err, new(*session.UnreachableError)) {
		t.Errorf("dial: %v", err)
	}
	if n := w.relays["a"].parts.Switch.Counters().Notices; n == 0 {
		t.Error("nobody was told")
	}
	w.register(y, "b:9999", 2)
	w.roundTrip(stream, "it is back")
}

// One relay dies, its nodes go to others, and streams between all go on.
func TestARelayDies(t *testing.T) { synctest.Test(t, testRelayDies) }
func testRelayDies(t *testing.T) {
	w := triangle(t)
	defer w.close()
	x, _ := w.at("a", "x")
	y, _ := w.at("b", "y")
	spare := w.link(y, "c:9999")
	time.Sleep(100 * time.Millisecond)
	stream, err := w.open(x, y.id())
	if err != nil {
		t.Fatal(err)
	}
	b := w.relays["b"]
	creds := b.parts.Credentials
	w.kill(b)
	if err := spare.register(1, 2); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	w.roundTrip(stream, strings.Repeat("after the death ", 10000))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stream stood still for %v", took)
	}
	time.Sleep(gossip.DefaultGrace + settle)
	w.start("b", creds, "a", "c")
	time.Sleep(settle)
	w.wantAt(y.id(), spare.relay)
	z, _ := w.at("b", "z")
	time.Sleep(time.Second)
	if _, err := w.open(z, y.id()); err != nil {
		t.Errorf("over the restarted relay: %v", err)
	}
}

func TestABackboneHealsAfterAPartition(t *testing.T) { synctest.Test(t, testPartition) }
func testPartition(t *testing.T) {
	w := line(t)
	defer w.close()
	x, rx := w.at("a", "x")
	y, _ := w.at("c", "y")
	time.Sleep(time.Second)
	for _, pair := range [][2]string{{"a", "b"}, {"b", "a"}} {
		w.net.SetPair(pair[0], pair[1], simnet.Impairment{Down: true})
	}
	time.Sleep(2 * time.Minute)
	if at, _ := w.relays["a"].relay().directory.RelayOf(y.id()); at != 0 {
		t.Errorf("after two minutes A still believes Y to be at %v", at)
	}
	z, rz := w.at("c", "z") // meanwhile
	for _, pair := range [][2]string{{"a", "b"}, {"b", "a"}} {
		w.net.SetPair(pair[0], pair[1], simnet.Impairment{Delay: delay})
	}
	time.Sleep(settle)
	w.wantAt(x.id(), rx.relay)
	w.wantAt(z.id(), rz.relay)
	stream, err := w.open(x, y.id())
	if err != nil {
		t.Fatal(err)
	}
	w.roundTrip(stream, "healed")
}

// A relay that takes no data delays what goes through it and nothing else.
func TestAStuckRelayDelaysNobodyElse(t *testing.T) { synctest.Test(t, testStuck) }
func testStuck(t *testing.T) {
	w := triangle(t)
	defer w.close()
	x, _ := w.at("a", "x")
	y, _ := w.at("b", "y")
	far, _ := w.at("c", "far")
	time.Sleep(time.Second)
	clean, err := w.open(x, y.id())
	if err != nil {
		t.Fatal(err)
	}
	blocked, err := w.open(x, far.id())
	if err != nil {
		t.Fatal(err)
	}
	for _, relay := range []string{"a", "b"} {
		w.net.SetPair(relay, "c", simnet.Impairment{Rate: 1, Queue: 1, Backpressure: true})
	}
	w.wg.Go(func() { _, _ = io.Copy(blocked, strings.NewReader(strings.Repeat("x", 8<<20))) })
	defer func() { _ = blocked.Close() }()
	time.Sleep(time.Second)
	for range 20 {
		began := time.Now()
		w.roundTrip(clean, "not that way")
		if took := time.Since(began); took > 6*delay+time.Millisecond {
			t.Errorf("a round trip took %v", took)
		}
		_, _ = w.at("a", fmt.Sprintf("n%d", time.Now().UnixNano()))
		time.Sleep(100 * time.Millisecond)
	}
}

// Everybody in a ring of relays sends to everybody: nothing locks up, although
// the links are slow and their queues full.
func TestARingOfRelaysDoesNotLockUp(t *testing.T) { synctest.Test(t, testRing) }
func testRing(t *testing.T) {
	const relays = 5
	name := func(i int) string { return string(rune('a' + (i+relays)%relays)) }
	var hosts [][]string
	for i := range relays {
		hosts = append(hosts, []string{name(i), name(i + 1)})
	}
	w := newFleet(t, hosts...)
	defer w.close()
	for i := range relays {
		imp := simnet.Impairment{Delay: delay, Rate: 1 << 20, Backpressure: true}
		w.net.SetPair(name(i), name(i+1), imp)
		w.net.SetPair(name(i+1), name(i), imp)
	}
	var nodes []*node
	for i := range relays {
		n, _ := w.at(name(i), "n"+name(i))
		nodes = append(nodes, n)
	}
	time.Sleep(time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	done := make(chan error)
	for i, from := range nodes {
		for j, to := range nodes {
			if i == j {
				continue
			}
			w.wg.Go(func() { done <- w.transfer(ctx, from, to.id(), 256<<10) })
		}
	}
	for range relays * (relays - 1) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// transfer sends n bytes to an echoer and reads them back.
func (w *fleet) transfer(ctx context.Context, from *node, to identity.NodeID, n int) error {
	s, err := from.parts.Endpoint.Dial(ctx, identity.Target{ID: to})
	if err != nil {
		return err
	}
	stream, err := s.OpenStream(ctx, 80)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = stream.Reset(1) })
	defer stop()
	w.wg.Go(func() {
		_, _ = stream.Write(make([]byte, n))
		_ = stream.CloseWrite()
	})
	got, err := io.Copy(io.Discard, stream)
	if err == nil && got != int64(n) {
		err = fmt.Errorf("%d bytes came back, want %d", got, n)
	}
	return err
}

// The relays' tables contradict each other: frames go round a few times at
// most, and notices too.
func TestContradictoryTablesDoNotLoopForever(t *testing.T) { synctest.Test(t, testContradiction) }
func testContradiction(t *testing.T) {
	w := triangle(t)
	defer w.close()
	time.Sleep(time.Second)
	ghost := newKey(t, "weft").Key().Public()
	next := map[string]string{"a": "b", "b": "c", "c": "a"}
	for at, to := range next {
		err := w.relays[at].relay().directory.Put(identity.Peer{ID: ghost.ID(), Key: ghost},
			gossip.Attachment{Relay: w.relays[to].id(), Epoch: 1 << 62})
		if err != nil {
			t.Fatal(err)
		}
	}
	var before uint64
	for _, r := range w.relays {
		before += r.parts.Switch.Counters().Forwarded
	}
	const frames = 10
	for range frames {
		f := frame.New(100)
		f.SetSrc(12345)
		f.SetDst(ghost.ID())
		_ = w.relays["a"].parts.Switch.Inject(f)
	}
	notice := frame.NewNotice(frame.Notice{Code: frame.NoticeBack, Node: 12345})
	notice.SetDst(ghost.ID())
	_ = w.relays["a"].parts.Switch.Inject(notice)
	time.Sleep(settle)
	var after, limited uint64
	for _, r := range w.relays {
		after += r.parts.Switch.Counters().Forwarded
		limited += r.parts.Switch.Counters().DroppedHopLimit
	}
	if limited != frames || after-before > 12*frames {
		t.Errorf("%d of %d frames were stopped, after %d hops in all", limited, frames, after-before)
	}
}

// A relay that keeps a node's record to itself, and its frames: only that node
// suffers, until it registers elsewhere.
func TestALiarHarmsOnlyWhoTrustedItUntilTheyMove(t *testing.T) { synctest.Test(t, testLiar) }
func testLiar(t *testing.T) {
	w := triangle(t)
	defer w.close()
	liar := w.relays["c"]
	x, _ := w.at("a", "x")
	y, _ := w.at("b", "y")
	victim, r := w.at("c", "victim")
	time.Sleep(time.Second)
	// The liar forgets to say that the victim has left, and swallows its frames.
	liar.relay().mu.Lock()
	delete(liar.relay().nodes, victim.id())
	liar.relay().mu.Unlock()
	r.close()
	time.Sleep(time.Second)
	w.wantAt(victim.id(), liar.id())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := x.parts.Endpoint.Dial(ctx, identity.Target{ID: victim.id()}); err == nil {
		t.Error("the victim is not reachable, but was reached")
	}
	// It says so of another node, too, whose signature it has not.
	key := y.parts.Credentials.Key().Public()
	if err := liar.relay().backbone.Publish(identity.Peer{ID: key.ID(), Key: key},
		gossip.Attachment{Relay: liar.id(), Epoch: 1 << 62}, make([]byte, 64), nil); !errors.Is(err, gossip.ErrSignature) {
		t.Errorf("an unsigned record was published: %v", err)
	}
	stream, err := w.open(x, y.id())
	if err != nil {
		t.Fatalf("a node that has nothing to do with the liar: %v", err)
	}
	w.roundTrip(stream, "as ever")
	now := w.register(victim, "b:9999", 2)
	time.Sleep(100 * time.Millisecond)
	w.wantAt(victim.id(), now.relay)
	if stream, err = w.open(x, victim.id()); err != nil {
		t.Fatal(err)
	}
	w.roundTrip(stream, "free")
}
