package natprobe_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/natprobe"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/simnet/natnet"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

func TestKindsOfNAT(t *testing.T) {
	perAddress := natnet.NATConfig{Mapping: natnet.PerAddress, Filtering: natnet.PerAddress, Ports: natnet.RandomPort}
	sequential := natnet.NATConfig{Mapping: natnet.PerEndpoint, Filtering: natnet.PerEndpoint, Ports: natnet.SequentialPort}
	random := natnet.PortRestricted()
	random.Ports = natnet.RandomPort
	for _, tt := range []struct {
		name      string
		nat       natnet.NATConfig
		mapping   natprobe.Mapping
		filtering natprobe.Filtering
		step      int
	}{
		{"full cone", natnet.EndpointIndependent(), natprobe.MappingIndependent, natprobe.FilterAddress, 0},
		{"address restricted", natnet.AddressRestricted(), natprobe.MappingIndependent, natprobe.FilterAddress, 0},
		{"port restricted", natnet.PortRestricted(), natprobe.MappingIndependent, natprobe.FilterPort, 0},
		{"port restricted, random ports", random, natprobe.MappingIndependent, natprobe.FilterPort, 0},
		{"symmetric", natnet.Symmetric(), natprobe.MappingPort, natprobe.FilterPort, 0},
		{"symmetric, sequential", sequential, natprobe.MappingPort, natprobe.FilterPort, 1},
		{"address dependent", perAddress, natprobe.MappingAddress, natprobe.FilterAddress, 0},
		{"firewall", natnet.Firewall(), natprobe.MappingIndependent, natprobe.FilterPort, 0},
		{"open", natnet.Open(), natprobe.MappingIndependent, natprobe.FilterAddress, 0},
	} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%s/%d", tt.name, seed), func(t *testing.T) {
				inLab(t, seed, func(l *lab) {
					a, b := l.relay(true), l.relay(true)
					nat := l.NAT("nat", tt.nat)
					c := l.client(natnet.HostConfig{NAT: nat}, 0, a.addr, b.addr)
					elapse(6 * time.Second)
					r := c.Result()
					if r.Mapping != tt.mapping || r.Filtering != tt.filtering || r.Step != tt.step {
						t.Errorf("mapping %v, filtering %v, step %d", r.Mapping, r.Filtering, r.Step)
					}
					if tt.mapping == natprobe.MappingIndependent && len(r.Reflexive) != 1 || len(r.Reflexive) == 0 {
						t.Errorf("addresses %v", r.Reflexive)
					}
					for _, addr := range r.Reflexive {
						if !tt.nat.Plain && addr.Addr() != nat.Addr() {
							t.Errorf("address %v is not the NAT's %v", addr, nat.Addr())
						}
					}
				})
			})
		}
	}
}

func TestWhatOneServerCanTell(t *testing.T) {
	for _, tt := range []struct {
		name      string
		nat       natnet.NATConfig
		pair      bool
		mapping   natprobe.Mapping
		filtering natprobe.Filtering
	}{
		{"cone, one port", natnet.PortRestricted(), false, natprobe.MappingUnknown, natprobe.FilterUnknown},
		{"cone, two ports", natnet.PortRestricted(), true, natprobe.MappingUnknown, natprobe.FilterPort},
		{"symmetric, one port", natnet.Symmetric(), false, natprobe.MappingUnknown, natprobe.FilterUnknown},
		{"symmetric, two ports", natnet.Symmetric(), true, natprobe.MappingPort, natprobe.FilterPort},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, 1, func(l *lab) {
				c := l.client(natnet.HostConfig{NAT: l.NAT("nat", tt.nat)}, 0, l.relay(tt.pair).addr)
				elapse(6 * time.Second)
				if r := c.Result(); r.Mapping != tt.mapping || r.Filtering != tt.filtering {
					t.Errorf("mapping %v, filtering %v", r.Mapping, r.Filtering)
				}
			})
		})
	}
}

func TestBothVersionsAndTheFirstAddressAtOnce(t *testing.T) {
	inLab(t, 1, func(l *lab) {
		a, b := l.relay(true), l.relay(false)
		nat := l.NAT("nat", natnet.PortRestricted())
		began := time.Now()
		c := l.client(natnet.HostConfig{NAT: nat}, 0, a.addr, a.addr6, b.addr, b.addr6)
		<-c.changes
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the first result after %v", took)
		}
		elapse(6 * time.Second)
		r := c.Result()
		if len(r.Reflexive) != 2 || !r.Reflexive[0].Addr().Is4() || !r.Reflexive[1].Addr().Is6() || r.Mapping != natprobe.MappingIndependent {
			t.Errorf("%+v", r)
		}
	})
}

