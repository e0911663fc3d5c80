//go:build linux

package netns

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// testTimeout bounds what a test waits for. It is not what anything should
// take, only what tells slow from never on a busy machine.
const testTimeout = 3 * time.Minute

// A family is the IP version that a lab has; it has no address of the other.
type family string

const (
	ipv4 family = "IPv4"
	ipv6 family = "IPv6"
)

// A lab is an internet, in which there are relays, and two sites.
type lab struct {
	t        *testing.T
	ctx      context.Context
	family   family
	internet *namespace
	sites    [2]*site
	twins    bool // both sites have the same private addresses

	secret string
	relays []string // that nodes are given

	relayProcesses []*process
}

// A site is some hosts behind one NAT.
type site struct {
	lab    *lab
	number int // from 1
	nat    *namespace
	kind   natKind
	hosts  []*host
}

// A host is where a node runs.
type host struct {
	*namespace
	site *site
	addr string // in the site's network
}

// newLab makes a lab with one host at each site, for the time of the test.
func newLab(t *testing.T, f family, a, b natKind) *lab {
	t.Helper()
	l := newInternet(t, f)
	l.addSites(a, b)
	return l
}

// newInternet makes a lab that has no sites yet.
func newInternet(t *testing.T, f family) *lab {
	t.Helper()
	need(t)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	l := &lab{t: t, ctx: ctx, family: f, internet: newNamespace(t, "internet"), secret: overlay.NewSecret()}
	l.forward(l.internet)
	l.internet.ip(t, "link set lo up",
		fmt.Sprintf("address add %s dev lo", l.prefix(l.relayAddr(0))), fmt.Sprintf("address add %s dev lo", l.prefix(l.relayAddr(1))))
	return l
}

func (l *lab) addSites(a, b natKind) {
	l.t.Helper()
	for i, kind := range []natKind{a, b} {
		l.sites[i] = l.newSite(i+1, kind)
		l.sites[i].newHost()
	}
}

// prefix is an address with the length of a lone one.
func (l *lab) prefix(addr string) string {
	if l.family == ipv6 {
		return addr + "/128"
	}
	return addr + "/32"
}

// relayAddr is one of the addresses in the internet that are there for relays.
func (l *lab) relayAddr(i int) string {
	if l.family == ipv6 {
		return fmt.Sprintf("2001:db8::%d0", i+1)
	}
	return fmt.Sprintf("203.0.113.%d0", i+1)
}

// relayPort is where a relay listens.
func (l *lab) relayPort(i int) string { return net.JoinHostPort(l.relayAddr(i), "9999") }

func (l *lab) forward(ns *namespace) {
	l.t.Helper()
	ns.sysctl(l.t, "ipv4/ip_forward", "1")
	ns.sysctl(l.t, "ipv6/conf/all/forwarding", "1")
	// The secondary address stays when the first one goes.
	ns.sysctl(l.t, "ipv4/conf/all/promote_secondaries", "1")
}

// wan is an address in the network between the internet and a site.
func (s *site) wan(host int) string {
	if s.lab.family == ipv6 {
		return fmt.Sprintf("2001:db8:%d::%d", s.number, host)
	}
	return fmt.Sprintf("198.18.%d.%d", s.number, host)
}

// lan is an address in the site's own network.
func (s *site) lan(host int) string {
	switch {
	case s.lab.family == ipv6:
		return fmt.Sprintf("2001:db8:1%d::%d", s.number, host)
	case s.kind.routed():
		return fmt.Sprintf("198.19.%d.%d", s.number, host)
	case s.lab.twins:
		return fmt.Sprintf("10.0.0.%d", host)
	default:
		return fmt.Sprintf("10.%d.0.%d", s.number, host)
	}
}

// length is that of the prefixes of wan and lan.
func (s *site) length() int {
	if s.lab.family == ipv6 {
		return 64
	}
	return 24
}

// on is an address with what ip needs to add it, and was to delete it.
func (s *site) on(addr, device string) string {
	if s.lab.family == ipv6 {
		return s.was(addr, device) + " nodad"
	}
	return s.was(addr, device)
}

func (s *site) was(addr, device string) string {
	return fmt.Sprintf("%s/%d dev %s", addr, s.length(), device)
}

func (l *lab) newSite(number int, kind natKind) *site {
	l.t.Helper()
	s := &site{lab: l, number: number, nat: newNamespace(l.t, fmt.Sprintf("nat%d", number)), kind: kind}
	l.forward(s.nat)
	port := fmt.Sprintf("site%d", number)
	l.internet.ip(l.t, fmt.Sprintf("link add name %s type veth peer name wan netns %s", port, s.nat.name))
	s.nat.ip(l.t,
		"link set lo up", "link set wan up", "link add name lan type bridge", "link set lan up",
		"address add "+s.on(s.wan(2), "wan"), "address add "+s.on(s.lan(1), "lan"))
	l.internet.ip(l.t, "link set "+port+" up", "address add "+s.on(s.wan(1), port))
	s.nat.ip(l.t, "route add default via "+s.wan(1))
	if l.family == ipv6 || kind.routed() {
		l.internet.ip(l.t, fmt.Sprintf("route add %s/%d via %s", s.lan(0), s.length(), s.wan(2)))
	}
	s.nat.run(l.t, kind.rules(), "nft", "-f", "-")
	return s
}

// newHost adds a host to a site.
func (s *site) newHost() *host {
	t := s.lab.t
	t.Helper()
	n := len(s.hosts) + 1
	h := &host{newNamespace(t, fmt.Sprintf("host%d%d", s.number, n)), s, s.lan(9 + n)}
	port := fmt.Sprintf("host%d", n)
	s.nat.ip(t, fmt.Sprintf("link add name %s type veth peer name eth0 netns %s", port, h.name),
		"link set "+port+" master lan", "link set "+port+" up")
	h.ip(t, "link set lo up")
	h.up()
	s.hosts = append(s.hosts, h)
	return h
}

// up gives a host's device its address and the way out, as far as it lacks them.
func (h *host) up() {
	h.site.lab.t.Helper()
	h.ip(h.site.lab.t, "link set eth0 up", "address replace "+h.site.on(h.addr, "eth0"), "route replace default via "+h.site.lan(1))
}

// host returns the first host of a site.
func (l *lab) host(site int) *host { return l.sites[site].hosts[0] }

// listenUDP opens a socket in a namespace.
func (l *lab) listenUDP(ns *namespace, addr string) *net.UDPConn {
	l.t.Helper()
	var pc net.PacketConn
	err := ns.in(func() (err error) {
		pc, err = new(net.ListenConfig).ListenPacket(l.ctx, "udp", addr)
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = pc.Close() })
	return pc.(*net.UDPConn)
}
