//go:build !linux

package lan

import (
	"context"
	"net"
	"net/netip"
	"strconv"
)

// listenGroup opens a socket on port 5353, which package net shares with other
// sockets if the address is a group (SO_REUSEADDR, on BSD and macOS
// SO_REUSEPORT); it is bound to all addresses.
func listenGroup(ctx context.Context, network string, group netip.Addr) (net.PacketConn, error) {
	var lc net.ListenConfig
	return lc.ListenPacket(ctx, network, net.JoinHostPort(group.String(), strconv.Itoa(Port)))
}
