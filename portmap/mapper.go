package portmap

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/internal/netmon"
)

const (
	// DefaultLifetime is what a mapping is asked for. It is renewed after half
	// of it; that is also how long a gateway that forgot everything goes
	// unnoticed, and the most that is left of a program that was killed.
	DefaultLifetime = 20 * time.Minute
	// minLifetime is the shortest lifetime that is believed.
	minLifetime = time.Minute
	// firstRetry and lastRetry are when it is tried again after a failure, the
	// time doubling between them. A changed network is tried at once.
	firstRetry, lastRetry = time.Minute, 30 * time.Minute
	// unmapTimeout bounds the deletion of a mapping when Map returns.
	unmapTimeout = 2 * time.Second
	// exchangeTimeout bounds one request with PCP and its repetitions, at 0,
	// 250 and 750 ms.
	exchangeTimeout = 1750 * time.Millisecond
)

// Config configures a [Mapper]. The zero value is for everybody.
type Config struct {
	// Gateway returns the gateway's IPv4 address and the local address from
	// which it is reached; invalid addresses mean that there is none. Nil: as
	// the system's default route says.
	Gateway func() (gateway, local netip.Addr)
	// SSDP is the multicast address for UPnP; its port is also the gateway's.
	// Zero: 239.255.255.250:1900.
	SSDP netip.AddrPort
	// NoPCP, NoNATPMP and NoUPnP leave out a protocol.
	NoPCP, NoNATPMP, NoUPnP bool
	// Lifetime is what mappings are asked for, in whole seconds. Zero:
	// DefaultLifetime. Less than a minute is taken for one.
	Lifetime time.Duration
	// AllowPrivate reports external addresses, too, that are not public, for
	// networks in which those can be reached.
	AllowPrivate bool
	// Logger is told what comes of it. Nil is silent.
	Logger logrus.FieldLogger
}

// A Mapper maps ports. It has no state but its Config, and is safe for
// concurrent use.
type Mapper struct {
	cfg   Config
	watch func(ctx context.Context, changed func()) // replaced by tests
}

// New returns a mapper.
func New(cfg Config) *Mapper {
	if cfg.Gateway == nil {
		cfg.Gateway = defaultGateway
	}
	if !cfg.SSDP.IsValid() {
		cfg.SSDP = netip.MustParseAddrPort("239.255.255.250:1900")
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = DefaultLifetime
	}
	cfg.Lifetime = max(cfg.Lifetime.Truncate(time.Second), minLifetime)
	return &Mapper{cfg: cfg, watch: func(ctx context.Context, changed func()) {
		_ = netmon.Watch(ctx, cfg.Logger, func(netmon.Change) { changed() })
	}}
}

func defaultGateway() (gateway, local netip.Addr) {
	for _, r := range netmon.Routes() {
		if r.Gateway.Is4() && r.Source.Is4() {
			return r.Gateway, r.Source
		}
	}
	return netip.Addr{}, netip.Addr{}
}

// A place is where a mapping is made, and for what.
type place struct {
	gateway, local netip.Addr
	port           uint16 // internal
	lifetime       time.Duration
}

// A lease is a mapping that a gateway has granted.
type lease struct {
	place
	external netip.AddrPort
	lifetime time.Duration
	by       protocol
}

// A protocol makes mappings. One value is for one mapping; one goroutine uses
// it.
type protocol interface {
	name() string
	// acquire makes or renews a mapping, with the external port that it had,
	// if last is not 0 and the gateway agrees.
	acquire(ctx context.Context, p place, last uint16) (external netip.AddrPort, lifetime time.Duration, err error)
	// release deletes what acquire has made.
	release(ctx context.Context, p place, external uint16) error
}

