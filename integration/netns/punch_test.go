//go:build linux

package netns

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// rounds is how often both sides of a punch send, and interval how far apart. A
// machine that is busy may lose the first packets of a pair that can be punched: it
// has patience times as many.
const (
	rounds   = 6
	interval = 25 * time.Millisecond
	patience = 30
)

// Whether a pair of NATs can be punched is a property of the lab, which tests
// of nodes take for granted.
func TestPairsOfNATsThatCanBePunched(t *testing.T) {
	t.Parallel()
	for _, f := range []family{ipv4, ipv6} {
		kinds := natsOfIPv4
		if f == ipv6 {
			kinds = natsOfIPv6
		}
		for i, a := range kinds {
			for _, b := range kinds[i:] {
				t.Run(fmt.Sprintf("%s/%s+%s", f, a, b), func(t *testing.T) {
					t.Parallel()
					l := newLab(t, f, a, b)
					want := punchable(a, b)
					if got := l.punch(0, want); got != want {
						t.Errorf("punched: %t, want %t", got, want)
					}
				})
			}
		}
	}
}

// A leaky NAT can be punched with another that is not, if its own host begins.
func TestALeakyNATCanBePunchedByWhoIsBehindIt(t *testing.T) {
	t.Parallel()
	if l := newLab(t, ipv4, leaky, portRestricted); !l.punch(1, true) {
		t.Error("not punched though the host behind the leaky NAT began")
	}
	if l := newLab(t, ipv4, portRestricted, leaky); l.punch(1, false) {
		t.Error("punched though the host behind the leaky NAT did not begin: is it leaky?")
	}
}

// punch lets a socket at each site send to the other's address as a server in
// the internet sees it, and reports whether both heard the other. The second
// site begins late rounds after the first. If it is expected to work there is time.
func (l *lab) punch(late int, expected bool) bool {
	l.t.Helper()
	server := l.listenUDP(l.internet, net.JoinHostPort(l.relayAddr(0), "3478"))
	other := l.listenUDP(l.internet, net.JoinHostPort(l.relayAddr(1), "3478"))
	var conns [2]*net.UDPConn
	var seen [2]netip.AddrPort
	for i := range conns {
		conns[i] = l.listenUDP(l.host(i).namespace, net.JoinHostPort(l.host(i).addr, fmt.Sprint(7001+i)))
		kind := l.sites[i].kind
		seen[i] = l.seenBy(server, conns[i], kind)
		l.checkMapping(kind, seen[i], l.seenBy(other, conns[i], kind))
	}
	if !seen[0].IsValid() || !seen[1].IsValid() {
		return false // and no way to send anything
	}
	var both [2]bool
	most := rounds + late
	if expected {
		most *= patience
	}
	for round := 0; round < most && !(both[0] && both[1]); round++ {
		for i, c := range conns {
			if i == 0 || round >= late {
				_, _ = c.WriteToUDPAddrPort([]byte("punch"), seen[1-i])
			}
		}
		for i, c := range conns {
			// What follows goes to where packets do come from.
			if from := heard(c, interval); from.IsValid() {
				both[i], seen[1-i] = true, from
			}
		}
	}
	return both[0] && both[1]
}

// seenBy returns the address from which a server hears a socket; the zero one
// if it hears nothing.
func (l *lab) seenBy(server, c *net.UDPConn, kind natKind) netip.AddrPort {
	l.t.Helper()
	addr := server.LocalAddr().(*net.UDPAddr).AddrPort()
	if _, err := c.WriteToUDPAddrPort([]byte("who am I?"), addr); err != nil {
		l.t.Fatal(err)
	}
	if kind == blocked {
		return heard(server, interval)
	}
	return heard(server, testTimeout) // which tells slow from never
}

// checkMapping compares what a NAT does with what it should.
func (l *lab) checkMapping(kind natKind, one, another netip.AddrPort) {
	l.t.Helper()
	if (kind == blocked) == one.IsValid() {
		l.t.Errorf("%s: UDP comes from %v", kind, one)
	}
	if (kind == symmetric) == (one == another) {
		l.t.Errorf("%s: seen as %v and as %v", kind, one, another)
	}
}

// heard returns where the next packet came from that a socket gets within d.
func heard(c *net.UDPConn, d time.Duration) netip.AddrPort {
	_ = c.SetReadDeadline(time.Now().Add(d))
	_, from, err := c.ReadFromUDPAddrPort(make([]byte, 64))
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}