// The addresses behind a NAT stay as they are because of the keepalives, and
// do not without.
func TestMappingsAreKeptAlive(t *testing.T) {
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		keep    time.Duration
		changes int // at most, in ten minutes
		lives   bool
	}{
		{"30 s", 30 * time.Second, 0, 0, true},
		{"two minutes", 2 * time.Minute, 0, 0, true},
		{"20 s: asks more often", 20 * time.Second, 0, 2, true},
		{"without", 30 * time.Second, -1, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, 1, func(l *lab) {
				cfg := natnet.EndpointIndependent()
				cfg.Ports, cfg.Timeout = natnet.RandomPort, tt.timeout
				a, b := l.relay(false), l.relay(false)
				c := l.client(natnet.HostConfig{NAT: l.NAT("nat", cfg)}, tt.keep, a.addr, b.addr)
				elapse(4 * time.Second)
				first := c.Result().Reflexive
				drain(c)
				elapse(10*time.Minute - 10*time.Second)
				if n := len(c.changes); n > tt.changes && tt.lives {
					t.Errorf("%d changes: %v, then %v", n, first, c.Result().Reflexive)
				}
				if n := c.Counters().Requests; n > 90 {
					t.Errorf("%d requests in ten minutes", n)
				}
				// Somebody who was told of the address knocks, just before the next keepalive.
				knock := []byte("knock")
				stranger := l.listen(l.Host("stranger", natnet.HostConfig{}), 0)
				before := c.Counters().Malformed
				_, _ = stranger.WriteToUDPAddrPort(knock, c.Result().Reflexive[0])
				elapse(time.Second)
				if came := c.Counters().Malformed != before; came != tt.lives {
					t.Errorf("what is sent to %v arrives: %v", c.Result().Reflexive, came)
				}
			})
		})
	}
}

func drain(c *client) {
	for len(c.changes) > 0 {
		<-c.changes
	}
}

func TestChangesAreNoticed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(nat *natnet.NAT, c *client)
		within time.Duration
	}{
		{"new public address", func(nat *natnet.NAT, _ *client) { nat.Renumber() }, natprobe.DefaultKeepAlive + time.Second},
		{"the NAT restarts", func(nat *natnet.NAT, _ *client) { nat.Flush() }, natprobe.DefaultKeepAlive + time.Second},
		{"the network changes", func(nat *natnet.NAT, c *client) { nat.Renumber(); c.Refresh() }, 100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, 1, func(l *lab) {
				cfg := natnet.PortRestricted()
				cfg.Ports = natnet.RandomPort
				nat := l.NAT("nat", cfg)
				a, b := l.relay(true), l.relay(true)
				c := l.client(natnet.HostConfig{NAT: nat}, 0, a.addr, b.addr)
				elapse(10 * time.Second)
				before := c.Result()
				drain(c)
				tt.change(nat, c)
				elapse(tt.within)
				if len(c.changes) != 1 {
					t.Fatalf("%d changes", len(c.changes))
				}
				after := <-c.changes
				if after.Reflexive[0].Addr() != nat.Addr() || after.Reflexive[0] == before.Reflexive[0] || len(after.Reflexive) != 1 {
					t.Errorf("%v became %v, NAT %v", before.Reflexive, after.Reflexive, nat.Addr())
				}
				if after.Mapping != before.Mapping || after.Filtering != before.Filtering {
					t.Errorf("%+v became %+v", before, after)
				}
			})
		})
	}
}

