package natnet

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/simnet"
)

// near is a link that takes next to no time.
var near = simnet.Impairment{Delay: 1}

// took returns how long a datagram from c to addr is on its way to another
// socket, and false if it does not arrive.
func took(t *testing.T, c *Conn, addr netip.AddrPort, to *Conn) (time.Duration, bool) {
	t.Helper()
	began := time.Now()
	if _, ok := reaches(t, c, addr, to); !ok {
		return 0, false
	}
	return time.Since(began).Truncate(time.Millisecond), true
}

func TestWaysBetweenHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		defer n.Close()
		cfg := EndpointIndependent()
		cfg.Up, cfg.Down = near, near
		home := n.NAT("home", cfg)
		inside := HostConfig{NAT: home, Up: near, Down: near}
		a, b := n.Host("a", inside), n.Host("b", inside)
		c, d := n.Host("c", HostConfig{Up: near, Down: near}), n.Host("d", HostConfig{Up: near, Down: near})
		sa, sb, sc, sd := listen(t, a, 1), listen(t, b, 2), listen(t, c, 3), listen(t, d, 4)
		n.SetDefault(simnet.Impairment{Delay: 30 * time.Millisecond})
		n.SetPair(a, c, simnet.Impairment{Delay: 70 * time.Millisecond})
		n.SetPair(c, b, simnet.Impairment{Delay: 90 * time.Millisecond})
		n.SetPair(d, c, simnet.Impairment{Loss: 1})
		at := func(s *Conn) netip.AddrPort { return netip.AddrPortFrom(s.host.v4, s.port) }
		for _, test := range []struct {
			name     string
			from, to *Conn
			want     time.Duration
			lost     bool
		}{
			{"the default", sc, sd, 30 * time.Millisecond, false},
			{"a pair, out of a NAT", sa, sc, 70 * time.Millisecond, false},
			{"another pair of the same NAT", sb, sc, 30 * time.Millisecond, false},
			{"a lost pair", sd, sc, 0, true},
			{"a local network", sa, sb, 0, false},
		} {
			got, ok := took(t, test.from, at(test.to), test.to)
			if got != test.want || ok == test.lost {
				t.Errorf("%s: took %v, arrived %v", test.name, got, ok)
			}
		}
		for _, test := range []struct {
			host *Conn
			want time.Duration
		}{{sa, 30 * time.Millisecond}, {sb, 90 * time.Millisecond}} {
			public := netip.AddrPortFrom(home.Addr(), max(test.host.port, firstPort))
			for key, m := range home.table.byInside {
				if key.inner == at(test.host) {
					public = netip.AddrPortFrom(home.Addr(), m.port)
				}
			}
			if got, ok := took(t, sc, public, test.host); got != test.want || !ok {
				t.Errorf("into the NAT to %v: took %v, arrived %v, want %v", test.host.host, got, ok, test.want)
			}
		}
		n.SetPair(a, b, simnet.Impairment{Delay: 5 * time.Millisecond})
		if got, _ := took(t, sa, at(sb), sb); got != 5*time.Millisecond {
			t.Errorf("a pair within a local network takes %v", got)
		}
		n.SetPair(d, c, simnet.Impairment{})
		if got, ok := took(t, sd, at(sc), sc); got != 0 || !ok {
			t.Errorf("a pair that is not impaired any more takes %v, %v", got, ok)
		}
	})
}

// A route that goes away while a datagram is on its way loses it.
func TestWaysEndWhereTheRouteIsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		defer n.Close()
		n.SetDefault(simnet.Impairment{Delay: time.Second / 2})
		a, b := n.Host("a", HostConfig{}), n.Host("b", HostConfig{})
		sa, sb := listen(t, a, 1), listen(t, b, 2)
		write(t, sa, netip.AddrPortFrom(b.v4, 2), "late")
		time.Sleep(100 * time.Millisecond)
		b.Renumber()
		if _, _, ok := read(t, sb); ok || n.Counters().LostNoRoute != 1 {
			t.Errorf("arrived %v, counters %+v", ok, n.Counters())
		}
	})
}
