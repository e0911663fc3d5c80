// Package origin says what counts as one address where limits hold for each
// address.
package origin

import "net/netip"

// Of returns what counts as one address: of IPv4 the address, of IPv6 the /64
// network, which one subscriber has at least. It is empty for no address.
func Of(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	switch {
	case !addr.IsValid():
		return ""
	case addr.Is4():
		return addr.String()
	}
	prefix, _ := addr.Prefix(64) // fails for IPv4 only
	return prefix.String()
}
