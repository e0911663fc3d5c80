package overlay

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/lan"
	"github.com/weftnet/weft/internal/lan/lantest"
	"github.com/weftnet/weft/internal/simnet/natnet"
)

// A lanLab is a lab with a LAN behind a NAT.
type lanLab struct {
	*natLab
	home *natnet.NAT
	seg  lantest.Segment
}

func inLANLab(t *testing.T, f func(t *testing.T, l *lanLab)) {
	t.Helper()
	inNATLab(t, func(t *testing.T, l *natLab) {
		f(t, &lanLab{natLab: l, home: l.udp.NAT("home", v4(natnet.PortRestricted()))})
	})
}

// A lanConn is a UDP socket on a host that is on a LAN.
type lanConn struct {
	*natnet.Conn
	lan *lantest.Conn
}

func (c lanConn) LANConns() []lan.PacketConn { return []lan.PacketConn{c.lan} }

// none is for nodes without a relay.
var none = []string{}

// node starts a node on the LAN. If cfg.Relays is none it has no relay.
func (l *lanLab) node(name string, cfg Config) *Node {
	l.t.Helper()
	h := l.udp.Host(name, natnet.HostConfig{NAT: l.home})
	cfg.ListenUDP = func(context.Context, string) (net.PacketConn, error) {
		c, err := h.ListenPacket(4000)
		if err != nil {
			return nil, err
		}
		return lanConn{c, l.seg.Join(netip.PrefixFrom(h.Addrs()[0], 16))}, nil
	}
	return l.lab.node(name, cfg)
}

// Two nodes in a room without internet.
func TestNodesOfALANNeedNoRelay(t *testing.T) {
	inLANLab(t, func(t *testing.T, l *lanLab) {
		server := l.node("server", Config{Relays: none, Name: "files"})
		client := l.node("client", Config{Relays: none})
		if err := client.WaitReady(t.Context()); err != nil {
			t.Errorf("a node without a relay is not ready: %v", err)
		}
		ln := l.listen(server, 80)
		sum := make(chan [sha256.Size]byte, 1)
		l.wg.Go(func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			h := sha256.New()
			_, _ = io.Copy(io.MultiWriter(h, c), c)
			_ = c.Close()
			sum <- [sha256.Size]byte(h.Sum(nil))
		})
		begun := time.Now()
		c, err := client.Dial(t.Context(), "files:80") // the first thing that the node does
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the dial took %v", took)
		}
		if path, _ := PathOf(c); !strings.HasPrefix(path, "udp 10.") {
			t.Errorf("the path is %q", path)
		}
		want := make([]byte, 1<<20)
		_, _ = rand.NewChaCha8([32]byte{}).Read(want)
		go func() {
			_, _ = c.Write(want)
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || sha256.Sum256(got) != sha256.Sum256(want) || <-sum != sha256.Sum256(want) {
			t.Errorf("%d bytes came back, %v; want the %d that were sent", len(got), err, len(want))
		}
		if st := client.Status().LAN; len(st) != 1 || st[0].ID != server.ID() {
			t.Errorf("on the LAN there is %+v, want the server", st)
		}
		l.echo(client)
		if c, err := server.Dial(t.Context(), client.ID().String()+":7"); err != nil {
			t.Error(err)
		} else {
			roundTrip(t, c)
		}
	})
}

func TestADialFailsSoonIfNobodyOnTheLANAnswers(t *testing.T) {
	inLANLab(t, func(t *testing.T, l *lanLab) {
		client := l.node("client", Config{Relays: none})
		for _, at := range []struct{ after, within time.Duration }{{0, 4 * time.Second}, {time.Minute, time.Second}} {
			time.Sleep(at.after)
			for _, addr := range []string{"files:80", "0123456789abcdef:80", client.Key().String() + ":80"} {
				begun := time.Now()
				_, err := client.Dial(t.Context(), addr)
				if took := time.Since(begun); err == nil || took > at.within {
					t.Errorf("%s: %v after %v, want an error within %v", addr, err, took, at.within)
				}
				if strings.HasPrefix(addr, client.Key().String()) {
					continue // this node itself
				}
				if !errors.Is(err, ErrUnknownNode) || !strings.Contains(err.Error(), "LAN") {
					t.Errorf("%s: %v, want that nobody is there", addr, err)
				}
			}
		}
	})
}

