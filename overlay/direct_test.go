package overlay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/direct"
	"github.com/weftnet/weft/internal/netmon"
	"github.com/weftnet/weft/internal/simnet/natnet"
)

// A natLab is a lab whose hosts have UDP, too.
type natLab struct {
	*lab
	udp  *natnet.Network
	stun []string
}

// inNATLab runs a test in a bubble with a lab that has UDP. The relay answers STUN
// on two hosts.
func inNATLab(t *testing.T, f func(t *testing.T, l *natLab)) {
	t.Helper()
	inLab(t, func(t *testing.T, l *lab) {
		nl := &natLab{lab: l, udp: natnet.New(1)}
		defer nl.udp.Close()
		for range 2 {
			h := nl.udp.Host("relay", natnet.HostConfig{})
			pc, err := h.ListenPacket(9999)
			if err != nil {
				t.Fatal(err)
			}
			nl.stun = append(nl.stun, netip.AddrPortFrom(h.Addrs()[0], 9999).String())
			l.wg.Go(func() { _ = l.server.ServePacket(pc) })
		}
		defer func() { // before the network ends, so that the last packets get out
			for _, n := range l.nodes {
				_ = n.Close()
			}
			_ = l.server.Close()
		}()
		f(t, nl)
	})
}

// v4 returns a kind of NAT without IPv6, by which hosts need no NAT.
func v4(cfg natnet.NATConfig) natnet.NATConfig {
	cfg.NoIPv6 = true
	return cfg
}

// ready starts a registered node on a host behind a NAT, nil for none.
func (l *natLab) ready(name string, nat *natnet.NAT, cfg Config) (*Node, *natnet.Host) {
	l.t.Helper()
	h := l.udp.Host(name, natnet.HostConfig{NAT: nat})
	cfg.ListenUDP = func(context.Context, string) (net.PacketConn, error) {
		c, err := h.ListenPacket(4000)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	cfg.STUNServers = l.stun
	return l.lab.ready(name, cfg), h
}

// pathTo returns the path of the session with a peer.
func pathTo(t *testing.T, n *Node, peer NodeID) PeerStatus {
	t.Helper()
	for st := range n.Peers() {
		if st.ID == peer {
			return st
		}
	}
	t.Fatalf("no session with %v", peer)
	return PeerStatus{}
}

// becomes waits until a peer's path begins with prefix, for at most d.
func becomes(t *testing.T, n *Node, peer NodeID, prefix string, d time.Duration) {
	t.Helper()
	end := time.Now().Add(d)
	for {
		st := pathTo(t, n, peer)
		if strings.HasPrefix(st.Path, prefix) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %v the path is %q, want %q; %s; %+v", d, st.Path, prefix, st.NotDirect, st.Paths)
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
	}
}

// chatter sends bytes over a conn and back until the test is over, and counts.
func (l *natLab) chatter(c net.Conn) *atomic.Int64 {
	var rounds atomic.Int64
	l.wg.Go(func() {
		b := make([]byte, 1000)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			rounds.Add(1)
			time.Sleep(20 * time.Millisecond)
		}
	})
	return &rounds
}

