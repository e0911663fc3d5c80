package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/identity"
)

// newLearningFleet starts relays as newFleet does, which have links to those that
// they learn of, and keys whose IDs are in the order of the lists.
func newLearningFleet(t *testing.T, servers map[string]*Server, hosts ...[]string) *fleet {
	w := &fleet{lab: newLab(t), relays: make(map[string]*hosted)}
	w.learns = true
	keys := sortedKeys(t, len(hosts))
	for i, list := range hosts {
		s := servers[list[0]]
		if s == nil {
			s = new(Server)
		}
		for _, p := range list[1:] {
			s.Peers = append(s.Peers, p+":9999")
		}
		w.relays[list[0]] = w.relay(list[0], keys[i], s)
	}
	time.Sleep(settle)
	return w
}

// sortedKeys makes credentials in the order of their node IDs.
func sortedKeys(t *testing.T, n int) []*identity.Credentials {
	keys := make([]*identity.Credentials, n)
	for i := range keys {
		keys[i] = newKey(t, "weft")
	}
	slices.SortFunc(keys, func(a, b *identity.Credentials) int {
		if a.Key().ID() < b.Key().ID() {
			return -1
		}
		return 1
	})
	return keys
}

// wantLinks checks how many links one relay has to another.
func (w *fleet) wantLinks(from, to string, want int) {
	w.t.Helper()
	if n, _ := trunksTo(w.relays[from], w.relays[to].id()); n != want {
		w.t.Errorf("%s has %d links to %s, want %d: %+v", from, n, to, want, w.relays[from].PeerStatus())
	}
}

// exchange sends something from a node of one relay to one of another, and
// returns how many datagrams of the gossip that took.
func (w *fleet) exchange(from, to string) uint64 {
	w.t.Helper()
	x, rx := w.at(from, fmt.Sprintf("x%d", len(w.nodes)))
	y, ry := w.at(to, fmt.Sprintf("y%d", len(w.nodes)))
	defer rx.close()
	defer ry.close()
	time.Sleep(100 * time.Millisecond)
	stream, err := w.open(x, y.id())
	if err != nil {
		w.t.Fatal(err)
	}
	before := w.relays[from].Stats().Backbone.Datagrams
	w.roundTrip(stream, strings.Repeat("between relays ", 10000))
	return w.relays[from].Stats().Backbone.Datagrams - before
}

func TestALineOfRelaysBecomesATriangle(t *testing.T) { synctest.Test(t, testTriangle) }
func testTriangle(t *testing.T) {
	w := newLearningFleet(t, nil, []string{"a", "b"}, []string{"b", "c"}, []string{"c"})
	defer w.close()
	w.wantLinks("a", "c", 1)
	w.wantLinks("c", "a", 1)
	if n := w.exchange("a", "c"); n != 0 {
		t.Errorf("%d datagrams went through the gossip, although there is a link", n)
	}
	s := w.relays["a"].Stats()
	if s.LearnedDials != 1 || s.LearnedWrong != 0 || w.relays["b"].Stats().LearnedDials != 0 {
		t.Errorf("dials: %+v", s)
	}
	// The backbone outlives the relay by which the two know each other.
	w.kill(w.relays["b"])
	delete(w.relays, "b")
	time.Sleep(time.Hour)
	w.wantLinks("a", "c", 1)
	if n := w.exchange("a", "c"); n != 0 {
		t.Errorf("%d datagrams went through the gossip", n)
	}
}

func TestALineStaysALineWithoutAWay(t *testing.T) {
	for name, c := range map[string]*Server{
		"no address":            {Addrs: []string{}},
		"an address of nobody":  {Addrs: []string{"nobody:9999"}},
		"the address of others": {Addrs: []string{"b:9999"}},
		"the dialler's own":     {Addrs: []string{"a:9999"}},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testLine(t, c) }) })
	}
}

