package overlay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/simnet/natnet"
)

// A simListener is a listener of a simulated network.
type simListener struct {
	*simnet.Listener
	addr net.Addr
}

func (l simListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return simConn{c}, nil
}

// listening starts a node that accepts links at port 5000 of its host's first
// address, on which nothing else listens.
func (l *natLab) listening(name string, nat *natnet.NAT, cfg Config) (*Node, *natnet.Host) {
	l.t.Helper()
	cfg.LinkAddr = ":5000"
	var host *natnet.Host
	var once sync.Once
	cfg.ListenLink = func(context.Context, string) (net.Listener, error) {
		once.Do(func() { host = l.udp.Host(name, natnet.HostConfig{NAT: nat}) })
		at := net.JoinHostPort(host.Addrs()[0].String(), "5000")
		ln, err := l.net.Listen(at)
		if err != nil {
			return nil, err
		}
		return simListener{ln, ln.Addr()}, nil
	}
	cfg.ListenUDP = func(context.Context, string) (net.PacketConn, error) {
		c, err := host.ListenPacket(4000)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	cfg.STUNServers = l.stun
	return l.lab.ready(name, cfg), host
}

// linkAddr is where a host of listening listens.
func linkAddr(h *natnet.Host) string { return net.JoinHostPort(h.Addrs()[0].String(), "5000") }

// stream sends random bytes from one end of a conn to the other until stop is
// closed, and returns a function that closes the conn and compares.
func (l *natLab) stream(from, to net.Conn) (finish func()) {
	rng := rand.New(rand.NewPCG(1, 2))
	var sent, got bytes.Buffer
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer from.Close()
		b := make([]byte, 4000)
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			if _, err := from.Write(b); err != nil {
				l.t.Error(err)
				return
			}
			sent.Write(b)
		}
	})
	wg.Go(func() {
		if _, err := io.Copy(&got, to); err != nil {
			l.t.Error(err)
		}
	})
	return func() {
		close(stop)
		wg.Wait()
		_ = to.Close()
		if !bytes.Equal(sent.Bytes(), got.Bytes()) {
			l.t.Errorf("sent %d bytes, %d came, and not the same", sent.Len(), got.Len())
		}
	}
}

// Where UDP is blocked, a stream moves to a link over TCP and back, with all its
// bytes, whichever side listens.
func TestAStreamMovesToALinkWhereUDPIsBlocked(t *testing.T) {
	for _, listener := range []string{"client", "server", "both"} {
		t.Run(listener, func(t *testing.T) {
			inNATLab(t, func(t *testing.T, l *natLab) { testLinkWithoutUDP(t, l, listener) })
		})
	}
}

func testLinkWithoutUDP(t *testing.T, l *natLab, listener string) {
	start := func(name string, cfg Config) (*Node, *natnet.Host) {
		if listener == "both" || listener == name {
			return l.listening(name, nil, cfg)
		}
		return l.ready(name, nil, cfg)
	}
	events := make(chan Event, 100)
	a, ha := start("client", Config{OnEvent: func(e Event) { events <- e }})
	b, hb := start("server", Config{})
	l.udp.Cut(ha, hb)
	time.Sleep(time.Second)
	ca, cb := l.pair(a, b)
	finish := l.stream(ca, cb)
	becomes(t, a, b.ID(), "sim", 10*time.Second)
	becomes(t, b, a.ID(), "sim", time.Second)
	time.Sleep(10 * time.Second)
	for i, n := range []*Node{a, b} {
		st := pathTo(t, n, []*Node{b, a}[i].ID())
		if st.NotDirect != "" || !st.Paths[0].Direct || !st.Paths[0].Active || !strings.HasPrefix(st.Path, "sim") {
			t.Errorf("status is %+v", st)
		}
		if st.RTT > 3*delay {
			t.Errorf("the round trip is %v over a link with %v", st.RTT, 2*delay)
		}
	}
	at := hb
	if listener != "server" && pathTo(t, a, b.ID()).Path != "sim "+linkAddr(hb) {
		at = ha
	}
	l.net.Kill(at.Addrs()[0].String()) // the listener, with its links
	becomes(t, a, b.ID(), "relay", time.Second)
	becomes(t, b, a.ID(), "relay", time.Second)
	time.Sleep(5 * time.Second)
	finish()
	var kinds []EventKind
	for len(events) > 0 {
		if e := <-events; e.Peer == b.ID() {
			kinds = append(kinds, e.Kind)
			t.Log(e)
		}
	}
	if len(kinds) < 2 || kinds[0] != EventPathUp || kinds[1] != EventPathDown {
		t.Errorf("events are %v", kinds)
	}
}