func TestAStreamMovesToADirectPathAndBack(t *testing.T) {
	inNATLab(t, func(t *testing.T, l *natLab) {
		events := make(chan Event, 100)
		a, ha := l.ready("a", l.udp.NAT("na", v4(natnet.PortRestricted())), Config{OnEvent: func(e Event) { events <- e }})
		b, hb := l.ready("b", l.udp.NAT("nb", v4(natnet.PortRestricted())), Config{})
		l.echo(b)
		time.Sleep(time.Second)
		c, err := a.Dial(t.Context(), b.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		if path, _ := PathOf(c); !strings.HasPrefix(path, "relay") {
			t.Errorf("it begins on %q", path)
		}
		rounds := l.chatter(c)
		becomes(t, a, b.ID(), "udp", 2*time.Second)
		becomes(t, b, a.ID(), "udp", 2*time.Second)
		if st := pathTo(t, a, b.ID()); st.NotDirect != "" {
			t.Errorf("it says why the path is not direct: %s", st.NotDirect)
		}
		l.udp.Cut(ha, hb)
		becomes(t, a, b.ID(), "relay", 5*time.Second)
		becomes(t, b, a.ID(), "relay", 5*time.Second)
		l.udp.Heal(ha, hb)
		becomes(t, a, b.ID(), "udp", time.Minute)
		becomes(t, b, a.ID(), "udp", time.Minute)
		before := rounds.Load()
		time.Sleep(time.Second)
		if rounds.Load() == before {
			t.Error("the stream stands still")
		}
		_ = c.Close()
		var kinds []EventKind
		for len(events) > 0 {
			if e := <-events; e.Peer == b.ID() {
				kinds = append(kinds, e.Kind)
				t.Log(e)
			}
		}
		if want := []EventKind{EventPathUp, EventPathDown, EventPathUp}; !slices.Equal(kinds, want) {
			t.Errorf("events are %v, want %v", kinds, want)
		}
	})
}

func TestTwoSymmetricNATsStayOnTheRelay(t *testing.T) {
	inNATLab(t, func(t *testing.T, l *natLab) {
		a, _ := l.ready("a", l.udp.NAT("na", v4(natnet.Symmetric())), Config{})
		b, _ := l.ready("b", l.udp.NAT("nb", v4(natnet.Symmetric())), Config{})
		time.Sleep(5 * time.Second)
		ca, _ := l.pair(a, b)
		defer ca.Close()
		time.Sleep(time.Minute)
		for i, n := range []*Node{a, b} {
			st := pathTo(t, n, []*Node{b, a}[i].ID())
			if want := "both nodes are behind NATs that give each destination another port"; st.NotDirect != want {
				t.Errorf("it says %q, want %q", st.NotDirect, want)
			}
			if u := n.Status().UDP; u.Mapping != "address and port-dependent" || len(u.Candidates) < 2 {
				t.Errorf("UDP status is %+v", u)
			}
		}
	})
}

func TestBehindOneNATPathsAreInside(t *testing.T) {
	for name, cfg := range map[string]natnet.NATConfig{"no hairpin": natnet.PortRestricted(), "hairpin": {Hairpin: true}, "symmetric": natnet.Symmetric()} {
		t.Run(name, func(t *testing.T) {
			inNATLab(t, func(t *testing.T, l *natLab) {
				nat := l.udp.NAT("nat", v4(cfg))
				a, _ := l.ready("a", nat, Config{})
				b, hb := l.ready("b", nat, Config{})
				time.Sleep(5 * time.Second)
				ca, _ := l.pair(a, b)
				defer ca.Close()
				becomes(t, a, b.ID(), "udp", 5*time.Second)
				time.Sleep(20 * time.Second)
				inside := netip.AddrPortFrom(hb.Addrs()[0], 4000)
				if st := pathTo(t, a, b.ID()); st.Path != "udp "+inside.String() {
					t.Errorf("path is %q, want %v; %+v", st.Path, inside, st.Paths)
				}
			})
		})
	}
}

func TestANodeThatMovesIsFoundAgain(t *testing.T) {
	inNATLab(t, func(t *testing.T, l *natLab) {
		na, nb, other := l.udp.NAT("na", v4(natnet.PortRestricted())), l.udp.NAT("nb", v4(natnet.PortRestricted())), l.udp.NAT("other", v4(natnet.PortRestricted()))
		a, ha := l.ready("a", na, Config{})
		b, _ := l.ready("b", nb, Config{})
		l.echo(b)
		time.Sleep(time.Second)
		c, err := a.Dial(t.Context(), b.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		ha.Move(other) // while they are punching
		l.chatter(c)
		becomes(t, a, b.ID(), "udp", time.Minute)
		becomes(t, b, a.ID(), "udp "+other.Addr().String(), time.Minute)
		ha.Move(na) // while the path is in use
		becomes(t, b, a.ID(), "udp "+na.Addr().String(), time.Minute)
		_ = c.Close()
	})
}

// After sleep nothing is known of paths, and nothing stops.
func TestAHostThatHasSleptLooksAnew(t *testing.T) {
	inNATLab(t, func(t *testing.T, l *natLab) {
		events := make(chan Event, 100)
		a, _ := l.ready("a", nil, Config{OnEvent: func(e Event) { events <- e }})
		b, _ := l.ready("b", nil, Config{})
		l.echo(b)
		c, err := a.Dial(t.Context(), b.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		becomes(t, a, b.ID(), "udp", 5*time.Second)
		a.networkChanged(netmon.Change{Slept: true})
		time.Sleep(time.Second)
		roundTrip(t, c)
		becomes(t, a, b.ID(), "udp", 5*time.Second)
		if st := pathTo(t, a, b.ID()); len(st.Paths) < 2 || !st.Paths[1].Direct || st.Paths[0].Direct || st.Paths[0].Reason == "" {
			t.Errorf("paths are %+v", st.Paths)
		}
		downs := 0
		for len(events) > 0 {
			if e := <-events; e.Kind == EventPathDown {
				downs++
				if e.Reason == "" || !strings.Contains(e.String(), e.Peer.String()) {
					t.Errorf("event is %v", e)
				}
			}
		}
		if downs != 1 {
			t.Errorf("the path was left %d times, want once", downs)
		}
	})
}

// A fakeMapper maps any port to one address, once.
type fakeMapper struct {
	addr  netip.AddrPort
	ports chan uint16
}

func (m fakeMapper) Map(ctx context.Context, port uint16, changed func(netip.AddrPort)) error {
	changed(m.addr)
	m.ports <- port
	<-ctx.Done()
	return context.Cause(ctx)
}

// The gateway is asked for a port only where there is a NAT.
func TestAMappedPortIsACandidate(t *testing.T) {
	inNATLab(t, func(t *testing.T, l *natLab) {
		m := fakeMapper{netip.MustParseAddrPort("198.51.100.1:5000"), make(chan uint16, 1)}
		public, _ := l.ready("public", l.udp.NAT("none", v4(natnet.Open())), Config{PortMapper: m})
		time.Sleep(10 * time.Second)
		if len(m.ports) > 0 {
			t.Error("a port is mapped although there is no NAT")
		}
		if st := public.Status().UDP; len(st.Seen) != 1 || !slices.Contains(st.Candidates, "host "+st.Seen[0].String()) {
			t.Errorf("without a NAT the node is seen at %v, candidates are %v", st.Seen, st.Candidates)
		}
		_ = public.Close()
		a, _ := l.ready("a", l.udp.NAT("na", v4(natnet.Symmetric())), Config{PortMapper: m})
		time.Sleep(10 * time.Second)
		if got := a.Status().UDP.Candidates; !slices.Contains(got, "mapped 198.51.100.1:5000") {
			t.Errorf("candidates are %v", got)
		}
		if len(m.ports) != 1 || <-m.ports != 4000 {
			t.Error("another port was mapped, or none")
		}
	})
}

func TestRelayOnly(t *testing.T) {
	inNATLab(t, func(t *testing.T, l *natLab) {
		a, _ := l.ready("a", nil, Config{NoDirect: true})
		b, _ := l.ready("b", nil, Config{})
		ca, _ := l.pair(a, b)
		defer ca.Close()
		time.Sleep(10 * time.Second)
		st := pathTo(t, a, b.ID())
		if !strings.HasPrefix(st.Path, "relay") || !strings.Contains(st.NotDirect, "NoDirect") || len(st.Paths) != 1 {
			t.Errorf("%+v", st)
		}
		if st := pathTo(t, b, a.ID()); st.NotDirect != "the peer has told no addresses" {
			t.Errorf("it says %q", st.NotDirect)
		}
		if a.Status().UDP.Addr.IsValid() {
			t.Error("there is a socket")
		}
	})
}

// Nodes that are closed while they look for paths leave nothing behind: the
// bubble ends only when all goroutines have.
func TestCloseWhilePunching(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 45 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		inNATLab(t, func(t *testing.T, l *natLab) {
			a, _ := l.ready("a", l.udp.NAT("na", v4(natnet.Symmetric())), Config{})
			b, _ := l.ready("b", l.udp.NAT("nb", v4(natnet.PortRestricted())), Config{})
			l.pair(a, b)
			time.Sleep(after)
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A peer names addresses of somebody who has no part in it, thousand times a
// second, and garbage.
func TestHostileCandidates(t *testing.T) {
	inNATLab(t, func(t *testing.T, l *natLab) {
		a, _ := l.ready("a", l.udp.NAT("na", v4(natnet.Symmetric())), Config{})
		b, _ := l.ready("b", l.udp.NAT("nb", v4(natnet.Symmetric())), Config{})
		victim := l.udp.Host("victim", natnet.HostConfig{})
		ca, _ := l.pair(a, b)
		defer ca.Close()
		sess := b.ep.Session(a.ID())
		m := direct.Message{}
		const seconds = 5
		for i := range seconds * 1000 {
			m.Round++
			m.Candidates = m.Candidates[:0]
			for j := range 16 {
				m.Candidates = append(m.Candidates, direct.Candidate{Kind: direct.Host, Addr: netip.AddrPortFrom(victim.Addrs()[0], uint16(1+(i*16+j)%60000))})
			}
			msg := m.Append(nil)
			switch i % 10 {
			case 8:
				msg = msg[:len(msg)/2]
			case 9:
				msg = []byte("garbage")
			}
			sess.SetCandidates(msg)
			time.Sleep(time.Millisecond)
		}
		_, down := victim.LinkCounters()
		limit := 2*16*7 + 5*seconds
		if got := int(down.Sent); got > limit {
			t.Errorf("the victim got %d datagrams in %d s, want at most %d", got, seconds, limit)
		} else {
			t.Logf("the victim got %d datagrams in %d s", got, seconds)
		}
		roundTripBetweenIdle(t, ca, a, b)
	})
}

func roundTripBetweenIdle(t *testing.T, c net.Conn, a, b *Node) {
	t.Helper()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := a.Ping(t.Context(), b.ID().String()); err != nil {
		t.Error(err)
	}
}

func TestDirectConfig(t *testing.T) {
	for _, cfg := range []Config{{UDPAddr: "4000"}, {UDPAddr: "host:4000"}, {UDPAddr: "127.0.0.1:port"}, {STUNServers: []string{"stun.example"}}} {
		cfg.Open = true
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "overlay: Config.") {
			t.Errorf("%+v: error is %v", cfg, err)
		}
	}
	broken := errors.New("broken")
	_, err := New(Config{Open: true, ListenUDP: func(context.Context, string) (net.PacketConn, error) { return nil, broken }})
	if !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
}
