//go:build !linux && !windows && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package netmon

import "net/netip"

func gateway(Route) netip.Addr { return netip.Addr{} }