// With UDP there is no need of a link, and none is made.
func TestNoLinkIsMadeWhereUDPWorks(t *testing.T) {
	inNATLab(t, func(t *testing.T, l *natLab) {
		a, _ := l.ready("a", nil, Config{})
		b, _ := l.listening("b", nil, Config{})
		ca, _ := l.pair(a, b)
		defer ca.Close()
		becomes(t, a, b.ID(), "udp", 5*time.Second)
		time.Sleep(time.Minute)
		if st := b.Status().Links; st.Accepted != 0 || !st.Addr.IsValid() {
			t.Errorf("links are %+v", st)
		}
		if got := b.Status().UDP.Candidates; !slices.ContainsFunc(got, func(c string) bool { return strings.HasPrefix(c, "tcp ") }) {
			t.Errorf("candidates are %v", got)
		}
	})
}

// A link goes on while punching does, and gives way to UDP that works later.
func TestUDPReplacesALink(t *testing.T) {
	inNATLab(t, func(t *testing.T, l *natLab) {
		a, ha := l.ready("a", nil, Config{})
		b, hb := l.listening("b", nil, Config{})
		l.udp.Cut(ha, hb)
		ca, cb := l.pair(a, b)
		finish := l.stream(ca, cb)
		becomes(t, a, b.ID(), "sim", 10*time.Second)
		l.udp.Heal(ha, hb)
		becomes(t, a, b.ID(), "udp", 2*time.Minute)
		l.net.Kill(hb.Addrs()[0].String())
		time.Sleep(5 * time.Second)
		becomes(t, b, a.ID(), "udp", time.Second)
		finish()
	})
}

// stranger connects to a node's listener and says hello, if node is not 0.
func (l *natLab) stranger(from, addr string, tag link.NetworkTag, node NodeID) *simnet.Conn {
	l.t.Helper()
	c, err := l.net.Dial(l.t.Context(), from, addr)
	if err != nil {
		l.t.Fatal(err)
	}
	if node != 0 {
		l.hello(c, link.Hello{Network: tag, Node: node})
	}
	return c
}

func (l *natLab) hello(c *simnet.Conn, h link.Hello) link.FrameConn {
	l.t.Helper()
	fc, err := link.Client(c, h)
	if err != nil {
		l.t.Fatal(err)
	}
	return fc
}

// Strangers at the listener get nothing, take no more than their share, and keep
// no peer from its link.
func TestStrangersAtTheListener(t *testing.T) {
	inNATLab(t, func(t *testing.T, l *natLab) {
		a, ha := l.ready("a", nil, Config{})
		b, hb := l.listening("b", nil, Config{})
		l.udp.Cut(ha, hb)
		addr, tag := linkAddr(hb), link.TagOf(b.credentials.Network().ID())
		ca, cb := l.pair(a, b)
		finish := l.stream(ca, cb)

		l.stranger("silent", addr, tag, 0)
		l.stranger("elsewhere", addr, link.NetworkTag{1}, 7)
		l.stranger("claims", addr, tag, a.ID())
		l.stranger("itself", addr, tag, b.ID())
		relay := l.hello(l.stranger("relay", addr, tag, 0), link.Hello{Network: tag, Node: 8}.FromRelay())
		_, err := relay.ReadFrame()
		if refused, ok := errors.AsType[*link.RefusedError](err); !ok || refused.Status != link.StatusNoMesh {
			t.Errorf("a relay was told %v", err)
		}
		_ = relay.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		if st := b.Status().Links; st.Waiting != 2 || st.Refused != 3 || st.Accepted != 1 {
			t.Errorf("after strangers: %+v", st)
		}
		becomes(t, a, b.ID(), "sim", 10*time.Second)
		time.Sleep(linkProof)
		if st := b.Status().Links; st.Waiting != 0 || st.Refused != 4 || st.Unproven != 1 || st.Links != 1 {
			t.Errorf("after the time to prove: %+v", st)
		}
		for i := range 1000 {
			l.stranger("crowd", addr, tag, NodeID(i+1))
		}
		time.Sleep(time.Second)
		if st := b.Status().Links; st.Waiting > maxUnproven || st.Links != 1 || st.Refused+st.Accepted < 1000 {
			t.Errorf("in a crowd: %+v", st)
		}
		roundTripOf(t, a, b)
		time.Sleep(linkProof)
		if st := b.Status().Links; st.Waiting != 0 || st.Links != 1 {
			t.Errorf("after the crowd: %+v", st)
		}
		finish()
	})
}

// roundTripOf says hello over a new conn.
func roundTripOf(t *testing.T, a, b *Node) {
	t.Helper()
	ln, err := b.Listen(81)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := a.Dial(t.Context(), b.ID().String()+":81")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	roundTripBetween(t, c, d)
}

