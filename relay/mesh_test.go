//go:build unix

package relay

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/racetest"
	"github.com/weftnet/weft/internal/relayhost"
	"golang.org/x/sys/unix"
)

// Backbones over weaveworks/mesh, on loopback TCP and in real time: mesh cannot
// live in a bubble. WEFT_BIG=1 runs the large ones. When conns end while the
// topology changes, mesh reads a peer's nickname, which is always empty here,
// while it writes it: harmless, but not to the race detector. So `make test` runs
// these without it.

// meshPatience is how long a test waits for what should be there soon.
const meshPatience = time.Minute

// A plainHost is a node without a transport of its own.
type plainHost struct{ n *node }

func (h plainHost) RelayHost() relayhost.Parts { return h.n.parts }

// A meshFleet is relays and nodes on loopback TCP.
type meshFleet struct {
	*lab
	addrs   []string
	peers   [][]string
	learned int // MaxLearnedPeers
	creds   []*identity.Credentials
	hosts   []*node
	relays  []*Server // nil: dead
	served  sync.WaitGroup
	nodes   []*node

	mu  sync.Mutex
	cut map[string]bool // addresses that nobody reaches
}

// newMeshFleet starts n relays, each of which dials those that are the given
// distances away in a ring.
func newMeshFleet(t *testing.T, n int, distances ...int) *meshFleet {
	t.Helper()
	if racetest.Enabled && os.Getenv("WEFT_RACE") == "" {
		t.Skip("mesh has a race of its own; WEFT_RACE=1 runs it all the same")
	}
	f := &meshFleet{lab: newLab(t), cut: make(map[string]bool)}
	var listeners []net.Listener
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, ln)
		f.addrs = append(f.addrs, ln.Addr().String())
		f.creds = append(f.creds, newKey(t, ""))
	}
	f.hosts, f.relays = make([]*node, n), make([]*Server, n)
	for i, ln := range listeners {
		var peers []string
		for _, d := range distances {
			peers = append(peers, f.addrs[(i+d)%n])
		}
		f.peers = append(f.peers, peers)
		f.start(i, ln)
	}
	return f
}

// start starts the relay i on ln.
func (f *meshFleet) start(i int, ln net.Listener) {
	n := f.tcp(fmt.Sprintf("relay-%d", i), f.creds[i])
	s := &Server{Host: plainHost{n}, Peers: f.peers[i], MaxLearnedPeers: f.learned, Addrs: []string{f.addrs[i]}, MaxLinksPerAddress: -1, MaxPrefaces: 1 << 14}
	f.hosts[i], f.relays[i] = n, s
	f.served.Go(func() { _ = s.Serve(ln) })
}

// tcp starts a node whose links are loopback TCP.
func (f *meshFleet) tcp(host string, c *identity.Credentials) *node {
	n := f.node(host, c)
	hello := link.Hello{Network: link.TagOf(c.Network().ID()), Node: n.id()}
	n.dial = link.DialTCP(new(net.Dialer), hello)
	dial := link.DialTCP(new(net.Dialer), hello.FromRelay())
	n.parts.Dial = func(ctx context.Context, addr string) (link.FrameConn, error) {
		f.mu.Lock()
		cut := f.cut[host+" "+addr]
		f.mu.Unlock()
		if cut {
			return nil, fmt.Errorf("%s is cut off from %s", host, addr)
		}
		return dial(ctx, addr)
	}
	return n
}

// kill ends the relay i such that nobody hears from it.
func (f *meshFleet) kill(i int) {
	_ = f.hosts[i].parts.Switch.Close()
	_ = f.relays[i].Close()
	f.hosts[i].close()
	f.relays[i] = nil
}

// restart starts the relay i anew.
func (f *meshFleet) restart(i int) {
	f.t.Helper()
	ln, err := net.Listen("tcp", f.addrs[i])
	if err != nil {
		f.t.Fatal(err)
	}
	f.start(i, ln)
}

