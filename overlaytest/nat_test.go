package overlaytest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/simnet/natnet"
	"github.com/weftnet/weft/overlay"
)

// probe opens a UDP socket of its own on a host with a node.
func probe(t *testing.T, l *Lab, host string) *natnet.Conn {
	t.Helper()
	h := l.host(host)
	c, err := h.listenUDP(h.process(), ":0")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask returns the address that a socket has at a relay, by STUN; false if it
// gets no answer.
func ask(t *testing.T, l *Lab, c *natnet.Conn, relay string) (netip.AddrPort, bool) {
	t.Helper()
	addrs, err := resolver{l}.LookupNetIP(t.Context(), "ip", relay)
	if err != nil {
		t.Fatal(err)
	}
	request := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, "transaction!"...)
	if _, err := c.WriteToUDPAddrPort(request, netip.AddrPortFrom(addrs[0], 9999)); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	b := make([]byte, 1500)
	n, _, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		return netip.AddrPort{}, false
	}
	xorMapped := []byte{0, 0x20, 0, 8, 0, 1} // attribute, length, IPv4
	i := bytes.Index(b[:n], xorMapped)
	if i < 20 || n < i+12 {
		t.Fatalf("the relay answered %x", b[:n])
	}
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], binary.BigEndian.Uint32(b[i+8:])^0x2112a442)
	return netip.AddrPortFrom(netip.AddrFrom4(ip), binary.BigEndian.Uint16(b[i+6:])^0x2112), true
}

// knocks reports whether a datagram from one socket to an address comes out of
// another.
func knocks(t *testing.T, from *natnet.Conn, addr netip.AddrPort, to *natnet.Conn) bool {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort([]byte("knock"), addr); err != nil {
		t.Fatal(err)
	}
	_ = to.SetReadDeadline(time.Now().Add(time.Second))
	b := make([]byte, 100)
	n, _, err := to.ReadFromUDPAddrPort(b)
	return err == nil && string(b[:n]) == "knock"
}

// inTown runs a test with two relays and a node on the internet, beside one that
// is behind a NAT.
func inTown(t *testing.T, nat NAT, test func(t *testing.T, l *Lab)) {
	t.Helper()
	inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
		l.Relay("relay-2")
		l.NAT("nat", nat)
		l.Place("inside", "nat")
		l.Place("outside", "")
		l.Node("inside", overlay.Config{NoDirect: true})
		l.Node("outside", overlay.Config{NoDirect: true})
		test(t, l)
	})
}

func TestNATKinds(t *testing.T) {
	for _, test := range []struct {
		kind NATKind
		// What the relays see: a public address of the NAT, the same at both.
		translated, same bool
		// What gets in: after the host has sent to another one, to another port of
		// the one that knocks, to the very one.
		stranger, neighbour, friend bool
	}{
		{PortRestricted, true, true, false, false, true},
		{AddressRestricted, true, true, false, true, true},
		{EndpointIndependent, true, true, true, true, true},
		{Symmetric, true, false, false, false, false}, // to the address that the relay saw
		{Firewall, false, true, false, false, true},
		{Open, false, true, true, true, true},
	} {
		t.Run(test.kind.String(), func(t *testing.T) {
			inTown(t, NAT{Kind: test.kind}, func(t *testing.T, l *Lab) {
				in, out, out2 := probe(t, l, "inside"), probe(t, l, "outside"), probe(t, l, "outside")
				seen, ok := ask(t, l, in, "relay")
				again, ok2 := ask(t, l, in, "relay-2")
				own := l.host("inside").udp.Addrs()[0]
				if !ok || !ok2 || (seen.Addr() != own) != test.translated || (seen == again) != test.same {
					t.Fatalf("the host %v is seen as %v and %v, %v, %v", own, seen, again, ok, ok2)
				}
				outside := l.host("outside").udp.Addrs()[0]
				if got := knocks(t, out, seen, in); got != test.stranger {
					t.Errorf("a stranger gets through: %v", got)
				}
				_, _ = in.WriteToUDPAddrPort(nil, netip.AddrPortFrom(outside, out.Port()))
				if got := knocks(t, out2, seen, in); got != test.neighbour {
					t.Errorf("another port gets through: %v", got)
				}
				if got := knocks(t, out, seen, in); got != test.friend {
					t.Errorf("who was sent to gets through: %v", got)
				}
			})
		})
	}
}

func TestNATsThatBlockUDP(t *testing.T) {
	inTown(t, NAT{Kind: UDPBlocked}, func(t *testing.T, l *Lab) {
		if seen, ok := ask(t, l, probe(t, l, "inside"), "relay"); ok {
			t.Errorf("the host is seen as %v", seen)
		}
	})
}

