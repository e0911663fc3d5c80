package natnet

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// remote returns the i-th remote endpoint.
func remote(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 7)
}

// What strangers send makes no table grow without bounds, nor does a host
// that talks to everybody, and time makes room again.
func TestTablesAreBounded(t *testing.T) {
	cfg := Leaky()
	cfg.Timeout, cfg.MaxMappings = defaultTimeout, defaultMaxMappings
	table := newTable(&cfg, rand.New(rand.NewPCG(1, 1)))
	inner := netip.MustParseAddrPort("10.1.0.1:5000")
	now := time.Unix(0, 0)
	later := now.Add(defaultTimeout)
	for _, at := range []time.Time{now, later} {
		for i := range maxTaken + 10 {
			if _, v := table.in(5000, remote(i), at); v == pass {
				t.Fatalf("stranger %d passes", i)
			}
		}
		if len(table.taken) != maxTaken {
			t.Errorf("strangers have taken %d ports, want %d", len(table.taken), maxTaken)
		}
	}
	if table.full != 20 || table.strangers != 2*maxTaken {
		t.Errorf("%d had no room, %d had", table.full, table.strangers)
	}
	for _, at := range []time.Time{later.Add(defaultTimeout), later.Add(2 * defaultTimeout)} {
		for i := range maxPermits + 10 {
			port, ok := table.out(inner, remote(i), at)
			if ok != (i < maxPermits) || ok && port != 5000 {
				t.Fatalf("destination %d: port %d, %v", i, port, ok)
			}
		}
	}
}

func TestAllPortsAreGivenOut(t *testing.T) {
	const count = 1<<16 - firstPort
	for name, alloc := range allocation {
		t.Run(name, func(t *testing.T) {
			cfg := NATConfig{Mapping: PerEndpoint, Ports: alloc, Timeout: -1, MaxMappings: 1 << 17}
			if alloc == RandomPort {
				// Ports are searched one by one from a random one on; to use up all
				// of them that way takes too long.
				cfg.MaxMappings = count / 2
			}
			table := newTable(&cfg, rand.New(rand.NewPCG(1, 1)))
			inner := netip.MustParseAddrPort("10.1.0.1:5000")
			given := make(map[uint16]bool)
			for i := range min(count, cfg.MaxMappings) {
				to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, 1}), uint16(i+1))
				if alloc == PreservePort {
					inner = netip.AddrPortFrom(inner.Addr(), uint16(firstPort+i))
				}
				port, ok := table.out(inner, to, time.Time{})
				if !ok || given[port] || port < firstPort {
					t.Fatalf("mapping %d: port %d, %v", i, port, ok)
				}
				given[port] = true
			}
			if port, ok := table.out(inner, remote(2), time.Time{}); ok {
				t.Errorf("there is one more port: %d", port)
			}
		})
	}
}
