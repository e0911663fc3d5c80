package lan

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// listenGroup opens a socket that shares the port (SO_REUSEADDR) with the
// system's responder, such as avahi or systemd-resolved. For IPv4 it is bound to
// the group, which package net does not do, so that it takes no unicast packets
// away from that. For IPv6 Linux does so only for one interface.
func listenGroup(_ context.Context, network string, group netip.Addr) (net.PacketConn, error) {
	family := unix.AF_INET
	if group.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), network)
	defer f.Close() // FilePacketConn has one of its own
	if err := bindGroup(fd, group); err != nil {
		return nil, fmt.Errorf("%s port %d: %w", network, Port, err)
	}
	return net.FilePacketConn(f)
}

func bindGroup(fd int, group netip.Addr) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	// Only what comes on interfaces that this socket has joined on, not any
	// socket of the host. Old kernels do not know it for IPv6.
	if group.Is4() {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
		return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrInet4{Port: Port, Addr: group.As4()}))
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrInet6{Port: Port}))
}
