package netmon

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// routes asks the kernel how packets to the internet would leave. It looks up
// one route of each IP version, as tables may have a million.
func routes() []Route {
	var out []Route
	for _, to := range somewhere {
		b, err := lookUp(to)
		if err != nil {
			continue
		}
		if r, ok := parseRoute(b); ok {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		return sources() // netlink may be refused
	}
	return out
}

// lookUp returns the kernel's answer to RTM_GETROUTE.
func lookUp(to netip.Addr) ([]byte, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	// The kernel answers within the call of sendto, so this is for none that
	// does not answer at all.
	timeout := unix.Timeval{Sec: 1}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return nil, err
	}
	if err := unix.Sendto(fd, routeRequest(to), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	b := make([]byte, 8192)
	n, _, err := unix.Recvfrom(fd, b, 0)
	return b[:max(n, 0)], err
}

// routeRequest is a request for the route to an address.
func routeRequest(to netip.Addr) []byte {
	family, ip := byte(unix.AF_INET), to.AsSlice()
	if to.Is6() {
		family = unix.AF_INET6
	}
	n := unix.SizeofNlMsghdr + unix.SizeofRtMsg + unix.SizeofRtAttr + len(ip)
	b := make([]byte, 0, n)
	b = binary.NativeEndian.AppendUint32(b, uint32(n))
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_GETROUTE)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, 0, 0, 0, 1, 0, 0, 0, 0)                                  // sequence, sender
	b = append(b, family, byte(to.BitLen()), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // struct rtmsg
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(ip)))
	b = binary.NativeEndian.AppendUint16(b, unix.RTA_DST)
	return append(b, ip...)
}

// parseRoute reads an answer to RTM_GETROUTE; false if there is no route.
func parseRoute(b []byte) (Route, bool) {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return Route{}, false
	}
	for i := range msgs {
		m := &msgs[i]
		if m.Header.Type != unix.RTM_NEWROUTE || len(m.Data) < unix.SizeofRtMsg {
			continue
		}
		var r Route
		for kind, value := range attributes(m.Data[unix.SizeofRtMsg:]) {
			switch kind {
			case unix.RTA_GATEWAY:
				r.Gateway, _ = netip.AddrFromSlice(value)
			case unix.RTA_PREFSRC:
				r.Source, _ = netip.AddrFromSlice(value)
			case unix.RTA_OIF:
				if len(value) == 4 {
					r.Interface = int(int32(binary.NativeEndian.Uint32(value)))
				}
			}
		}
		return r, r.Interface != 0
	}
	return Route{}, false
}
