package origin

import (
	"net/netip"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOneSubscriberIsOneAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7":            "192.0.2.7",
		"::ffff:192.0.2.7":     "192.0.2.7",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::":  "2001:db8:1:2::/64",
		"fe80::1%eth0":         "fe80::/64",
	} {
		if got := Of(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s counts as %q, want %q", addr, got, want)
		}
	}
	if got := Of(netip.Addr{}); got != "" {
		t.Errorf("no address counts as %q", got)
	}
}
