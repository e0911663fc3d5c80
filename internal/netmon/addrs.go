package netmon

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
)

// MaxAddrs bounds LocalAddrs: a host with more has them for services, and any
// one of them is enough to be reached.
const MaxAddrs = 16

// A Route is where packets to the internet leave, of one IP version.
type Route struct {
	Gateway   netip.Addr // the router's address; invalid if there is none or it is not known
	Source    netip.Addr // the local address that is used
	Interface int        // its index; 0 if not known
}

// An ifAddr is an address of an interface.
type ifAddr struct {
	addr       netip.Addr
	iface      int  // index
	running    bool // up, and with a carrier
	loopback   bool
	temporary  bool // made for privacy (RFC 8981)
	deprecated bool // on its way out
	unusable   bool // not yet, or found to be somebody else's
	preferred  uint32
}

// LocalAddrs returns the addresses that a UDP socket of this machine may be
// reached at, at most MaxAddrs, the most likely first: the ones that packets to
// the internet leave from, those of the same interfaces, then the others, with
// IPv4 link-local ones last. Loopback, IPv6 link-local and multicast addresses are
// left out, as are deprecated ones if the interface has others of that IP
// version, those of interfaces that are down or unplugged, and stable IPv6
// addresses if there is a temporary one of the same /64, which was made so that
// others need not know them. It is empty if there are none, or if the system does
// not tell.
func LocalAddrs() []netip.Addr { return choose(ifAddrs(), routes()) }

// Routes returns how packets to the internet leave, IPv4 first; nothing for an
// IP version without such a route.
func Routes() []Route { return routes() }

// choose is LocalAddrs for given addresses and routes.
func choose(all []ifAddr, routes []Route) []netip.Addr {
	var good []ifAddr
	for _, a := range all {
		if a.running && !a.loopback && !a.unusable && reachable(a.addr) && !superseded(a, all) {
			good = append(good, a)
		}
	}
	slices.SortStableFunc(good, func(a, b ifAddr) int {
		return cmp.Or(
			cmp.Compare(rank(a, routes), rank(b, routes)),
			cmp.Compare(a.addr.BitLen(), b.addr.BitLen()),
			a.addr.Compare(b.addr), // so that the order stays the same
		)
	})
	var out []netip.Addr
	add := func(a netip.Addr) {
		if len(out) < MaxAddrs && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	for _, r := range routes { // also if it is all that the system tells
		if len(all) == 0 && reachable(r.Source) {
			add(r.Source)
		}
	}
	for _, a := range good {
		add(a.addr)
	}
	return out
}

// reachable reports whether others may reach an address.
func reachable(a netip.Addr) bool {
	return a.IsGlobalUnicast() || a.Is4() && a.IsLinkLocalUnicast()
}

// superseded reports whether the interface has an address that others should
// use instead of a.
func superseded(a ifAddr, all []ifAddr) bool {
	if a.addr.Is4() && !a.deprecated {
		return false
	}
	return slices.ContainsFunc(all, func(b ifAddr) bool {
		switch {
		case b.iface != a.iface || b.addr == a.addr || b.deprecated || b.unusable || !reachable(b.addr) || a.addr.Is4() != b.addr.Is4():
			return false
		case a.deprecated:
			return true
		case !b.temporary || prefix64(a.addr) != prefix64(b.addr):
			return false
		}
		return !a.temporary || b.preferred > a.preferred
	})
}

func prefix64(a netip.Addr) netip.Prefix {
	p, _ := a.WithZone("").Prefix(64) // a is IPv6
	return p
}

// rank is lower for addresses that are more likely to be reached.
func rank(a ifAddr, routes []Route) int {
	switch {
	case slices.ContainsFunc(routes, func(r Route) bool { return r.Source == a.addr }):
		return 0
	case a.addr.IsLinkLocalUnicast():
		return 3
	case slices.ContainsFunc(routes, func(r Route) bool { return r.Interface == a.iface }):
		return 1
	}
	return 2
}

// portableAddrs returns the addresses as package net knows them, which is
// without what is special about each.
func portableAddrs() []ifAddr {
	ifis, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var out []ifAddr
	for _, ifi := range ifis {
		addrs, err := ifi.Addrs()
		if err != nil {
			continue
		}
		const running = net.FlagUp | net.FlagRunning
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, _ := netip.AddrFromSlice(n.IP)
			out = append(out, ifAddr{
				addr:     ip.Unmap(),
				iface:    ifi.Index,
				running:  ifi.Flags&running == running,
				loopback: ifi.Flags&net.FlagLoopback != 0,
			})
		}
	}
	return out
}

// somewhere are addresses on the internet, those of a root server of the DNS.
// Nothing is sent there; it is asked how it would be.
var somewhere = []netip.Addr{netip.MustParseAddr("198.41.0.4"), netip.MustParseAddr("2001:503:ba3e::2:30")}

// sources finds the local addresses that packets to the internet have, by
// connecting sockets, which sends nothing.
func sources() []Route {
	var out []Route
	for _, to := range somewhere {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9)))
		if err != nil {
			continue
		}
		if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
			out = append(out, Route{Source: a.AddrPort().Addr().Unmap()})
		}
		_ = c.Close()
	}
	return out
}