func testLine(t *testing.T, c *Server) {
	w := newLearningFleet(t, map[string]*Server{"c": c}, []string{"a", "b"}, []string{"b", "c"}, []string{"c"})
	defer w.close()
	if len(c.Addrs) == 0 {
		w.wantLinks("c", "a", 1) // then the other one dials
		return
	}
	w.wantLinks("a", "c", 0)
	if n := w.exchange("a", "c"); n == 0 {
		t.Error("nothing went through the gossip")
	}
	time.Sleep(time.Hour - settle)
	w.wantLinks("a", "c", 0)
	w.wantLinks("a", "b", 1)
	s := w.relays["a"].Stats()
	if n := s.LearnedDials; n < 12 || n > 9+2*12 { // to 5 min within 9, then each 2.5 to 5 min
		t.Errorf("%d dials within an hour", n)
	}
	if wrong := c.Addrs[0] != "nobody:9999"; wrong != (s.LearnedWrong > 0) {
		t.Errorf("%d dials led to others", s.LearnedWrong)
	}
	if w.exchange("a", "b") != 0 {
		t.Error("the link to B is not used")
	}
}

// A relay leaves, and comes back elsewhere, or as another one.
func TestALearnedRelayComesBack(t *testing.T) { synctest.Test(t, testComesBack) }
func testComesBack(t *testing.T) {
	w := newLearningFleet(t, nil, []string{"a", "b"}, []string{"b", "c"}, []string{"c", "b"})
	defer w.close()
	c := w.relays["c"]
	creds := c.parts.Credentials
	w.wantLinks("a", "c", 1)
	w.kill(c)
	delete(w.relays, "c")
	time.Sleep(gossip.DefaultGrace + 11*time.Minute)
	if s := w.relays["a"].Stats(); len(w.relays["a"].relay().learned) != 0 || s.LearnedDials > 20 {
		t.Errorf("A still dials C: %+v", s)
	}
	w.start("elsewhere", creds, "b")
	time.Sleep(settle)
	w.wantLinks("a", "elsewhere", 1)
	if n := w.exchange("a", "elsewhere"); n != 0 {
		t.Errorf("%d datagrams went through the gossip", n)
	}
	// It moves again, within the time for which it is remembered.
	w.kill(w.relays["elsewhere"])
	delete(w.relays, "elsewhere")
	time.Sleep(time.Minute)
	w.start("c", creds, "b")
	time.Sleep(settle)
	w.wantLinks("a", "c", 1)
	// At the same address there is somebody else.
	w.kill(w.relays["c"])
	w.start("c", largerKey(t, creds), "b")
	time.Sleep(settle)
	w.wantLinks("a", "c", 1)
	if n := w.exchange("a", "c"); n != 0 {
		t.Errorf("%d datagrams went through the gossip", n)
	}
}

// largerKey makes credentials with a larger node ID.
func largerKey(t *testing.T, than *identity.Credentials) *identity.Credentials {
	for {
		if c := newKey(t, "weft"); c.Key().ID() > than.Key().ID() {
			return c
		}
	}
}

// Ten relays, each of which knows one other, are all linked after a while, with
// few dials; when all of them are cut off for a while they are again.
func TestTenRelaysBecomeAFullMesh(t *testing.T) { synctest.Test(t, testFullMesh) }
func testFullMesh(t *testing.T) {
	const relays = 10
	var hosts [][]string
	for i := range relays {
		list := []string{fmt.Sprintf("r%d", i)}
		if i > 0 {
			list = append(list, fmt.Sprintf("r%d", i/2))
		}
		hosts = append(hosts, list)
	}
	w := newLearningFleet(t, nil, hosts...)
	defer w.close()
	full := func(when string) (dials uint64) {
		t.Helper()
		for from, r := range w.relays {
			for to := range w.relays {
				if from != to {
					w.wantLinks(from, to, 1)
				}
			}
			dials += r.Stats().LearnedDials
		}
		t.Logf("%s: %d dials of learned relays", when, dials)
		return dials
	}
	const pairs, configured = relays * (relays - 1) / 2, relays - 1
	if n := full("at first"); n < pairs-configured || n > pairs {
		t.Errorf("%d dials", n)
	}
	for host := range w.relays {
		w.net.Cut(host)
	}
	time.Sleep(5 * time.Minute)
	for host := range w.relays {
		w.net.Heal(host)
	}
	time.Sleep(settle)
	if n := full("after a cut of five minutes"); n > 12*pairs {
		t.Errorf("%d dials", n)
	}
}

