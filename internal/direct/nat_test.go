package direct

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/simnet/natnet"
)

// An end is an agent on a simulated host, with as much of a session as it needs:
// challenges, answers, and challenges in return for those that come from an
// address that has not proven itself.
type end struct {
	conn *natnet.Conn
	peer *end

	mu         sync.Mutex
	a          *Agent
	timer      *time.Timer
	validated  map[netip.AddrPort]time.Time
	returned   map[netip.AddrPort]int // challenges in return
	challenges int
	closed     bool
}

const returnTries = 4

func newEnd(t *testing.T, client bool, h *natnet.Host) *end {
	c, err := h.ListenPacket(4000)
	if err != nil {
		t.Fatal(err)
	}
	e := &end{conn: c, validated: map[netip.AddrPort]time.Time{}, returned: map[netip.AddrPort]int{}}
	e.a = New(Config{
		Client: client,
		RTT:    func() time.Duration { return relayRTT },
		Announce: func(b []byte) {
			time.AfterFunc(relayRTT/2, func() { e.peer.do(func(now time.Time) { _ = e.peer.a.Receive(now, b) }) })
		},
		Probe: func(to netip.AddrPort) { e.challenge(to) },
	})
	e.timer = time.AfterFunc(time.Hour, func() { e.do(func(time.Time) {}) })
	return e
}

// do tells the agent of something, and lets it act.
func (e *end) do(f func(now time.Time)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	now := time.Now()
	f(now)
	if next := e.a.Advance(now); !next.IsZero() {
		e.timer.Reset(next.Sub(now))
	}
}

func (e *end) challenge(to netip.AddrPort) {
	e.challenges++
	_, _ = e.conn.WriteToUDPAddrPort([]byte("challenge"), to)
}

// read is the end's reader, until the conn is closed.
func (e *end) read() {
	b := make([]byte, 100)
	for {
		n, src, err := e.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		e.do(func(now time.Time) {
			if string(b[:n]) == "challenge" {
				_, _ = e.conn.WriteToUDPAddrPort([]byte("response"), src)
				if e.validated[src].IsZero() && e.returned[src] < returnTries {
					e.returned[src]++
					e.challenge(src)
				}
				return
			}
			if e.validated[src].IsZero() {
				e.validated[src] = now
			}
			e.a.Connected(now, true)
		})
	}
}

func (e *end) connected() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.a.connected
}

func (e *end) close() {
	e.mu.Lock()
	e.closed = true
	e.timer.Stop()
	e.mu.Unlock()
	_ = e.conn.Close()
}

// reflect returns the address that a server outside sees, as STUN does.
func (e *end) reflect(t *testing.T, s server) netip.AddrPort {
	b := make([]byte, 32)
	const tries = 10
	for i := range tries {
		if _, err := e.conn.WriteToUDPAddrPort([]byte{s.asked, byte(i)}, s.addr); err != nil {
			t.Fatal(err)
		}
		_ = s.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, src, err := s.ReadFromUDPAddrPort(b)
			if err != nil {
				break
			}
			if n > 0 && b[0] == s.asked { // and no duplicate of what the other end asked
				return src
			}
		}
	}
	return netip.AddrPort{} // UDP is blocked
}

// A server is what nodes learn their public addresses from.
type server struct {
	*natnet.Conn
	addr  netip.AddrPort
	asked byte // whose turn it is
}

func newServer(t *testing.T, n *natnet.Network) server {
	t.Helper()
	h := n.Host("server", natnet.HostConfig{})
	c, err := h.ListenPacket(3478)
	if err != nil {
		t.Fatal(err)
	}
	return server{Conn: c, addr: netip.AddrPortFrom(h.Addrs()[0], 3478)}
}

