package netmon

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// netlinkMessage is a message with a header of its own family and attributes.
func netlinkMessage(kind uint16, family []byte, attrs ...[]byte) []byte {
	n := unix.SizeofNlMsghdr + len(family)
	for _, a := range attrs {
		n += len(a)
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(n))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, make([]byte, 10)...)
	b = append(b, family...)
	for _, a := range attrs {
		b = append(b, a...)
	}
	return b
}

func routeAttr(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func ifaddrmsg(flags byte, index uint32) []byte {
	return append([]byte{0, 64, flags, 0}, number(index)...)
}

func TestParseAddrs(t *testing.T) {
	links := map[int]uint32{1: unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOOPBACK, 2: unix.IFF_UP | unix.IFF_RUNNING, 3: unix.IFF_UP}
	six := ip("2001:db8::5")
	address := routeAttr(unix.IFA_ADDRESS, six.AsSlice())
	for _, tt := range []struct {
		name string
		in   []byte
		want ifAddr
		none bool
	}{
		{"loopback", netlinkMessage(unix.RTM_NEWADDR, ifaddrmsg(0, 1), address), ifAddr{addr: six, iface: 1, running: true, loopback: true}, false},
		{"unplugged", netlinkMessage(unix.RTM_NEWADDR, ifaddrmsg(0, 3), address), ifAddr{addr: six, iface: 3}, false},
		{
			"the near end of a tunnel",
			netlinkMessage(unix.RTM_NEWADDR, ifaddrmsg(0, 2), routeAttr(unix.IFA_ADDRESS, []byte{10, 0, 0, 1}), routeAttr(unix.IFA_LOCAL, []byte{10, 0, 0, 2})),
			ifAddr{addr: ip("10.0.0.2"), iface: 2, running: true}, false,
		},
		{
			"secondary is not temporary", netlinkMessage(unix.RTM_NEWADDR, ifaddrmsg(unix.IFA_F_SECONDARY, 2), routeAttr(unix.IFA_ADDRESS, []byte{10, 0, 0, 1})),
			ifAddr{addr: ip("10.0.0.1"), iface: 2, running: true}, false,
		},
		{
			"long flags", netlinkMessage(unix.RTM_NEWADDR, ifaddrmsg(0, 2), address,
				routeAttr(unix.IFA_FLAGS, number(unix.IFA_F_TEMPORARY|unix.IFA_F_DEPRECATED|unix.IFA_F_TENTATIVE)), routeAttr(unix.IFA_CACHEINFO, append(number(77), make([]byte, 12)...))),
			ifAddr{addr: six, iface: 2, running: true, temporary: true, deprecated: true, unusable: true, preferred: 77}, false,
		},
		{
			"optimistic", netlinkMessage(unix.RTM_NEWADDR, ifaddrmsg(unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC, 2), address),
			ifAddr{addr: six, iface: 2, running: true}, false,
		},
		{"gone", netlinkMessage(unix.RTM_DELADDR, ifaddrmsg(0, 2), address), ifAddr{}, true},
		{"no address", netlinkMessage(unix.RTM_NEWADDR, ifaddrmsg(0, 2)), ifAddr{}, true},
		{"odd address", netlinkMessage(unix.RTM_NEWADDR, ifaddrmsg(0, 2), routeAttr(unix.IFA_ADDRESS, []byte{1, 2, 3})), ifAddr{}, true},
		{"short", netlinkMessage(unix.RTM_NEWADDR, []byte{0, 0, 0, 0}), ifAddr{}, true},
		{"nothing", nil, ifAddr{}, true},
	} {
		got := parseAddrs(links, tt.in)
		if tt.none != (len(got) == 0) || !tt.none && got[0] != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestParseRoute(t *testing.T) {
	rtmsg := make([]byte, unix.SizeofRtMsg)
	b := netlinkMessage(unix.RTM_NEWROUTE, rtmsg, routeAttr(unix.RTA_DST, []byte{198, 41, 0, 4}), routeAttr(unix.RTA_OIF, number(2)),
		routeAttr(unix.RTA_GATEWAY, []byte{10, 0, 0, 1}), routeAttr(unix.RTA_PREFSRC, []byte{10, 0, 0, 7}))
	want := Route{Gateway: ip("10.0.0.1"), Source: ip("10.0.0.7"), Interface: 2}
	if r, ok := parseRoute(b); !ok || r != want {
		t.Errorf("%+v, %v", r, ok)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "unreachable": netlinkMessage(unix.NLMSG_ERROR, number(0xffffff9b)),
		"no interface": netlinkMessage(unix.RTM_NEWROUTE, rtmsg), "short": netlinkMessage(unix.RTM_NEWROUTE, rtmsg[:4]), "cut": b[:40],
	} {
		if r, ok := parseRoute(b); ok {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestNews(t *testing.T) {
	for name, tt := range map[string]struct {
		in   []byte
		want bool
	}{
		"address":   {netlinkMessage(unix.RTM_NEWADDR, ifaddrmsg(0, 2)), true},
		"neighbour": {netlinkMessage(unix.RTM_NEWNEIGH, make([]byte, 12)), false},
		"both":      {append(netlinkMessage(unix.RTM_NEWNEIGH, make([]byte, 12)), netlinkMessage(unix.RTM_DELROUTE, make([]byte, 12))...), true},
		"nonsense":  {[]byte("a message that has no sense, from the kernel"), true},
	} {
		if got := isNews(tt.in); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzNetlink(f *testing.F) {
	f.Add(netlinkMessage(unix.RTM_NEWADDR, ifaddrmsg(0, 2), routeAttr(unix.IFA_ADDRESS, []byte{10, 0, 0, 1})))
	f.Add(netlinkMessage(unix.RTM_NEWROUTE, make([]byte, unix.SizeofRtMsg), routeAttr(unix.RTA_OIF, number(2))))
	f.Add(netlinkMessage(unix.RTM_NEWLINK, make([]byte, unix.SizeofIfInfomsg)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		isNews(b)
		for _, a := range parseAddrs(parseLinks(b), b) {
			if a.addr == (netip.Addr{}) {
				t.Errorf("%x: no address", b)
			}
		}
		parseRoute(b)
	})
}