func TestServersThatDieAndComeBack(t *testing.T) {
	inLab(t, 1, func(l *lab) {
		a, b := l.relay(true), l.relay(true)
		c := l.client(natnet.HostConfig{NAT: l.NAT("nat", natnet.PortRestricted())}, 0, a.addr, b.addr)
		elapse(10 * time.Second)
		drain(c)
		want := c.Result()
		b.stop()
		elapse(10 * time.Minute)
		a.stop()
		elapse(30 * time.Second) // a restart
		a.start(true)
		elapse(10 * time.Minute)
		if n := len(c.changes); n != 0 {
			t.Errorf("%d changes: %+v became %+v", n, want, c.Result())
		}
		a.stop()
		elapse(2 * time.Minute)
		if r := c.Result(); len(r.Reflexive) != 0 || r.Mapping != natprobe.MappingUnknown {
			t.Errorf("two minutes without any server there is %+v", r)
		}
		before := c.Counters().Requests
		elapse(time.Hour)
		if n := c.Counters().Requests - before; n > 2*7*15 {
			t.Errorf("%d requests in an hour without servers", n)
		}
		b.start(true)
		elapse(6 * time.Minute)
		if r := c.Result(); !slices.Equal(r.Reflexive, want.Reflexive) {
			t.Errorf("when one is back there is %v, want %v", r.Reflexive, want.Reflexive)
		}
	})
}

func TestAServerThatNeverAnswers(t *testing.T) {
	inLab(t, 1, func(l *lab) {
		dead := netip.AddrPortFrom(l.Host("dead", natnet.HostConfig{}).Addrs()[0], stunPort)
		a, b := l.relay(true), l.relay(true)
		c := l.client(natnet.HostConfig{NAT: l.NAT("nat", natnet.Symmetric())}, 0, dead, a.addr, b.addr)
		elapse(8 * time.Second)
		if r := c.Result(); r.Mapping != natprobe.MappingPort || len(r.Reflexive) != 4 {
			t.Errorf("%+v", r)
		}
	})
	// Alone it is asked as RFC 8489 has it.
	inLab(t, 1, func(l *lab) {
		dead := l.listen(l.Host("dead", natnet.HostConfig{}), stunPort)
		began := time.Now()
		c := l.client(natnet.HostConfig{NoIPv6: true}, 0, netip.AddrPortFrom(dead.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), stunPort))
		c.SetServers([]netip.AddrPort{netip.MustParseAddrPort("198.18.0.1:3478")})
		var at []time.Duration
		b := make([]byte, 100)
		for range 8 {
			if _, _, err := dead.ReadFromUDPAddrPort(b); err != nil {
				t.Fatal(err)
			}
			at = append(at, time.Since(began).Truncate(100*time.Millisecond))
		}
		ms := time.Millisecond
		want := []time.Duration{0, 500 * ms, 1500 * ms, 3500 * ms, 7500 * ms, 15500 * ms, 31500 * ms, 64500 * ms}
		if !slices.Equal(at, want) {
			t.Errorf("asked at %v, want %v", at, want)
		}
	})
}

func TestLoss(t *testing.T) {
	for seed := range uint64(10) {
		inLab(t, seed, func(l *lab) {
			a, b := l.relay(true), l.relay(true)
			lossy := simnet.Impairment{Loss: 0.2, Delay: 30 * time.Millisecond, Jitter: 5 * time.Millisecond}
			c := l.client(natnet.HostConfig{NAT: l.NAT("nat", natnet.AddressRestricted()), Up: lossy, Down: lossy}, 0, a.addr, b.addr)
			elapse(time.Minute)
			if r := c.Result(); r.Mapping != natprobe.MappingIndependent || len(r.Reflexive) != 1 {
				t.Errorf("seed %d: %+v", seed, r)
			}
		})
	}
}

func TestServersThatDisagree(t *testing.T) {
	lie := netip.MustParseAddrPort("192.0.2.66:666")
	for _, tt := range []struct {
		honest  int
		mapping natprobe.Mapping
	}{
		{1, natprobe.MappingPort}, // nobody can tell
		{2, natprobe.MappingIndependent},
		{3, natprobe.MappingIndependent},
	} {
		inLab(t, 1, func(l *lab) {
			liar := l.listen(l.Host("liar", natnet.HostConfig{}), stunPort)
			l.reflect(liar, func(netip.AddrPort) netip.AddrPort { return lie })
			servers := []netip.AddrPort{netip.MustParseAddrPort("198.18.0.1:3478")}
			for range tt.honest {
				servers = append(servers, l.relay(false).addr)
			}
			nat := l.NAT("nat", natnet.PortRestricted())
			c := l.client(natnet.HostConfig{NAT: nat}, 0, servers...)
			elapse(10 * time.Minute)
			r := c.Result()
			if r.Mapping != tt.mapping || !slices.Contains(r.Reflexive, netip.AddrPortFrom(nat.Addr(), clientPort)) {
				t.Errorf("%d honest: %+v", tt.honest, r)
			}
			if tt.honest > 1 && r.Reflexive[0] == lie {
				t.Errorf("the lie comes first: %v", r.Reflexive)
			}
			if n := len(c.changes); n > 4 {
				t.Errorf("%d changes in ten minutes", n)
			}
		})
	}
}