// The only relay by which two halves know each other dies. Each half has enough
// gossip of its own, so that their links have not carried any.
func TestABackboneOutlivesTheRelayInItsMiddle(t *testing.T) { synctest.Test(t, testMiddle) }
func testMiddle(t *testing.T) {
	const half = gossipLinks + 2
	var hosts [][]string
	for _, side := range []string{"l", "r"} {
		for i := range half {
			list := []string{fmt.Sprint(side, i)}
			for j := range i {
				list = append(list, fmt.Sprint(side, j))
			}
			hosts = append(hosts, list)
		}
	}
	w := newLearningFleet(t, nil, append(hosts, []string{"middle", "l0", "r0"})...)
	defer w.close()
	for host, r := range w.relays {
		if n := r.relay().conversing.Load(); host != "middle" && (n < half-1 || n > half) {
			t.Errorf("relay %s has %d streams of the gossip", host, n)
		}
	}
	w.kill(w.relays["middle"])
	delete(w.relays, "middle")
	time.Sleep(settle)
	for host, r := range w.relays {
		n := 0
		for _, other := range r.Relays() {
			if other.Reachable {
				n++
			}
		}
		if n != 2*half-1 {
			t.Errorf("relay %s reaches %d others, want %d", host, n, 2*half-1)
		}
	}
	if n := w.exchange("l1", "r1"); n != 0 {
		t.Errorf("%d datagrams went through the gossip", n)
	}
}

func TestLearnedRelaysAreLimited(t *testing.T) { synctest.Test(t, testLearnedLimit) }
func testLearnedLimit(t *testing.T) {
	w := newLearningFleet(t, map[string]*Server{"a": {MaxLearnedPeers: 2}},
		[]string{"a", "hub"}, []string{"b", "hub"}, []string{"c", "hub"}, []string{"d", "hub"}, []string{"hub"})
	defer w.close()
	s := w.relays["a"].Stats()
	up := 0
	for _, p := range s.Peers {
		if p.Learned && p.Up {
			up++
		}
	}
	if up != 2 || s.LearnedSkipped != 1 || s.LearnedDials != 2 {
		t.Errorf("%d links to learned relays: %+v", up, s)
	}
}

// A relay gives itself another address all the time: it is dialled no more often
// for that.
func TestARelayThatKeepsChangingItsAddressIsDialledNoMoreOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		defer l.close()
		keys := sortedKeys(t, 2)
		a := l.relay("a", keys[0], &Server{})
		defer l.stop(a)
		liar := keys[1].Key().Public()
		lr := &learner{relay: a.relay(), limit: 1, known: make(map[identity.NodeID]*acquaintance)}
		turn := func(addr string, reachable bool) time.Duration {
			return lr.turn(time.Now(), []gossip.RelayInfo{{ID: liar.ID(), Key: liar, Addrs: []string{addr}, Reachable: reachable}})
		}
		turn("0:9", true)
		time.Sleep(10 * time.Minute) // the pauses are long by now
		before := a.Stats().LearnedDials
		for i := range 3000 {
			next := turn(fmt.Sprintf("%d:9", i), i%2 == 0)
			if next <= 0 || next > learnedPause {
				t.Fatalf("the next turn is in %v", next)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := a.Stats().LearnedDials - before; n < 5 || n > 15 {
			t.Errorf("%d dials in five minutes", n)
		}
		lr.turn(time.Now(), nil)
		time.Sleep(time.Second)
		before = a.Stats().LearnedDials
		time.Sleep(time.Hour)
		if n := a.Stats().LearnedDials - before; n != 0 {
			t.Errorf("%d dials of a relay that has left", n)
		}
	})
}
