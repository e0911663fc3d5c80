//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package netmon

import (
	"net/netip"
	"syscall"

	"golang.org/x/net/route"
)

// gateway finds the default route through r's interface in the routing table.
func gateway(r Route) netip.Addr {
	rib, err := route.FetchRIB(syscall.AF_UNSPEC, route.RIBTypeRoute, 0)
	if err != nil {
		return netip.Addr{}
	}
	msgs, err := route.ParseRIB(route.RIBTypeRoute, rib)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range msgs {
		rm, ok := m.(*route.RouteMessage)
		if !ok || rm.Flags&syscall.RTF_GATEWAY == 0 || rm.Index != r.Interface || len(rm.Addrs) <= syscall.RTAX_GATEWAY {
			continue
		}
		to, via := address(rm.Addrs[syscall.RTAX_DST]), address(rm.Addrs[syscall.RTAX_GATEWAY])
		if to.IsUnspecified() && via.IsValid() && via.Is4() == r.Source.Is4() {
			return via
		}
	}
	return netip.Addr{}
}

func address(a route.Addr) netip.Addr {
	switch a := a.(type) {
	case *route.Inet4Addr:
		return netip.AddrFrom4(a.IP)
	case *route.Inet6Addr:
		return netip.AddrFrom16(a.IP)
	}
	return netip.Addr{}
}