func TestNATsThatChange(t *testing.T) {
	inTown(t, NAT{Kind: Symmetric, SequentialPorts: true, Timeout: -1}, func(t *testing.T, l *Lab) {
		in := probe(t, l, "inside")
		first, _ := ask(t, l, in, "relay")
		if next, _ := ask(t, l, in, "relay-2"); next != netip.AddrPortFrom(first.Addr(), first.Port()+1) {
			t.Errorf("seen as %v and then as %v", first, next)
		}
		time.Sleep(time.Hour)
		if again, _ := ask(t, l, in, "relay"); again != first {
			t.Errorf("an hour later seen as %v, before as %v", again, first)
		}
		l.RebootNAT("nat")
		again, _ := ask(t, l, in, "relay")
		if again.Addr() != first.Addr() || again.Port() == first.Port() {
			t.Errorf("after a reboot seen as %v, before as %v", again, first)
		}
		l.WaitReady("inside")
		if l.RenumberNAT("nat"); relayIsUp(l.host("inside").process().node) && l.host("inside").links() > 0 {
			t.Error("links survive another public address")
		}
		if again, _ := ask(t, l, in, "relay"); again.Addr() == first.Addr() {
			t.Errorf("with another public address seen as %v", again)
		}
		l.NAT("home", NAT{Behind: "nat"})
		for _, place := range []string{"home", ""} {
			before := l.host("inside").udp.Addrs()[0]
			l.Place("inside", place)
			own := l.host("inside").udp.Addrs()[0]
			if seen, ok := ask(t, l, in, "relay"); !ok || own == before || (seen.Addr() == own) != (place == "") {
				t.Errorf("the host %v, moved to %q, is %v and seen as %v, %v", before, place, own, seen, ok)
			}
		}
		before := l.host("inside").udp.Addrs()[0]
		if l.Roam("inside"); l.host("inside").udp.Addrs()[0] == before {
			t.Error("a host that roams keeps its address")
		}
	})
}

func TestFaultsOfHostsConcernUDP(t *testing.T) {
	inTown(t, NAT{}, func(t *testing.T, l *Lab) {
		in := probe(t, l, "inside")
		reaches := func() bool { _, ok := ask(t, l, in, "relay"); return ok }
		for _, test := range []struct {
			name        string
			start, stop func(string)
		}{
			{"Cut", l.Cut, l.Heal},
			{"Sleep", l.Sleep, l.Resume},
		} {
			if !reaches() {
				t.Errorf("no answer before %s", test.name)
			}
			if test.start("inside"); test.name == "Cut" && reaches() {
				t.Errorf("an answer despite %s", test.name)
			}
			if test.name == "Sleep" {
				time.AfterFunc(time.Minute, func() { l.Resume("inside") })
				began := time.Now()
				if ask(t, l, in, "relay"); time.Since(began) < time.Minute {
					t.Errorf("a host that slept for a minute wrote after %v", time.Since(began))
				}
			}
			test.stop("inside")
		}
		l.InterfaceDown("inside")
		if _, err := in.WriteToUDPAddrPort(nil, netip.MustParseAddrPort("198.18.0.1:1")); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("a write without an interface: %v", err)
		}
		h := l.host("inside")
		if _, err := h.dial(t.Context(), h.process(), "relay:9999"); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("a dial without an interface: %v", err)
		}
		l.InterfaceUp("inside")
		if !reaches() {
			t.Error("no answer after InterfaceUp")
		}
		l.WaitReady("inside")
		l.Kill("inside")
		if _, _, err := in.ReadFromUDPAddrPort(nil); err == nil {
			t.Error("the socket of a process that was killed is open")
		}
	})
}

func TestImpairmentsConcernUDP(t *testing.T) {
	inTown(t, NAT{}, func(t *testing.T, l *Lab) {
		in := probe(t, l, "inside")
		trip := func() time.Duration {
			began := time.Now()
			if _, ok := ask(t, l, in, "relay"); !ok {
				t.Error("no answer")
			}
			return time.Since(began).Truncate(time.Millisecond)
		}
		if d := trip(); d != 2*latency {
			t.Errorf("a round trip took %v", d)
		}
		l.Impair("inside", "relay", Impairment{Latency: 50 * time.Millisecond})
		if d := trip(); d != 100*time.Millisecond {
			t.Errorf("a round trip to a relay that is far took %v", d)
		}
		before := l.Traffic("inside")
		if trip(); l.Traffic("inside").DatagramsSent != before.DatagramsSent+1 || l.Traffic("inside").DatagramsReceived != before.DatagramsReceived+1 {
			t.Errorf("traffic was %+v and is %+v", before, l.Traffic("inside"))
		}
		out := probe(t, l, "outside")
		addr := netip.AddrPortFrom(l.host("outside").udp.Addrs()[0], out.Port())
		arrives := func(n int) bool {
			_, err := in.WriteToUDPAddrPort(make([]byte, n), addr)
			if errors.Is(err, syscall.EMSGSIZE) {
				return false
			}
			_ = out.SetReadDeadline(time.Now().Add(time.Second))
			got, _, err := out.ReadFromUDPAddrPort(make([]byte, 2000))
			return err == nil && got == n
		}
		if !arrives(1472) || arrives(1473) {
			t.Error("the MTU is not 1500")
		}
		l.Impair("inside", "outside", Impairment{MTU: 1400})
		if !arrives(1372) || arrives(1373) {
			t.Error("the MTU is not 1400")
		}
		l.ImpairAll(Impairment{Latency: 5 * time.Millisecond})
		if d := trip(); d != 10*time.Millisecond {
			t.Errorf("a round trip after ImpairAll took %v", d)
		}
	})
}
