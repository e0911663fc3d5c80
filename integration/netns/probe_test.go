//go:build linux

package netns

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/weftnet/weft/internal/natprobe"
)

// What nodes find out of their NATs from relays is what these are.
func TestWhichNATThereIs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		family    family
		kind      natKind
		mapping   natprobe.Mapping
		filtering natprobe.Filtering
	}{
		{ipv4, open, natprobe.MappingIndependent, natprobe.FilterAddress},
		{ipv4, fullCone, natprobe.MappingIndependent, natprobe.FilterAddress},
		{ipv4, portRestricted, natprobe.MappingIndependent, natprobe.FilterPort},
		{ipv4, leaky, natprobe.MappingIndependent, natprobe.FilterPort},
		{ipv4, symmetric, natprobe.MappingPort, natprobe.FilterPort},
		{ipv6, open, natprobe.MappingIndependent, natprobe.FilterAddress},
		{ipv6, firewall, natprobe.MappingIndependent, natprobe.FilterPort},
	} {
		t.Run(string(tt.family)+"/"+string(tt.kind), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, tt.family, tt.kind, open)
			l.startRelays()
			var last natprobe.Result
			for results := l.probed(l.host(0)); last.Mapping != tt.mapping || last.Filtering != tt.filtering; {
				select {
				case last = <-results:
				case <-l.ctx.Done():
					t.Fatalf("found %+v, want %v and %v", last, tt.mapping, tt.filtering)
				}
			}
		})
	}
}

// probed asks the lab's relays about a socket on a host.
func (l *lab) probed(h *host) <-chan natprobe.Result {
	l.t.Helper()
	sock := l.listenUDP(h.namespace, net.JoinHostPort(h.addr, "7000"))
	results := make(chan natprobe.Result, 64)
	p := natprobe.New(natprobe.Config{
		Send: func(b []byte, to netip.AddrPort) error {
			_, err := sock.WriteToUDPAddrPort(b, to)
			return err
		},
		OnChange: func(r natprobe.Result) {
			select {
			case results <- r:
			default: // the test has ended long ago
			}
		},
	})
	var reader sync.WaitGroup
	reader.Go(func() {
		b := make([]byte, 1500)
		for {
			n, from, err := sock.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			p.Handle(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), b[:n])
		}
	})
	l.t.Cleanup(func() {
		_ = p.Close()
		_ = sock.Close()
		reader.Wait()
	})
	var servers []netip.AddrPort
	for _, r := range l.relays {
		servers = append(servers, netip.MustParseAddrPort(r))
	}
	p.SetServers(servers)
	return results
}
