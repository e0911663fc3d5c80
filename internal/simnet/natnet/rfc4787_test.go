package natnet

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

var (
	behaviours = map[string]Behaviour{"any": AnyEndpoint, "address": PerAddress, "endpoint": PerEndpoint}
	allocation = map[string]PortAllocation{"preserve": PreservePort, "sequential": SequentialPort, "random": RandomPort}
)

// Sections 4.1 and 5: a probe from behind the NAT finds what was configured,
// whatever the ports.
func TestMappingAndFilteringAreObserved(t *testing.T) {
	for mapName, mapping := range behaviours {
		for filterName, filtering := range behaviours {
			for portName, ports := range allocation {
				t.Run(mapName+" "+filterName+" "+portName, func(t *testing.T) {
					for seed := range uint64(20) {
						inBubble(t, seed, func(t *testing.T, n *Network, r *reflectors) {
							nat := n.NAT("nat", NATConfig{Mapping: mapping, Filtering: filtering, Ports: ports})
							h := n.Host("h", HostConfig{NAT: nat})
							if got := r.filtering(t, listen(t, h, 5000)); got != filtering {
								t.Errorf("seed %d: filtering is %v, want %v", seed, got, filtering)
							}
							if got := r.mapping(t, listen(t, h, 5001)); got != mapping {
								t.Errorf("seed %d: mapping is %v, want %v", seed, got, mapping)
							}
						})
					}
				})
			}
		}
	}
}

func TestPresets(t *testing.T) {
	for _, tt := range []struct {
		name               string
		cfg                NATConfig
		mapping, filtering Behaviour
		translated         bool
	}{
		{"endpoint-independent", EndpointIndependent(), AnyEndpoint, AnyEndpoint, true},
		{"address-restricted", AddressRestricted(), AnyEndpoint, PerAddress, true},
		{"port-restricted", PortRestricted(), AnyEndpoint, PerEndpoint, true},
		{"symmetric", Symmetric(), PerEndpoint, PerEndpoint, true},
		{"leaky", Leaky(), AnyEndpoint, PerEndpoint, true},
		{"firewall", Firewall(), AnyEndpoint, PerEndpoint, false},
		{"open", Open(), AnyEndpoint, AnyEndpoint, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
				h := n.Host("h", HostConfig{NAT: n.NAT("nat", tt.cfg)})
				c := listen(t, h, 5000)
				if got := r.filtering(t, c); got != tt.filtering {
					t.Errorf("filtering is %v, want %v", got, tt.filtering)
				}
				d := listen(t, h, 5001)
				if got := r.mapping(t, d); got != tt.mapping {
					t.Errorf("mapping is %v, want %v", got, tt.mapping)
				}
				if seen := r.seen(t, d); (seen.Addr() != h.v4) != tt.translated {
					t.Errorf("%v is seen as %v; translated should be %v", h.v4, seen, tt.translated)
				}
			})
		})
	}
}

func TestOpenLetsStrangersIn(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
		c := listen(t, n.Host("h", HostConfig{NAT: n.NAT("nat", Open())}), 5000)
		for _, a := range c.host.Addrs() {
			if _, ok := reaches(t, r.socks[0][0], netip.AddrPortFrom(a, 5000), c); !ok {
				t.Errorf("%v is not reached", a)
			}
		}
	})
}

func TestBlockedLosesAll(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
		nat := n.NAT("nat", Blocked())
		c := listen(t, n.Host("h", HostConfig{NAT: nat}), 5000)
		if a, ok := r.ask(t, c, r.addrs[0][0], 0, 0); ok {
			t.Errorf("it was answered: %v", a)
		}
		if _, ok := reaches(t, r.socks[0][0], netip.AddrPortFrom(c.host.v4, 5000), c); ok {
			t.Error("it is reached")
		}
		if got := nat.Counters(); got.LostBlocked != 2 || got.In+got.Out != 0 {
			t.Errorf("counters are %+v", got)
		}
		// The local network goes on.
		d := listen(t, n.Host("neighbour", HostConfig{NAT: nat}), 5000)
		if _, ok := reaches(t, d, netip.AddrPortFrom(c.host.v4, 5000), c); !ok {
			t.Error("a neighbour does not reach it")
		}
	})
}