// A gate holds for each address and in all, and forgets who has left.
func TestLinkGate(t *testing.T) {
	g := newLinkGate()
	none := func() error { return nil }
	addr := func(i int) net.Addr {
		return &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i)), Port: 1000 + i}
	}
	var slots []*linkSlot
	for range maxUnprovenPerAddress {
		slots = append(slots, g.enter(addr(1), none))
	}
	if g.enter(addr(1), none) != nil {
		t.Error("one address has more than its share")
	}
	for i := 2; ; i++ {
		s := g.enter(addr(i), none)
		if s == nil {
			break
		}
		slots = append(slots, s)
	}
	if len(slots) != maxUnproven {
		t.Errorf("%d conns are let in", len(slots))
	}
	if !slots[0].prove() || g.enter(addr(1), none) == nil {
		t.Error("who has proven himself still takes the room of those who have not")
	}
	for _, s := range slots {
		s.leave()
	}
	if got := g.count(); got != (linkUsage{unproven: 1}) || len(g.addresses) != 1 {
		t.Errorf("what is left is %+v, %d addresses", got, len(g.addresses))
	}
	var proven int
	for range maxPeerLinksPerAddress + 1 {
		if s := g.enter(addr(9), none); s.prove() {
			proven++
		} else {
			s.leave()
		}
	}
	if proven != maxPeerLinksPerAddress {
		t.Errorf("%d links of one address", proven)
	}
}

// Who has proven nothing for a while gives way, the oldest first, and to those of his
// own address if that has its share.
func TestOldStrangersGiveWayAtTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, ended := newLinkGate(), make(map[int]int)
		enter := func(i int) *linkSlot {
			return g.enter(&net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i)), Port: 1000}, func() error { ended[i]++; return nil })
		}
		first := enter(1)
		for i := 1; i < maxUnproven; i++ {
			enter(1 + i/maxUnprovenPerAddress)
		}
		if enter(99) != nil {
			t.Error("more than may be")
		}
		time.Sleep(unprovenPatience)
		if enter(99) == nil || ended[1] != 1 || len(ended) != 1 || !first.gaveWay() || first.prove() {
			t.Errorf("the oldest has not given way: %v", ended)
		}
		first.leave()
		enter(1)
		if enter(2) == nil || ended[2] != 1 {
			t.Errorf("the oldest of an address has not given way: %v", ended)
		}
		if got := g.count(); got.unproven != maxUnproven || len(g.waiting) != maxUnproven {
			t.Errorf("%+v, %d wait", got, len(g.waiting))
		}
	})
}

// Strangers from ever new addresses claim to be peers, all the time, and prove nothing.
// A peer gets its link all the same.
func TestACrowdAtTheListenerKeepsNobodyOut(t *testing.T) {
	inNATLab(t, func(t *testing.T, l *natLab) {
		a, ha := l.ready("a", nil, Config{})
		b, hb := l.listening("b", nil, Config{})
		l.udp.Cut(ha, hb)
		addr, tag := linkAddr(hb), link.TagOf(b.credentials.Network().ID())
		over := make(chan struct{})
		l.wg.Go(func() {
			for i := 1; ; i++ {
				select {
				case <-over:
					return
				case <-time.After(20 * time.Millisecond):
					l.stranger(fmt.Sprint("stranger-", i), addr, tag, NodeID(i))
				}
			}
		})
		defer close(over)
		time.Sleep(5 * time.Second)
		if st := b.Status().Links; st.Waiting != maxUnproven {
			t.Errorf("in a crowd: %+v", st)
		}
		ca, cb := l.pair(a, b)
		defer ca.Close()
		defer cb.Close()
		becomes(t, a, b.ID(), "sim", 10*time.Second)
		if st := b.Status().Links; st.Links != 1 || st.Waiting > maxUnproven || st.Unproven == 0 {
			t.Errorf("with a link: %+v", st)
		}
	})
}

func TestLinkAddrIsChecked(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no port":      {LinkAddr: "192.0.2.1"},
		"a name":       {LinkAddr: "example.org:4000"},
		"relays alone": {LinkAddr: ":4000", NoDirect: true},
	} {
		cfg.Open = true
		if n, err := New(cfg); err == nil || !strings.Contains(err.Error(), "LinkAddr") {
			t.Errorf("%s: %v", name, err)
			if n != nil {
				_ = n.Close()
			}
		}
	}
}

// A link over which nothing gets any more is left as soon as a relay is.
func TestALinkThatFallsSilentIsLeft(t *testing.T) {
	inNATLab(t, func(t *testing.T, l *natLab) {
		a, ha := l.ready("a", nil, Config{})
		b, hb := l.listening("b", nil, Config{})
		l.udp.Cut(ha, hb)
		ca, cb := l.pair(a, b)
		finish := l.stream(ca, cb)
		becomes(t, a, b.ID(), "sim", 10*time.Second)
		l.net.Cut(hb.Addrs()[0].String())
		becomes(t, a, b.ID(), "relay", link.DefaultProbeTimeout+time.Second)
		becomes(t, b, a.ID(), "relay", link.DefaultProbeTimeout+time.Second)
		l.net.Heal(hb.Addrs()[0].String())
		becomes(t, a, b.ID(), "sim", 2*time.Minute)
		finish()
	})
}