func (f *meshFleet) close() {
	for _, n := range f.nodes {
		n.close()
	}
	for i, s := range f.relays {
		if s != nil {
			_ = s.Close()
			f.hosts[i].close()
		}
	}
	f.served.Wait()
	f.lab.close()
}

// until waits until ok, and fails the test if that takes too long.
func (f *meshFleet) until(what string, ok func() bool) {
	f.t.Helper()
	if !eventually(meshPatience, ok) {
		f.t.Fatalf("after %v: not %s", meshPatience, what)
	}
}

// eventually looks every millisecond.
func eventually(patience time.Duration, ok func() bool) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			return false
		}
	}
	return true
}

// whole reports whether all relays that live reach each other.
func (f *meshFleet) whole() bool {
	live := 0
	for _, s := range f.relays {
		if s != nil {
			live++
		}
	}
	for _, s := range f.relays {
		if s == nil {
			continue
		}
		reach := 0
		for _, r := range s.Relays() {
			if r.Reachable {
				reach++
			}
		}
		if reach != live-1 {
			return false
		}
	}
	return true
}

// known reports whether all relays that live believe a node to be where it is;
// 0 is nowhere.
func (f *meshFleet) known(id, at identity.NodeID) bool {
	for _, s := range f.relays {
		if s == nil {
			continue
		}
		if got, _ := s.relay().directory.RelayOf(id); got != at {
			return false
		}
	}
	return true
}

// join makes n nodes with links, spread over the relays, and returns what they
// register with.
func (f *meshFleet) join(n int) []*registration {
	all := make([]*registration, n)
	var wg sync.WaitGroup
	free := make(chan struct{}, 8)
	for i := range all {
		node := f.tcp(fmt.Sprintf("node-%d", i), newKey(f.t, ""))
		f.nodes = append(f.nodes, node)
		wg.Go(func() {
			free <- struct{}{}
			all[i] = f.link(node, f.addrs[i%len(f.addrs)])
			<-free
		})
	}
	wg.Wait()
	return all
}

// spread registers nodes, four at a time, and returns how long it took each
// time until all relays could route to the node.
func (f *meshFleet) spread(all []*registration) []time.Duration {
	took := make([]time.Duration, len(all))
	var wg sync.WaitGroup
	next := make(chan int)
	for range 4 {
		wg.Go(func() {
			for i := range next {
				began := time.Now()
				if err := all[i].register(1, 1); err != nil {
					f.t.Error(err)
				}
				if !eventually(meshPatience, func() bool { return f.known(all[i].node.id(), all[i].relay) }) {
					f.t.Errorf("node %d is not known everywhere", i)
				}
				took[i] = time.Since(began)
			}
		})
	}
	for i := range all {
		next <- i
	}
	close(next)
	wg.Wait()
	slices.Sort(took)
	return took
}

func TestMeshedRelays(t *testing.T) {
	for _, test := range []struct {
		relays, nodes int
		distances     []int
		big           bool
	}{
		{relays: 3, nodes: 30, distances: []int{1}},
		{relays: 10, nodes: 60, distances: []int{1, 3}},
		{relays: 10, nodes: 300, distances: []int{1, 3}, big: true},
		{relays: 30, nodes: 300, distances: []int{1, 5, 11}, big: true},
	} {
		t.Run(fmt.Sprintf("%d with %d nodes", test.relays, test.nodes), func(t *testing.T) {
			if test.big && os.Getenv("WEFT_BIG") == "" {
				t.Skip("WEFT_BIG=1 runs it")
			}
			testMeshed(t, test.relays, test.nodes, test.distances)
		})
	}
}

