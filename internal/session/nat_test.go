package session

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/simnet/natnet"
	"github.com/weftnet/weft/internal/udp"
)

// A natEnd is a node with a socket in a simulated internet, and a route.
type natEnd struct {
	host  *natnet.Host
	sock  *udp.Socket
	e     *Endpoint
	route *wirePath
	port  uint16
}

func (n *natEnd) addr() netip.AddrPort { return netip.AddrPortFrom(n.host.Addrs()[0], n.port) }

// challenge tries the flow to an address, as whoever looks for paths does.
func (n *natEnd) challenge(s *Session, to netip.AddrPort) *udp.Flow {
	fl := n.sock.Flow(to)
	s.Challenge(fl)
	return fl
}

func natPair(t *testing.T, seed uint64, hosts ...*natnet.Host) (ends [2]*natEnd) {
	t.Helper()
	for i := range ends {
		n := &natEnd{host: hosts[i], route: &wirePath{name: "route", mtu: frame.MaxPacket}}
		c, err := n.host.ListenPacket(0)
		if err != nil {
			t.Fatal(err)
		}
		n.port = c.Port()
		n.e, err = NewEndpoint(Config{Credentials: credentials(t), Layer: "native", Route: func(identity.NodeID) Path { return n.route }})
		if err != nil {
			t.Fatal(err)
		}
		n.route.self = n.e.self
		n.sock, err = udp.Open(t.Context(), udp.Config{Conn: udp.OneByOne(c), Self: n.e.self, OnFrame: func(fl *udp.Flow, f *frame.Frame) { n.e.Receive(f, fl) }})
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = n
	}
	for i, n := range ends {
		far := ends[1-i]
		n.route.wire = simnet.NewWire(relayed, seed+uint64(i), func(f *frame.Frame) { far.e.Receive(f, far.route) })
	}
	return ends
}

func (n *natEnd) close() {
	_ = n.e.Close()
	_ = n.sock.Close()
	n.route.wire.Close()
}

// A stream survives what happens to addresses, over real flows: a NAT that
// forgets, NATs and hosts that get other addresses, a machine that sleeps.
func TestStreamSurvivesWhatNATsDo(t *testing.T) {
	for seed := range uint64(seeds(6)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { natChaos(t, seed) })
		})
	}
}

func natChaos(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 11))
	n := natnet.New(seed)
	defer n.Close()
	nat := n.NAT("nat", []natnet.NATConfig{natnet.PortRestricted(), natnet.Symmetric(), natnet.EndpointIndependent()}[seed%3])
	far, near := n.Host("far", natnet.HostConfig{}), n.Host("near", natnet.HostConfig{NAT: nat})
	if seed%2 == 1 {
		near.Impair(simnet.Impairment{Loss: 0.02, Rate: 2 << 20}, simnet.Impairment{Loss: 0.02, Rate: 2 << 20})
	}
	ends := natPair(t, seed, near, far)
	a, b := ends[0], ends[1]
	defer a.close()
	defer b.close()
	there, err := a.e.Dial(t.Context(), identity.Target{ID: b.e.self})
	if err != nil {
		t.Fatal(err)
	}
	var back *Session
	for back == nil {
		time.Sleep(time.Millisecond)
		back = b.e.Session(a.e.self)
	}
	x, y := open(t, there, back)
	var wg sync.WaitGroup
	wg.Go(func() { transfer(t, x, y, 4<<20, seed) })
	defer wg.Wait()
	direct := func(what string) {
		fl := a.challenge(there, b.addr())
		defer fl.Forget()
		for range 300 { // a path that is full of data seems slower than the route
			_, on := there.Path().(*udp.Flow)
			_, backOn := back.Path().(*udp.Flow)
			if on && backOn {
				return
			}
			time.Sleep(100 * time.Millisecond)
			there.Challenge(fl)
		}
		t.Errorf("%s: no direct path after 30 s: %+v\n%+v", what, there.Paths(), back.Paths())
	}
	direct("at first")
	for range 4 {
		time.Sleep(time.Duration(200+rng.IntN(300)) * time.Millisecond)
		switch rng.IntN(5) {
		case 0:
			nat.Flush()
			direct("the NAT forgot")
		case 1:
			nat.Renumber()
			direct("the NAT has a new address")
		case 2:
			far.Renumber()
			back.Recheck()
			direct("the far host has a new address")
		case 3:
			near.Renumber()
			far.Renumber()
			there.Recheck()
			back.Recheck()
			direct("both have new addresses")
		case 4:
			near.Sleep()
			time.Sleep(time.Duration(rng.IntN(5)) * time.Second)
			near.Resume()
			there.Recheck()
			direct("the machine slept")
		}
	}
	wg.Wait()
	for _, e := range ends {
		if c := e.sock.Counters(); c.DroppedUnvalidated > 0 {
			t.Errorf("%d frames exceeded what an unvalidated address may be sent", c.DroppedUnvalidated)
		}
	}
	if r := there.Paths(); len(r) > 1+maxPaths {
		t.Errorf("%d paths", len(r))
	}
}

// A session that never had a route stands and falls with its flow, and finds
// the next one by itself when the NAT forgets.
func TestSessionWithoutARouteSurvivesARebinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := natnet.New(1)
		defer n.Close()
		nat := n.NAT("nat", natnet.PortRestricted())
		far, near := n.Host("far", natnet.HostConfig{}), n.Host("near", natnet.HostConfig{NAT: nat})
		ends := natPair(t, 1, near, far)
		a, b := ends[0], ends[1]
		defer a.close()
		defer b.close()
		for _, e := range ends {
			e.route.blocked.Store(true)
			e.route.wire.Set(simnet.Impairment{Down: true})
		}
		fl := a.sock.Flow(b.addr())
		there, err := a.e.DialDirect(t.Context(), identity.Target{ID: b.e.self}, fl)
		if err != nil {
			t.Fatal(err)
		}
		fl.Forget()
		back := b.e.Session(a.e.self)
		for back == nil {
			time.Sleep(time.Millisecond)
			back = b.e.Session(a.e.self)
		}
		x, y := open(t, there, back)
		transfer(t, x, y, 1<<20, 1)
		for i := range 5 {
			nat.Flush()
			nat.Renumber()
			x, y = open(t, there, back)
			begun := time.Now()
			transfer(t, x, y, 1<<20, uint64(i))
			if d := time.Since(begun); d > 5*time.Second {
				t.Errorf("took %v after the NAT has forgotten: %+v", d, back.Paths())
			}
		}
		time.Sleep(3 * time.Minute) // idle, with a stream or without
		x, y = open(t, there, back)
		transfer(t, x, y, 1<<20, 9)
	})
}