// meet lets two hosts find each other for d and returns their ends.
func meet(t *testing.T, n *natnet.Network, hosts [2]*natnet.Host, mappings [2]Mapping, d time.Duration) [2]*end {
	t.Helper()
	s := newServer(t, n)
	ends := [2]*end{newEnd(t, true, hosts[0]), newEnd(t, false, hosts[1])}
	ends[0].peer, ends[1].peer = ends[1], ends[0]
	var wg sync.WaitGroup
	var locals [2]Local
	for i, e := range ends {
		s.asked = byte(i)
		l := Local{Mapping: mappings[i]}
		for _, a := range hosts[i].Addrs() {
			l.Candidates = append(l.Candidates, Candidate{Host, netip.AddrPortFrom(a, 4000)})
		}
		if seen := e.reflect(t, s); seen.IsValid() {
			l.Candidates = append(l.Candidates, Candidate{Reflexive, seen})
		}
		locals[i] = l
	}
	for i, e := range ends {
		wg.Go(e.read)
		e.do(func(now time.Time) { e.a.SetLocal(now, locals[i]) })
	}
	pass(d)
	for _, e := range ends {
		e.close()
	}
	wg.Wait()
	pass(time.Second) // what is on its way over the relay
	return ends
}

// pass lets the bubble's time go by.
func pass(d time.Duration) { time.Sleep(d) }

var natKinds = map[string]func() natnet.NATConfig{
	"open":     natnet.Open,
	"firewall": natnet.Firewall,
	"fullcone": natnet.EndpointIndependent,
	"address":  natnet.AddressRestricted,
	"cone":     natnet.PortRestricted,
	"sym":      natnet.Symmetric,
	"leaky":    natnet.Leaky,
	"blocked":  natnet.Blocked,
}

// meets says which pairs of NATs two nodes behind them find a way through: y in
// the first round, l in a later one, n never.
const meets = `
          open  firewall fullcone address cone sym leaky blocked
open      y     y        y        y       y    y   y     n
firewall        y        y        y       y    n   y     n
fullcone                 y        y       y    y   y     n
address                           y       y    y   y     n
cone                                      y    n   y     n
sym                                            n   n     n
leaky                                              y     n
blocked                                                  n
`

func TestThroughNATsOfAllKinds(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(meets), "\n")
	columns := strings.Fields(lines[0])
	for i, line := range lines[1:] {
		cells := strings.Fields(line)
		for j, want := range cells[1:] {
			kinds := [2]string{cells[0], columns[i+j]}
			for _, order := range [][2]string{kinds, {kinds[1], kinds[0]}} {
				t.Run(order[0]+" "+order[1], func(t *testing.T) {
					for seed := range uint64(5) {
						testNATs(t, seed, order, want)
					}
				})
			}
		}
	}
}

func testNATs(t *testing.T, seed uint64, kinds [2]string, want string) {
	synctest.Test(t, func(t *testing.T) {
		n := natnet.New(seed)
		defer n.Close()
		var hosts [2]*natnet.Host
		for i := range hosts {
			cfg := natKinds[kinds[i]]()
			cfg.NoIPv6 = true // or they meet without any translation
			hosts[i] = n.Host("h", natnet.HostConfig{NAT: n.NAT("nat", cfg)})
		}
		ends := meet(t, n, hosts, [2]Mapping{}, 5*time.Minute)
		for _, e := range ends {
			if e.connected() != (want != "n") {
				t.Errorf("seed %d: connected %v, want %q", seed, e.connected(), want)
			}
			if limit := MaxCandidates * len(schedule) * 6; e.challenges > limit {
				t.Errorf("seed %d: %d challenges", seed, e.challenges)
			}
			if want == "y" && e.a.round > 1 {
				t.Errorf("seed %d: it took %d rounds", seed, e.a.round)
			}
		}
	})
}

// Losses cost time, on the way to the relay and on the direct one.
func TestThroughLosses(t *testing.T) {
	bad := simnet.Impairment{Loss: 0.2, Duplicate: 0.1, Reorder: 0.1, Jitter: 20 * time.Millisecond, Corrupt: 0.05}
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			n := natnet.New(seed)
			defer n.Close()
			var hosts [2]*natnet.Host
			for i := range hosts {
				cfg := natnet.PortRestricted()
				cfg.NoIPv6, cfg.Up, cfg.Down = true, bad, bad
				hosts[i] = n.Host("h", natnet.HostConfig{NAT: n.NAT("nat", cfg)})
			}
			for _, e := range meet(t, n, hosts, [2]Mapping{}, 10*time.Minute) {
				if !e.connected() {
					t.Errorf("seed %d: not connected after %d rounds", seed, e.a.round)
				}
			}
		})
	}
}

