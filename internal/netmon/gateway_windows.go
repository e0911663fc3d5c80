package netmon

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/windows"
)

// gateway finds the gateway of the adapter that has r's source.
func gateway(r Route) netip.Addr {
	size := uint32(16 << 10) // as the documentation has it
	for range 3 {
		b := make([]byte, size)
		first := (*windows.IpAdapterAddresses)(unsafe.Pointer(&b[0]))
		err := windows.GetAdaptersAddresses(windows.AF_UNSPEC, windows.GAA_FLAG_INCLUDE_GATEWAYS, 0, first, &size)
		if err == windows.ERROR_BUFFER_OVERFLOW { //nolint:errorlint // an errno, never wrapped
			continue
		}
		if err != nil {
			return netip.Addr{}
		}
		for a := first; a != nil; a = a.Next {
			if gw := adapterGateway(a, r.Source); gw.IsValid() {
				return gw
			}
		}
		return netip.Addr{}
	}
	return netip.Addr{}
}

func adapterGateway(a *windows.IpAdapterAddresses, source netip.Addr) netip.Addr {
	for u := a.FirstUnicastAddress; u != nil; u = u.Next {
		if ip, _ := netip.AddrFromSlice(u.Address.IP()); ip.Unmap() != source {
			continue
		}
		for g := a.FirstGatewayAddress; g != nil; g = g.Next {
			if ip, _ := netip.AddrFromSlice(g.Address.IP()); ip.IsValid() && ip.Unmap().Is4() == source.Is4() {
				return ip.Unmap()
			}
		}
	}
	return netip.Addr{}
}
