package netmon

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func up(s string, iface int) ifAddr { return ifAddr{addr: ip(s), iface: iface, running: true} }

func TestChoose(t *testing.T) {
	with := func(a ifAddr, f func(*ifAddr)) ifAddr { f(&a); return a }
	temporary := func(preferred uint32) func(*ifAddr) {
		return func(a *ifAddr) { a.temporary, a.preferred = true, preferred }
	}
	deprecated := func(a *ifAddr) { a.deprecated = true }
	for _, tt := range []struct {
		name   string
		addrs  []ifAddr
		routes []Route
		want   []string
	}{
		{"nothing", nil, nil, nil},
		{"usual", []ifAddr{up("127.0.0.1", 1), up("192.168.1.5", 2), up("fe80::1", 2), up("2001:db8::5", 2)}, nil, []string{"192.168.1.5", "2001:db8::5"}},
		{"loopback with another address", []ifAddr{with(up("192.0.2.1", 1), func(a *ifAddr) { a.loopback = true })}, nil, nil},
		{"down", []ifAddr{with(up("192.0.2.1", 2), func(a *ifAddr) { a.running = false })}, nil, nil},
		{"tentative", []ifAddr{with(up("2001:db8::5", 2), func(a *ifAddr) { a.unusable = true })}, nil, nil},
		{"multicast and unspecified", []ifAddr{up("ff02::1", 2), up("224.0.0.1", 2), up("0.0.0.0", 2), up("::", 2)}, nil, nil},
		{
			"the internet's comes first, link-local last",
			[]ifAddr{up("169.254.3.3", 5), up("172.17.0.1", 3), up("10.0.0.7", 2), up("2001:db8::7", 2), up("10.0.0.8", 2)},
			[]Route{{Source: ip("10.0.0.8"), Interface: 2}},
			[]string{"10.0.0.8", "10.0.0.7", "2001:db8::7", "172.17.0.1", "169.254.3.3"},
		},
		{
			"the newest temporary one",
			[]ifAddr{up("2001:db8::5", 2), with(up("2001:db8::a", 2), temporary(100)), with(up("2001:db8::b", 2), temporary(200)), up("fd00::5", 2)},
			nil,
			[]string{"2001:db8::b", "fd00::5"},
		},
		{
			"a deprecated temporary one",
			[]ifAddr{up("2001:db8::5", 2), with(with(up("2001:db8::a", 2), temporary(0)), deprecated)},
			nil,
			[]string{"2001:db8::5"},
		},
		{"nothing but deprecated", []ifAddr{with(up("2001:db8::5", 2), deprecated), up("fe80::1", 2)}, nil, []string{"2001:db8::5"}},
		{"of another interface", []ifAddr{with(up("2001:db8::5", 2), deprecated), up("2001:db8::6", 3)}, nil, []string{"2001:db8::5", "2001:db8::6"}},
		{"only the route is known", nil, []Route{{Source: ip("10.0.0.8")}, {Source: ip("2001:db8::7")}}, []string{"10.0.0.8", "2001:db8::7"}},
		{"twice", []ifAddr{up("10.0.0.1", 2), up("10.0.0.1", 3)}, nil, []string{"10.0.0.1"}},
	} {
		var got []string
		for _, a := range choose(tt.addrs, tt.routes) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestChooseIsBoundedAndKeepsTheOrder(t *testing.T) {
	var addrs []ifAddr
	for i := range 40 {
		addrs = append(addrs, up(fmt.Sprintf("10.0.0.%d", i+1), 2))
	}
	first := choose(addrs, nil)
	slices.Reverse(addrs)
	if again := choose(addrs, nil); len(first) != MaxAddrs || !slices.Equal(first, again) {
		t.Errorf("%v, then %v", first, again)
	}
}

// What the system says of this machine is consistent, whatever it is.
func TestLocalAddrs(t *testing.T) {
	addrs := LocalAddrs()
	for _, a := range addrs {
		if a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.Is4In6() || a.Is6() && a.IsLinkLocalUnicast() {
			t.Errorf("%v", a)
		}
	}
	for _, r := range Routes() {
		if r.Source.IsValid() && r.Gateway.IsValid() && r.Source.Is4() && !r.Gateway.Is4() {
			t.Errorf("%+v", r)
		}
	}
	for _, a := range portableAddrs() {
		if !a.addr.IsValid() || a.iface == 0 {
			t.Errorf("%+v", a)
		}
	}
	t.Log(addrs, Routes(), sources())
}