// Section 4.2.
func TestPortAllocation(t *testing.T) {
	// ports are the public ones of the sockets 5000 of three hosts and then of
	// socket 80 of the first.
	ports := func(t *testing.T, alloc PortAllocation, seed uint64) (p [4]int) {
		inBubble(t, seed, func(t *testing.T, n *Network, r *reflectors) {
			nat := n.NAT("nat", NATConfig{Ports: alloc})
			hosts := [3]*Host{}
			for i := range hosts {
				hosts[i] = n.Host("h", HostConfig{NAT: nat})
				p[i] = int(r.seen(t, listen(t, hosts[i], 5000)).Port())
			}
			p[3] = int(r.seen(t, listen(t, hosts[0], 80)).Port())
		})
		return p
	}
	for seed := range uint64(100) {
		if p := ports(t, PreservePort, seed); p != [4]int{5000, 5001, 5002, firstPort} {
			t.Errorf("seed %d: preserved ports are %v", seed, p)
		}
		if p := ports(t, SequentialPort, seed); p != [4]int{p[0], p[0] + 1, p[0] + 2, p[0] + 3} {
			t.Errorf("seed %d: sequential ports are %v", seed, p)
		}
		if p := ports(t, RandomPort, seed); p[1] == p[0]+1 && p[2] == p[1]+1 || p[0] < firstPort || p == [4]int{5000, 5001, 5002, firstPort} {
			t.Errorf("seed %d: random ports are %v", seed, p)
		}
	}
	if a, b := ports(t, RandomPort, 1), ports(t, RandomPort, 2); a == b {
		t.Errorf("two seeds have the same ports, %v", a)
	}
}

// Section 6.
func TestHairpin(t *testing.T) {
	for _, hairpin := range []bool{true, false} {
		t.Run(fmt.Sprint(hairpin), func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
				nat := n.NAT("nat", NATConfig{Hairpin: hairpin, Filtering: PerEndpoint, Ports: RandomPort})
				a := listen(t, n.Host("a", HostConfig{NAT: nat}), 5000)
				b := listen(t, n.Host("b", HostConfig{NAT: nat}), 5000)
				seenA, seenB := r.seen(t, a), r.seen(t, b)
				if _, ok := reaches(t, a, seenB, b); ok {
					t.Error("hairpin does not filter")
				}
				src, ok := reaches(t, b, seenA, a)
				if ok != hairpin {
					t.Errorf("reached is %v", ok)
				}
				if ok && src != seenB {
					t.Errorf("the source is %v, want the public %v", src, seenB)
				}
				if got := nat.Counters(); (got.Hairpinned == 2) != hairpin || (got.LostHairpin == 2) == hairpin {
					t.Errorf("counters are %+v", got)
				}
				if _, ok := reaches(t, a, netip.AddrPortFrom(b.host.v4, 5000), b); !ok {
					t.Error("b is not reached by its private address")
				}
			})
		})
	}
}

// Section 4.3, in simulated time: pings of one side only, just within the
// timeout or just beyond, and then a knock from outside.
func TestTimeout(t *testing.T) {
	const timeout = 30 * time.Second
	for _, tt := range []struct {
		name             string
		cfg              NATConfig
		pings            int
		inbound          bool // the pings come from outside
		every, then      time.Duration
		open, keptMapped bool
	}{
		{"at once", NATConfig{}, 0, false, 0, 0, true, true},
		{"a second before", NATConfig{}, 0, false, 0, timeout - time.Second, true, true},
		{"at the end", NATConfig{}, 0, false, 0, timeout, false, false},
		{"outbound refreshes", NATConfig{}, 5, false, timeout - time.Second, timeout - time.Second, true, true},
		{"inbound does not", NATConfig{}, 5, true, 10 * time.Second, 0, false, false},
		{"inbound keeps no mapping", NATConfig{}, 2, true, 14 * time.Second, 2 * time.Second, false, false},
		{"inbound does", NATConfig{RefreshInbound: true}, 5, true, timeout - time.Second, timeout - time.Second, true, true},
		{"another timeout", NATConfig{Timeout: time.Minute}, 0, false, 0, 59 * time.Second, true, true},
		{"for ever", NATConfig{Timeout: -1}, 0, false, 0, 1000 * time.Hour, true, true},
		{"filter", NATConfig{Filtering: PerEndpoint, RefreshInbound: true}, 5, true, timeout - time.Second, timeout - time.Second, true, true},
		{"firewall", Firewall(), 0, false, 0, timeout, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
				tt.cfg.Ports = RandomPort
				c := listen(t, n.Host("h", HostConfig{NAT: n.NAT("nat", tt.cfg)}), 5000)
				out := listen(t, r.socks[0][0].host, 9999)
				outAddr := netip.AddrPortFrom(out.host.v4, 9999)
				if _, ok := reaches(t, c, outAddr, out); !ok {
					t.Fatal("there is no way out")
				}
				public := r.seen(t, c)
				_, _ = reaches(t, c, outAddr, out) // a mapping is now used last
				for range tt.pings {
					elapse(tt.every)
					if tt.inbound {
						_, _ = reaches(t, out, public, c)
					} else {
						_, _ = reaches(t, c, outAddr, out)
					}
				}
				elapse(tt.then)
				if _, ok := reaches(t, out, public, c); ok != tt.open {
					t.Errorf("reached is %v", ok)
				}
				if now := r.seen(t, c); (now == public) != tt.keptMapped {
					t.Errorf("the mapping was %v and is now %v", public, now)
				}
			})
		})
	}
}