func TestTwoOfOneNameOnALANAreAmbiguous(t *testing.T) {
	inLANLab(t, func(t *testing.T, l *lanLab) {
		l.node("a", Config{Relays: none, Name: "twin"})
		l.node("b", Config{Relays: none, Name: "twin"})
		client := l.node("client", Config{Relays: none})
		time.Sleep(2 * time.Second)
		if _, err := client.Dial(t.Context(), "twin:80"); !errors.Is(err, ErrAmbiguousName) {
			t.Errorf("%v, want that the name is ambiguous", err)
		}
	})
}

// With relays, a peer on the LAN is reached there from the first packet on; with
// relays that are dead, too.
func TestTheLANIsFasterThanARelay(t *testing.T) {
	for _, dead := range []bool{false, true} {
		t.Run(map[bool]string{false: "alive", true: "dead"}[dead], func(t *testing.T) {
			inLANLab(t, func(t *testing.T, l *lanLab) {
				if dead {
					l.killRelay()
				}
				server := l.node("server", Config{Name: "files"})
				client := l.node("client", Config{})
				l.echo(server)
				time.Sleep(2 * time.Second)
				for _, host := range []string{"files", server.ID().String(), server.Key().String()} {
					begun := time.Now()
					c, err := client.Dial(t.Context(), host+":7")
					if err != nil {
						t.Fatal(err)
					}
					path, _ := PathOf(c)
					if took := time.Since(begun); !strings.HasPrefix(path, "udp 10.") || took > 20*time.Millisecond {
						t.Errorf("%s: by %s after %v, want the LAN before the relay's 40 ms", host, path, took)
					}
					roundTrip(t, c)
				}
			})
		})
	}
}

// Who claims to be on the LAN, and is not, costs a moment.
func TestARelayHelpsWhenTheLANLies(t *testing.T) {
	inLANLab(t, func(t *testing.T, l *lanLab) {
		server := l.lab.ready("server", Config{Name: "files"})
		client := l.node("client", Config{})
		if err := client.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		liar, err := lan.Open(lan.Config{
			Key:  client.credentials.Network().Derive(lan.KeyLabel),
			Self: server.ID(), Port: 4000, Names: []string{"files"}, Logger: client.log,
			Conns: []lan.PacketConn{l.seg.Join(netip.MustParsePrefix("10.200.0.1/16"))},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer liar.Close()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(client.Status().LAN) != 1 {
			t.Fatal("the lie was not heard")
		}
		l.echo(server)
		begun := time.Now()
		c, err := client.Dial(t.Context(), "files:7")
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, c)
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		// The node of a name on the LAN is checked, too.
		imposter := l.node("imposter", Config{Relays: none, Name: "other"})
		time.Sleep(time.Second)
		fake, err := lan.Open(lan.Config{
			Key:  client.credentials.Network().Derive(lan.KeyLabel),
			Self: imposter.ID(), Port: 4000, Names: []string{"bank"}, Logger: client.log,
			Conns: []lan.PacketConn{l.seg.Join(netip.PrefixFrom(imposter.Status().LAN[0].Addrs[0].Addr(), 16))},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer fake.Close()
		time.Sleep(time.Second)
		if c, err := client.Dial(t.Context(), "bank:80"); err == nil {
			t.Errorf("the imposter was taken for the bank: %v", c.RemoteAddr())
		}
	})
}

func TestNoLAN(t *testing.T) {
	inLANLab(t, func(t *testing.T, l *lanLab) {
		server := l.node("server", Config{Relays: none, Name: "files", NoLAN: true})
		client := l.node("client", Config{Relays: none})
		time.Sleep(10 * time.Second)
		if st := client.Status().LAN; st != nil {
			t.Errorf("on the LAN there is %+v", st)
		}
		if _, err := server.Dial(t.Context(), client.ID().String()+":7"); err == nil {
			t.Error("a node that looks for nobody has found somebody")
		}
	})
}
