package portmap

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	natpmp "github.com/jackpal/go-nat-pmp"
)

// pmpTimeout bounds a request with its repetitions. The library knows no
// contexts, so that this is also how long the end of a context is not seen.
const pmpTimeout = time.Second

// natPMP is the NAT Port Mapping Protocol, RFC 6886.
type natPMP struct{}

func (natPMP) name() string { return "NAT-PMP" }

func (natPMP) client(p place) *natpmp.Client {
	return natpmp.NewClientWithLocalAndTimeout(p.gateway.AsSlice(), p.local.AsSlice(), pmpTimeout)
}

func (n natPMP) acquire(ctx context.Context, p place, last uint16) (netip.AddrPort, time.Duration, error) {
	if last == 0 {
		last = p.port
	}
	c := n.client(p)
	address, err := c.GetExternalAddress()
	if err != nil {
		return netip.AddrPort{}, 0, err
	}
	if ctx.Err() != nil {
		return netip.AddrPort{}, 0, context.Cause(ctx)
	}
	r, err := c.AddPortMapping("udp", int(p.port), int(last), int(p.lifetime/time.Second))
	if err != nil {
		return netip.AddrPort{}, 0, err
	}
	if r.InternalPort != p.port {
		return netip.AddrPort{}, 0, fmt.Errorf("the gateway mapped port %d and not %d", r.InternalPort, p.port)
	}
	external := netip.AddrPortFrom(netip.AddrFrom4(address.ExternalIPAddress), r.MappedExternalPort)
	return external, time.Duration(r.PortMappingLifetimeInSeconds) * time.Second, nil
}

func (n natPMP) release(_ context.Context, p place, _ uint16) error {
	_, err := n.client(p).AddPortMapping("udp", int(p.port), 0, 0)
	return err
}