// Map keeps a mapping to a UDP port, as overlay.PortMapper has it. It returns
// within some seconds after the end of ctx.
func (m *Mapper) Map(ctx context.Context, port uint16, changed func(netip.AddrPort)) error {
	if port == 0 {
		return errors.New("portmap: port 0 cannot be mapped; give the port that the socket has")
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	news := make(chan struct{}, 1)
	wg.Go(func() {
		m.watch(watching, func() {
			select {
			case news <- struct{}{}:
			default:
			}
		})
	})
	k := keeper{Mapper: m, port: port, changed: changed}
	for {
		wait := k.turn(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			k.drop(ctx)
			return context.Cause(ctx)
		case <-news:
			k.failures = 0
		case <-timer.C:
		}
		timer.Stop()
	}
}

// A keeper is the state of one Map.
type keeper struct {
	*Mapper
	port     uint16
	changed  func(netip.AddrPort)
	told     netip.AddrPort
	lease    *lease
	failures int
}

// turn makes or renews the mapping, and returns when it is to be called again.
func (k *keeper) turn(ctx context.Context) time.Duration {
	p := place{port: k.port, lifetime: k.cfg.Lifetime}
	p.gateway, p.local = k.cfg.Gateway()
	if k.lease != nil && k.lease.place != p {
		k.drop(ctx) // of another network; most likely nobody hears it
	}
	err := k.acquire(ctx, p)
	switch {
	case ctx.Err() != nil:
		return 0
	case err == nil:
		k.failures = 0
		k.tell(k.lease.external)
		return k.lease.lifetime / 2
	}
	k.tell(netip.AddrPort{})
	if k.cfg.Logger != nil {
		k.cfg.Logger.WithError(err).Debug("portmap: no port is open at the gateway")
	}
	k.failures++
	return min(firstRetry<<min(k.failures-1, 10), lastRetry)
}

func (k *keeper) tell(external netip.AddrPort) {
	if external == k.told {
		return
	}
	k.told = external
	if k.cfg.Logger != nil && external.IsValid() {
		k.cfg.Logger.Debugf("portmap: %v at the gateway is UDP port %d, with %s", external, k.port, k.lease.by.name())
	}
	k.changed(external)
}

// acquire renews the lease, or gets one with the first protocol that works.
func (k *keeper) acquire(ctx context.Context, p place) error {
	if !p.gateway.IsValid() || !p.local.IsValid() {
		k.lease = nil
		return errors.New("portmap: there is no IPv4 gateway")
	}
	last := uint16(0)
	if k.lease != nil {
		last = k.lease.external.Port()
		err := k.try(ctx, k.lease.by, p, last)
		if err == nil || ctx.Err() != nil {
			return err
		}
		k.lease = nil
	}
	var errs []error
	for _, by := range k.protocols() {
		err := k.try(ctx, by, p, last)
		if err == nil || ctx.Err() != nil {
			return err
		}
		errs = append(errs, fmt.Errorf("%s: %w", by.name(), err))
	}
	return fmt.Errorf("portmap: gateway %v: %w", p.gateway, errors.Join(errs...))
}

func (k *keeper) try(ctx context.Context, by protocol, p place, last uint16) error {
	external, lifetime, err := by.acquire(ctx, p, last)
	if err != nil {
		return err
	}
	got := &lease{place: p, external: external, lifetime: min(max(lifetime, minLifetime), k.cfg.Lifetime), by: by}
	if ctx.Err() == nil && (k.cfg.AllowPrivate || isPublic(external.Addr())) && external.Port() != 0 {
		k.lease = got
		return nil
	}
	k.lease = got
	k.drop(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("the external address %v is not public: there is another NAT, which has to map the port, too", external)
}

// drop deletes the mapping.
func (k *keeper) drop(ctx context.Context) {
	if k.lease == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unmapTimeout)
	defer cancel()
	if err := k.lease.by.release(ctx, k.lease.place, k.lease.external.Port()); err != nil && k.cfg.Logger != nil {
		k.cfg.Logger.WithError(err).Debugf("portmap: %v is not deleted at the gateway; it ends within %v", k.lease.external, k.lease.lifetime)
	}
	k.lease = nil
}

// protocols returns new values of all, the best first.
func (m *Mapper) protocols() []protocol {
	var out []protocol
	if !m.cfg.NoPCP {
		out = append(out, &pcp{})
	}
	if !m.cfg.NoNATPMP {
		out = append(out, natPMP{})
	}
	if !m.cfg.NoUPnP {
		out = append(out, &upnp{ssdp: m.cfg.SSDP})
	}
	return out
}

// notPublic are networks, beside those that netip knows, whose addresses others
// do not reach: "this" network, carriers' NATs (RFC 6598), DS-Lite (RFC 6333), and
// what is reserved.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

func isPublic(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