// A relay on this side of the NAT sees another address, which says nothing of
// the NAT, and is worth telling all the same.
func TestServersOnTheLAN(t *testing.T) {
	inLab(t, 1, func(l *lab) {
		nat := l.NAT("nat", natnet.PortRestricted())
		near := l.relayBehind(true, natnet.HostConfig{NAT: nat})
		a, b := l.relay(true), l.relay(true)
		c := l.client(natnet.HostConfig{NAT: nat}, 0, near.addr, a.addr, b.addr)
		elapse(6 * time.Second)
		r := c.Result()
		local := c.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		if r.Mapping != natprobe.MappingIndependent || len(r.Reflexive) != 2 || r.Reflexive[0] != netip.AddrPortFrom(nat.Addr(), local) || !r.Reflexive[1].Addr().IsPrivate() {
			t.Errorf("%+v", r)
		}
	})
}

func TestForgedAnswersCountNothing(t *testing.T) {
	inLab(t, 1, func(l *lab) {
		server := l.listen(l.Host("server", natnet.HostConfig{}), stunPort)
		from := netip.MustParseAddrPort("198.18.0.1:3478")
		c := l.client(natnet.HostConfig{}, 0, from)
		b := make([]byte, 100)
		n, _, err := server.ReadFromUDPAddrPort(b)
		if err != nil || n < 20 {
			t.Fatal(n, err)
		}
		id, lie, truth := b[8:20], netip.MustParseAddrPort("192.0.2.66:666"), netip.MustParseAddrPort("192.0.2.1:1")
		guess := slices.Clone(id)
		guess[11]++
		for range 1000 {
			c.Handle(from, answer(guess, lie, netip.AddrPort{}))
		}
		c.Handle(netip.AddrPortFrom(from.Addr(), from.Port()+1), answer(id, lie, netip.AddrPort{}))
		c.Handle(netip.MustParseAddrPort("192.0.2.9:3478"), answer(id, lie, netip.AddrPort{}))
		c.Handle(from, []byte("\x01\x01 is no answer"))
		c.Handle(from, answer(id, truth, netip.AddrPort{}))
		c.Handle(from, answer(id, lie, netip.AddrPort{})) // once only
		elapse(time.Second)
		if r := c.Result(); !slices.Equal(r.Reflexive, []netip.AddrPort{truth}) {
			t.Errorf("%v", r.Reflexive)
		}
		if n := c.Counters(); n.Stray != 1003 || n.Malformed != 1 || n.Answers != 1 {
			t.Errorf("%+v", n)
		}
	})
}

func TestNonsenseOfServers(t *testing.T) {
	for _, lie := range []string{"0.0.0.0:1", "224.0.0.1:1", "192.0.2.1:0"} {
		inLab(t, 1, func(l *lab) {
			l.reflect(l.listen(l.Host("liar", natnet.HostConfig{}), stunPort), func(netip.AddrPort) netip.AddrPort { return netip.MustParseAddrPort(lie) })
			c := l.client(natnet.HostConfig{}, 0, netip.MustParseAddrPort("198.18.0.1:3478"))
			elapse(time.Minute)
			if r := c.Result(); len(r.Reflexive) != 0 {
				t.Errorf("%s is taken", lie)
			}
		})
	}
}