func testMeshed(t *testing.T, relays, nodes int, distances []int) {
	began := time.Now()
	f := newMeshFleet(t, relays, distances...)
	defer f.close()
	f.until("one backbone", f.whole)
	formed := time.Since(began)
	all := f.join(nodes)
	joined := time.Since(began)
	took := f.spread(all)
	t.Logf("%d relays are one backbone after %v; %d nodes have links after %v; from a registration until all relays can route to the node: p50 %v, p99 %v, longest %v",
		relays, formed.Round(time.Millisecond), nodes, joined.Round(time.Millisecond),
		took[len(took)/2], took[len(took)*99/100], took[len(took)-1])

	from, to := all[0], all[len(all)/2]
	to.node.parts.Hooks.Watch(&echoer{f.lab})
	stream, err := f.open(from.node, to.node.id())
	if err != nil {
		t.Fatal(err)
	}
	f.roundTrip(stream, "over a real backbone")

	// One relay dies; its nodes are forgotten after a while, the others not.
	// Restarted, it is one of them again.
	victim := relays - 1
	f.kill(victim)
	began = time.Now()
	f.until("without the dead one", f.whole)
	noticed := time.Since(began)
	f.restart(victim)
	began = time.Now()
	f.until("one backbone again", f.whole)
	back := time.Since(began)
	last := f.tcp("late", newKey(t, ""))
	f.nodes = append(f.nodes, last)
	late := f.link(last, f.addrs[victim])
	began = time.Now()
	if err := late.register(1, 1); err != nil {
		t.Fatal(err)
	}
	f.until("known", func() bool { return f.known(last.id(), late.relay) })
	t.Logf("a death was noticed by all after %v; the restarted one was known to all after %v, a node of it %v later",
		noticed.Round(time.Millisecond), back.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	f.roundTrip(stream, "still")
}

// Half of the relays are cut off from the other half, and come back.
func TestMeshedRelaysHealAfterAPartition(t *testing.T) {
	if racetest.Enabled {
		t.Skip("mesh has a race of its own: when a conn ends, it reads a peer's nickname, which a topology update may be writing")
	}
	f := newMeshFleet(t, 4, 1)
	defer f.close()
	f.until("one backbone", f.whole)
	all := f.join(8)
	f.spread(all)
	cut := func(yes bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, pair := range [][2]int{{0, 2}, {0, 3}, {1, 2}, {1, 3}} { // of different halves
			for _, way := range [][2]int{pair, {pair[1], pair[0]}} { // who dials whom
				f.cut[fmt.Sprintf("relay-%d %s", way[0], f.addrs[way[1]])] = yes
			}
			if p := f.hosts[pair[0]].parts.Switch.Port(f.hosts[pair[1]].id()); yes && p != nil {
				p.CloseWithError(fmt.Errorf("cut"))
			}
		}
	}
	cut(true)
	f.until("two halves", func() bool {
		for _, s := range f.relays {
			n := 0
			for _, r := range s.Relays() {
				if r.Reachable {
					n++
				}
			}
			if n != 1 {
				return false
			}
		}
		return true
	})
	n := f.tcp("meanwhile", newKey(t, ""))
	f.nodes = append(f.nodes, n)
	r := f.link(n, f.addrs[0])
	if err := r.register(1, 1); err != nil {
		t.Fatal(err)
	}
	cut(false)
	f.until("one backbone again", f.whole)
	f.until("of one mind", func() bool {
		for _, r := range append(all, r) {
			if !f.known(r.node.id(), r.relay) {
				return false
			}
		}
		return true
	})
}

// A relay with thousands of idle nodes costs little. WEFT_BIG=1 runs it; the
// figure is logged.
func TestMeshedRelayWithThousandsOfIdleNodes(t *testing.T) {
	if os.Getenv("WEFT_BIG") == "" {
		t.Skip("WEFT_BIG=1 runs it")
	}
	const nodes, watched = 5000, 30 * time.Second
	f := newMeshFleet(t, 1)
	defer f.close()
	began := time.Now()
	f.spread(f.join(nodes))
	t.Logf("%d nodes registered within %v", nodes, time.Since(began).Round(time.Second))
	before := cpuTime(t)
	<-time.After(watched)
	used := cpuTime(t) - before
	t.Logf("%d idle nodes and their relay, in one process, used %v in %v: %.1f %% of a CPU",
		nodes, used.Round(time.Millisecond), watched, 100*used.Seconds()/watched.Seconds())
}

// cpuTime returns what this process has used so far.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
