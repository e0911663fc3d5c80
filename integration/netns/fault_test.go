//go:build linux

package netns

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What happens to networks happens to a stream that has become direct: it goes
// on, becomes direct again, and is whole at its end.
func TestFaultsInMidTransfer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault func(*trial)
	}{
		{"conntrack is flushed", (*trial).flush},
		{"a host gets another address", (*trial).rehome},
		{"an interface goes down and up", (*trial).blink},
		{"both NATs get another public address", (*trial).roam},
		{"UDP is blocked for a time", (*trial).blockUDP},
	} {
		for _, f := range []family{ipv4, ipv6} {
			t.Run(fmt.Sprintf("%s/%s", tt.name, f), func(t *testing.T) {
				t.Parallel()
				nat := portRestricted
				if f == ipv6 {
					nat = firewall
				}
				l := newLab(t, f, nat, nat)
				tr := l.tried(l.host(0), l.host(1))
				tr.awaitDirect()
				tt.fault(tr)
				tr.goesOn()
				tr.directAgain()
				tr.goesOn()
				tr.end()
			})
		}
	}
}

// directAgain waits until the stream is direct now.
func (tr *trial) directAgain() {
	tr.t.Helper()
	for !tr.a.progress().direct() {
		time.Sleep(watchInterval)
	}
}

func (tr *trial) flush() {
	for _, s := range tr.sites {
		s.nat.run(tr.t, "", "conntrack", "-F")
	}
}

func (tr *trial) rehome() {
	h := tr.host(0)
	h.ip(tr.t, "address del "+h.site.was(h.addr, "eth0"))
	h.addr = h.site.lan(60)
	h.up()
}

func (tr *trial) blink() {
	h := tr.host(0)
	h.ip(tr.t, "link set eth0 down")
	h.up()
}

func (tr *trial) roam() {
	for _, s := range tr.sites {
		s.nat.ip(tr.t, "address add "+s.on(s.wan(3), "wan"), "address del "+s.was(s.wan(2), "wan"))
		if tr.family == ipv6 {
			tr.internet.ip(tr.t, fmt.Sprintf("route replace %s/%d via %s", s.lan(0), s.length(), s.wan(3)))
		}
	}
}

func (tr *trial) blockUDP() {
	nat := tr.sites[1].nat
	nat.run(tr.t, noUDP, "nft", "-f", "-")
	for tr.a.await("path").direct() {
	}
	tr.goesOn()
	nat.run(tr.t, "", "nft", "delete", "table", "inet", "noudp")
}

func TestAStreamOutlivesTheRelays(t *testing.T) {
	t.Parallel()
	l := newLab(t, ipv4, portRestricted, portRestricted)
	tr := l.tried(l.host(0), l.host(1))
	tr.awaitDirect()
	for _, r := range l.relayProcesses {
		r.kill()
	}
	for range 10 {
		tr.goesOn()
	}
	tr.end()
}

func TestStreamsBecomeDirectWhilePacketsGetLost(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{1, 5} {
		t.Run(fmt.Sprintf("%d%%", percent), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, ipv4, portRestricted, portRestricted)
			l.internet.run(t, lossRules(percent), "nft", "-f", "-")
			for _, s := range l.sites {
				s.nat.run(t, lossRules(percent), "nft", "-f", "-")
			}
			tr := l.tried(l.host(0), l.host(1))
			tr.awaitDirect()
			for range 3 {
				tr.goesOn()
			}
			tr.end()
		})
	}
}

func TestNodesBehindOneNATMeetInTheirNetwork(t *testing.T) {
	t.Parallel()
	for _, kind := range []natKind{portRestricted, symmetric} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, ipv4, kind, open)
			other := l.sites[0].newHost()
			tr := l.tried(l.host(0), other)
			tr.awaitDirect()
			tr.goesOn()
			tr.directAgain()
			if end, _ := tr.end(); end.direct() && !strings.Contains(end.Path, other.addr) {
				t.Errorf("the stream ended on %s, not on one to %s", end.Path, other.addr)
			}
		})
	}
}
