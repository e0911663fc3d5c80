package natnet

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/simnet"
)

var natKinds = map[string]func() NATConfig{
	"open":     Open,
	"firewall": Firewall,
	"fullcone": EndpointIndependent,
	"address":  AddressRestricted,
	"cone":     PortRestricted,
	"sym":      Symmetric,
	"leaky":    Leaky,
	"blocked":  Blocked,
}

// punchable says which pairs a plain simultaneous open gets together: when
// both begin at once, when the row's begins first, and when the column's does.
// Who begins first makes a difference to leaky NATs only: what arrives before
// they have sent takes the port.
const punchable = `
          open  firewall fullcone address cone sym leaky blocked
open      yyy   yyy      yyy      yyy     yyy  yyy yyy   nnn
firewall        yyy      yyy      yyy     yyy  nnn yny   nnn
fullcone                 yyy      yyy     yyy  yyy yyy   nnn
address                           yyy     yyy  yyy yyy   nnn
cone                                      yyy  nnn yny   nnn
sym                                            nnn nnn   nnn
leaky                                              ynn   nnn
blocked                                                  nnn
`

// lead is how much earlier the first begins: more than a round trip.
const lead = 250 * time.Millisecond

func TestPunchability(t *testing.T) {
	orders := []struct {
		name string
		wait [2]time.Duration
	}{{"together", [2]time.Duration{}}, {"row first", [2]time.Duration{0, lead}}, {"column first", [2]time.Duration{lead, 0}}}
	lines := strings.Split(strings.TrimSpace(punchable), "\n")
	columns := strings.Fields(lines[0])
	for i, line := range lines[1:] {
		cells := strings.Fields(line)
		row := cells[0]
		for j, cell := range cells[1:] {
			column := columns[i+j]
			for k, order := range orders {
				t.Run(row+" "+column+" "+order.name, func(t *testing.T) {
					for seed := range uint64(5) {
						kinds := [2]NATConfig{natKinds[row](), natKinds[column]()}
						if got, want := punch(t, seed, kinds, order.wait), cell[k] == 'y'; got != want {
							t.Errorf("seed %d: together is %v, want %v", seed, got, want)
						}
					}
				})
			}
		}
	}
}

// Losses cost time and nothing else.
func TestPunchingThroughLosses(t *testing.T) {
	bad := simnet.Impairment{Loss: 0.2, Duplicate: 0.1, Reorder: 0.1, Jitter: 20 * time.Millisecond, Corrupt: 0.05}
	cone := PortRestricted()
	cone.Up, cone.Down = bad, bad
	for seed := range uint64(100) {
		if !punch(t, seed, [2]NATConfig{cone, cone}, [2]time.Duration{}) {
			t.Errorf("seed %d: they do not get together", seed)
		}
	}
}

// punch reports whether a host behind each of two NATs gets an answer from the
// other, after each has learned its own address from a reflector and told it
// to the other, as over a relay.
func punch(t *testing.T, seed uint64, kinds [2]NATConfig, wait [2]time.Duration) (together bool) {
	inBubble(t, seed, func(t *testing.T, n *Network, r *reflectors) {
		var conns [2]*Conn
		var addrs [2]netip.AddrPort
		for i := range conns {
			conns[i] = listen(t, n.Host("h", HostConfig{NAT: n.NAT("nat", kinds[i])}), 5000)
			addrs[i] = netip.AddrPortFrom(conns[i].host.v4, 5000)
			for range 10 { // the network may be lossy
				if seen, ok := r.ask(t, conns[i], r.addrs[0][0], 0, 0); ok {
					addrs[i] = seen
					break
				}
			}
			for _, _, ok := read(t, conns[i]); ok; _, _, ok = read(t, conns[i]) { // duplicates
			}
		}
		var wg sync.WaitGroup
		var done [2]bool
		for i, c := range conns {
			wg.Go(func() {
				elapse(wait[i])
				done[i] = open(c, addrs[1-i])
			})
		}
		wg.Wait()
		if done[0] != done[1] {
			t.Errorf("seed %d: only one is answered: %v", seed, done)
		}
		together = done[0] && done[1]
	})
	return together
}

// open is a naive puncher: it sends to the address that it was told, or to
// where it is asked from, and reports whether that was answered.
func open(c *Conn, to netip.AddrPort) (answered bool) {
	const every, tries = 100 * time.Millisecond, 50
	b := make([]byte, 100)
	for range tries {
		_, _ = c.WriteToUDPAddrPort([]byte("ping"), to)
		_ = c.SetReadDeadline(time.Now().Add(every))
		for {
			n, src, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				break
			}
			if string(b[:n]) == "ping" {
				to = src // of a symmetric NAT, another than was told
				_, _ = c.WriteToUDPAddrPort([]byte("pong"), src)
			}
			answered = answered || string(b[:n]) == "pong"
		}
	}
	return answered
}

// The trap of a masquerade that drops no input, step by step.
func TestStrangersTakePortsOfLeakyNATs(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
		nat := n.NAT("nat", Leaky())
		c := listen(t, n.Host("h", HostConfig{NAT: nat}), 5000)
		public := r.seen(t, c)
		stranger, other := r.socks[1][0], r.socks[1][1]
		if _, ok := reaches(t, stranger, public, c); ok {
			t.Error("the stranger reaches it")
		}
		seen, ok := r.ask(t, c, r.addrs[1][0], 1, 0)
		if !ok || seen.Port() == public.Port() {
			t.Errorf("the stranger sees %v, %v; want another port than %v", seen, ok, public)
		}
		if again, _ := r.ask(t, c, r.addrs[1][0], 1, 0); again != seen {
			t.Errorf("the stranger sees %v and then %v", seen, again)
		}
		if seen, _ := r.ask(t, c, r.addrs[1][1], 1, 1); seen != public {
			t.Errorf("%v sees %v, want %v", other.LocalAddr(), seen, public)
		}
		if got := nat.Counters(); got.PortsTaken != 1 || got.LeftElsewhere != 1 {
			t.Errorf("counters are %+v", got)
		}
		elapse(defaultTimeout)
		if seen, _ := r.ask(t, c, r.addrs[1][0], 1, 0); seen != public {
			t.Errorf("a minute later the stranger sees %v, want %v", seen, public)
		}
	})
}