func TestFlushAndRenumber(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
		nat := n.NAT("nat", NATConfig{Ports: RandomPort})
		c := listen(t, n.Host("h", HostConfig{NAT: nat}), 5000)
		first := r.seen(t, c)
		nat.Flush()
		if _, ok := reaches(t, r.socks[1][0], first, c); ok {
			t.Error("a flushed mapping is there")
		}
		second := r.seen(t, c)
		if second == first || second.Addr() != first.Addr() {
			t.Errorf("after a flush, %v became %v", first, second)
		}
		if a := nat.Renumber(); a == first.Addr() || a != nat.Addr() {
			t.Errorf("the new address is %v", a)
		}
		if _, ok := reaches(t, r.socks[1][0], second, c); ok {
			t.Error("the old address is there")
		}
		if third := r.seen(t, c); third.Addr() != nat.Addr() {
			t.Errorf("it is seen as %v, not %v", third, nat.Addr())
		}
		if got := n.Counters().LostNoRoute; got != 1 {
			t.Errorf("%d datagrams had no route, want 1", got)
		}
	})
}

func TestTableIsBounded(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
		nat := n.NAT("nat", NATConfig{MaxMappings: 3})
		h := n.Host("h", HostConfig{NAT: nat})
		conns := make([]*Conn, 4)
		for i := range conns {
			conns[i] = listen(t, h, 0)
			if _, ok := r.ask(t, conns[i], r.addrs[0][0], 0, 0); ok != (i < 3) {
				t.Errorf("socket %d: answered is %v", i, ok)
			}
		}
		if c := nat.Counters(); c.LostTable != 1 || c.Mappings != 3 {
			t.Errorf("counters are %+v", c)
		}
		elapse(defaultTimeout)
		r.seen(t, conns[3])
	})
}

func TestNATBehindNAT(t *testing.T) {
	for seed := range uint64(50) {
		inBubble(t, seed, func(t *testing.T, n *Network, r *reflectors) {
			carrier := n.NAT("carrier", NATConfig{Hairpin: true, Inside: netip.MustParsePrefix("100.64.0.0/10")})
			var conns [2]*Conn
			var seen [2]netip.AddrPort
			for i := range conns {
				// Both homes have the same prefix, as homes do.
				home := n.NAT("home", NATConfig{Behind: carrier, Inside: netip.MustParsePrefix("192.168.1.0/24")})
				conns[i] = listen(t, n.Host("h", HostConfig{NAT: home}), 5000)
				seen[i] = r.seen(t, conns[i])
				if !carrier.cfg.Inside.Contains(home.Addr()) || seen[i].Addr() != carrier.Addr() {
					t.Errorf("home has %v and is seen as %v", home.Addr(), seen[i])
				}
			}
			if a, b := conns[0].host.v4, conns[1].host.v4; a != b {
				t.Errorf("private addresses are %v and %v", a, b)
			}
			if src, ok := reaches(t, conns[0], seen[1], conns[1]); !ok || src != seen[0] {
				t.Errorf("through the carrier: %v from %v", ok, src)
			}
			if _, ok := reaches(t, r.socks[1][1], seen[1], conns[1]); !ok {
				t.Error("two full cones do not let a stranger in")
			}
		})
	}
}

// IPv6 has one address everywhere, and is filtered.
func TestIPv6IsFilteredAndNotTranslated(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
		outer := n.NAT("outer", Symmetric())
		c := listen(t, n.Host("h", HostConfig{NAT: n.NAT("inner", NATConfig{Behind: outer, Filtering: PerEndpoint})}), 5000)
		addr := netip.AddrPortFrom(c.host.v6, 5000)
		stranger := listen(t, n.Host("stranger", HostConfig{NoIPv4: true}), 5000)
		if _, ok := reaches(t, stranger, addr, c); ok {
			t.Error("a stranger reaches it")
		}
		if seen, ok := r.ask(t, c, r.addr6, 0, 0); !ok || seen != addr {
			t.Errorf("%v is seen as %v", addr, seen)
		}
		write(t, c, netip.AddrPortFrom(stranger.host.v6, 5000), "punch")
		if _, _, ok := read(t, stranger); !ok {
			t.Error("there is no way out")
		}
		if _, ok := reaches(t, stranger, addr, c); !ok {
			t.Error("who was written to does not reach it")
		}
		without := n.Host("without", HostConfig{NAT: n.NAT("old", NATConfig{NoIPv6: true})})
		if got := without.Addrs(); len(got) != 1 || !got[0].Is4() {
			t.Errorf("addresses are %v", got)
		}
	})
}