func TestSetServers(t *testing.T) {
	inLab(t, 1, func(l *lab) {
		a, b := l.relay(true), l.relay(true)
		nat := l.NAT("nat", natnet.PortRestricted())
		c := l.client(natnet.HostConfig{NAT: nat}, 0)
		elapse(time.Hour)
		if n := c.Counters().Requests; n != 0 {
			t.Errorf("%d requests without servers", n)
		}
		c.SetServers([]netip.AddrPort{a.addr})
		elapse(5 * time.Second)
		if r := c.Result(); r.Mapping != natprobe.MappingUnknown || len(r.Reflexive) != 1 {
			t.Errorf("one server: %+v", r)
		}
		before := c.Counters().Requests
		c.SetServers([]netip.AddrPort{a.addr, b.addr, a.addr, {}, netip.MustParseAddrPort("0.0.0.0:1")})
		elapse(time.Second)
		if r := c.Result(); r.Mapping != natprobe.MappingIndependent || len(r.Reflexive) != 1 {
			t.Errorf("two servers: %+v", r)
		}
		if n := c.Counters().Requests - before; n > 4 {
			t.Errorf("%d requests for a new server", n)
		}
		c.SetServers(nil)
		elapse(time.Second)
		if r := c.Result(); len(r.Reflexive) != 0 || r.Mapping != natprobe.MappingUnknown {
			t.Errorf("no servers: %+v", r)
		}
		before = c.Counters().Requests
		elapse(time.Hour)
		if n := c.Counters().Requests; n != before {
			t.Errorf("%d requests without servers", n-before)
		}
	})
}

func TestAServerWithTwoAddressesTellsMore(t *testing.T) {
	for _, tt := range []struct {
		nat       natnet.NATConfig
		filtering natprobe.Filtering
	}{
		{natnet.EndpointIndependent(), natprobe.FilterNone},
		{natnet.AddressRestricted(), natprobe.FilterAddress},
		{natnet.PortRestricted(), natprobe.FilterPort},
	} {
		inLab(t, 1, func(l *lab) {
			c := l.client(natnet.HostConfig{NAT: l.NAT("nat", tt.nat)}, 0, l.twoHosts())
			elapse(10 * time.Second)
			if r := c.Result(); r.Filtering != tt.filtering {
				t.Errorf("%+v, want %v", r, tt.filtering)
			}
		})
	}
}

// A host without IPv6 has no trouble with servers that have it, and one whose
// network is down asks again.
func TestSendErrors(t *testing.T) {
	inLab(t, 1, func(l *lab) {
		a := l.relay(true)
		h := l.Host("client", natnet.HostConfig{NoIPv6: true})
		conn := l.listen(h, clientPort)
		p := natprobe.New(natprobe.Config{Send: func(b []byte, to netip.AddrPort) error {
			_, err := conn.WriteToUDPAddrPort(b, to)
			return err
		}})
		defer p.Close()
		l.wg.Go(func() {
			b := make([]byte, 1500)
			for {
				n, from, err := conn.ReadFromUDPAddrPort(b)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				p.Handle(from, b[:n])
			}
		})
		h.SetUp(false)
		p.SetServers([]netip.AddrPort{a.addr, a.addr6})
		elapse(10 * time.Second)
		if n := p.Counters(); n.SendErrors != 2 || n.Requests != 2 {
			t.Errorf("%+v", n)
		}
		h.SetUp(true)
		elapse(natprobe.DefaultKeepAlive)
		if r := p.Result(); len(r.Reflexive) != 1 {
			t.Errorf("%+v", r)
		}
	})
}

func TestLoopback(t *testing.T) {
	var lc net.ListenConfig
	listen := func() *net.UDPConn {
		c, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return c.(*net.UDPConn)
	}
	node, err := overlay.New(overlay.Config{Open: true, DialLink: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	server, pc, alternate, conn := &relay.Server{Host: node}, listen(), listen(), listen()
	served := make(chan error, 1)
	go func() { served <- server.ServePackets(pc, alternate) }()
	results := make(chan natprobe.Result, 100)
	p := natprobe.New(natprobe.Config{
		Send:     func(b []byte, to netip.AddrPort) error { _, err := conn.WriteToUDPAddrPort(b, to); return err },
		OnChange: func(r natprobe.Result) { results <- r },
	})
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			p.Handle(from, b[:n])
		}
	}()
	p.SetServers([]netip.AddrPort{pc.LocalAddr().(*net.UDPAddr).AddrPort()})
	want := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	for r := range results {
		if !slices.Equal(r.Reflexive, []netip.AddrPort{want}) {
			t.Fatalf("%v, want %v", r.Reflexive, want)
		}
		if r.Filtering == natprobe.FilterAddress { // the answer from the other port came
			break
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	_ = conn.Close()
	<-read
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != relay.ErrServerClosed {
		t.Error(err)
	}
}
