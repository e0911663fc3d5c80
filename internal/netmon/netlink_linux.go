package netmon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// netlinkBuffer holds the longest burst of news that is read at once. What does
// not fit into the kernel's own buffer is an error that counts as news, too.
const netlinkBuffer = 64 << 10

// subscribe calls news after each change of links, addresses or routes, from a
// goroutine that ends with stop, which waits for it.
func subscribe(news func()) (stop func(), err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netmon: open a netlink socket: %w", err)
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("netmon: subscribe to changes of the network: %w", err)
	}
	f := os.NewFile(uintptr(fd), "netlink") // the runtime's poller waits for it
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, netlinkBuffer)
		for {
			n, err := f.Read(b)
			switch {
			case errors.Is(err, unix.ENOBUFS):
				news()
			case err != nil:
				return
			case isNews(b[:n]):
				news()
			}
		}
	}()
	return func() { _ = f.Close(); <-done }, nil
}

// isNews reports whether messages from the kernel tell of a change.
func isNews(b []byte) bool {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return true // it said something
	}
	for _, m := range msgs {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			return true
		}
	}
	return false
}

// ifAddrs asks the kernel for links and addresses.
func ifAddrs() []ifAddr {
	links, err := syscall.NetlinkRIB(unix.RTM_GETLINK, unix.AF_UNSPEC)
	if err != nil {
		return portableAddrs()
	}
	addrs, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_UNSPEC)
	if err != nil {
		return portableAddrs()
	}
	return parseAddrs(parseLinks(links), addrs)
}

// parseLinks reads the flags of links, by index, from answers to RTM_GETLINK.
func parseLinks(b []byte) map[int]uint32 {
	flags := make(map[int]uint32)
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return flags
	}
	for _, m := range msgs {
		if m.Header.Type == unix.RTM_NEWLINK && len(m.Data) >= unix.SizeofIfInfomsg {
			// struct ifinfomsg: family, padding, type, index, flags, change
			flags[int(int32(binary.NativeEndian.Uint32(m.Data[4:])))] = binary.NativeEndian.Uint32(m.Data[8:])
		}
	}
	return flags
}

// parseAddrs reads answers to RTM_GETADDR. links are the flags of links.
func parseAddrs(links map[int]uint32, b []byte) []ifAddr {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return nil
	}
	var out []ifAddr
	for i := range msgs {
		m := &msgs[i]
		if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		if a, ok := parseAddr(links, m); ok {
			out = append(out, a)
		}
	}
	return out
}

// attributes yields the attributes in b, by type. syscall has a function for it
// that panics at a last one without padding.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			n := int(binary.NativeEndian.Uint16(b))
			if n < unix.SizeofRtAttr || n > len(b) || !yield(binary.NativeEndian.Uint16(b[2:]), b[unix.SizeofRtAttr:n]) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}

func parseAddr(links map[int]uint32, m *syscall.NetlinkMessage) (ifAddr, bool) {
	// struct ifaddrmsg: family, prefix length, flags, scope, index
	flags, index := uint32(m.Data[2]), int(int32(binary.NativeEndian.Uint32(m.Data[4:])))
	a := ifAddr{iface: index}
	var local, address netip.Addr
	for kind, value := range attributes(m.Data[unix.SizeofIfAddrmsg:]) {
		switch kind {
		case unix.IFA_LOCAL: // ours, if ADDRESS is the other end of a tunnel
			local, _ = netip.AddrFromSlice(value)
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(value)
		case unix.IFA_FLAGS:
			if len(value) == 4 {
				flags = binary.NativeEndian.Uint32(value)
			}
		case unix.IFA_CACHEINFO:
			if len(value) >= 4 {
				a.preferred = binary.NativeEndian.Uint32(value)
			}
		}
	}
	if a.addr = local; !local.IsValid() {
		a.addr = address
	}
	const running = unix.IFF_UP | unix.IFF_RUNNING
	a.running = links[index]&running == running
	a.loopback = links[index]&unix.IFF_LOOPBACK != 0
	a.temporary = a.addr.Is6() && flags&unix.IFA_F_TEMPORARY != 0 // of IPv4 that bit means "secondary"
	a.deprecated = flags&unix.IFA_F_DEPRECATED != 0
	a.unusable = flags&(unix.IFA_F_DADFAILED|unix.IFA_F_TENTATIVE) != 0 && flags&unix.IFA_F_OPTIMISTIC == 0
	return a, a.addr.IsValid()
}