// Two hosts behind one NAT meet on its inside, whatever it does outside.
func TestBehindOneNAT(t *testing.T) {
	for name, kind := range natKinds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := natnet.New(1)
				defer n.Close()
				cfg := kind()
				cfg.NoIPv6 = true
				nat := n.NAT("nat", cfg)
				hosts := [2]*natnet.Host{n.Host("a", natnet.HostConfig{NAT: nat}), n.Host("b", natnet.HostConfig{NAT: nat})}
				for i, e := range meet(t, n, hosts, [2]Mapping{}, 5*time.Second) {
					peer := netip.AddrPortFrom(hosts[1-i].Addrs()[0], 4000)
					if e.validated[peer].IsZero() {
						t.Errorf("%v is not found; validated: %v", peer, e.validated)
					}
				}
			})
		})
	}
}

// Two networks with the same addresses inside: the peer's address may be the
// node's own, or that of a neighbour.
func TestBehindTwoNATsWithTheSameInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := natnet.New(1)
		defer n.Close()
		var hosts [2]*natnet.Host
		for i := range hosts {
			cfg := natnet.PortRestricted()
			cfg.NoIPv6, cfg.Inside = true, netip.MustParsePrefix("192.168.0.0/24")
			hosts[i] = n.Host("h", natnet.HostConfig{NAT: n.NAT("nat", cfg)})
		}
		if hosts[0].Addrs()[0] != hosts[1].Addrs()[0] {
			t.Fatal("the addresses differ")
		}
		for _, e := range meet(t, n, hosts, [2]Mapping{}, 5*time.Second) {
			if !e.connected() {
				t.Error("not connected")
			}
		}
	})
}

// Without NATs, IPv6 works as IPv4 does; each side of a way takes both.
func TestIPv6ThroughFirewalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := natnet.New(1)
		defer n.Close()
		var hosts [2]*natnet.Host
		for i := range hosts {
			hosts[i] = n.Host("h", natnet.HostConfig{NAT: n.NAT("nat", natnet.Symmetric())})
		}
		for _, e := range meet(t, n, hosts, [2]Mapping{MappingEndpoint, MappingEndpoint}, 5*time.Second) {
			if !e.connected() {
				t.Error("not connected by IPv6")
			}
		}
	})
}

// A NAT that counts its ports up gives a port that can be foretold.
func TestPredictedPorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := natnet.New(1)
		defer n.Close()
		sym := natnet.Symmetric()
		sym.Ports, sym.NoIPv6 = natnet.SequentialPort, true
		cone := natnet.PortRestricted()
		cone.NoIPv6 = true
		hosts := [2]*natnet.Host{
			n.Host("h", natnet.HostConfig{NAT: n.NAT("sym", sym)}),
			n.Host("h", natnet.HostConfig{NAT: n.NAT("cone", cone)}),
		}
		s := newServer(t, n)
		ends := [2]*end{newEnd(t, true, hosts[0]), newEnd(t, false, hosts[1])}
		ends[0].peer, ends[1].peer = ends[1], ends[0]
		var wg sync.WaitGroup
		for i, e := range ends {
			s.asked = byte(i)
			seen := e.reflect(t, s)
			l := Local{Candidates: []Candidate{{Reflexive, seen}}}
			if i == 0 {
				l.Mapping = MappingEndpoint
				l.Candidates = append(l.Candidates, Predict(seen, 1)...)
			}
			wg.Go(e.read)
			e.do(func(now time.Time) { e.a.SetLocal(now, l) })
		}
		pass(5 * time.Second)
		for _, e := range ends {
			e.close()
			if !e.connected() {
				t.Error("not connected")
			}
		}
		wg.Wait()
		pass(time.Second)
	})
}

func TestPredict(t *testing.T) {
	got := Predict(netip.MustParseAddrPort("192.0.2.1:65533"), 2)
	if len(got) != 1 || got[0] != candidate(Predicted, "192.0.2.1:65535") {
		t.Errorf("got %v", got)
	}
	if got := Predict(netip.MustParseAddrPort("192.0.2.1:1000"), 0); got != nil {
		t.Errorf("without a step: %v", got)
	}
	if got := Predict(netip.MustParseAddrPort("192.0.2.1:1000"), -1); len(got) != maxPredicted || got[0].Addr.Port() != 999 {
		t.Errorf("downwards: %v", got)
	}
}
