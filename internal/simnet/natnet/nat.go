package natnet

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/weftnet/weft/internal/simnet"
)

// A Behaviour says what a mapping or a filter looks at, in the sense of RFC
// 4787, sections 4.1 and 5.
type Behaviour int

// The behaviours.
const (
	AnyEndpoint Behaviour = iota // endpoint-independent
	PerAddress                   // address-dependent
	PerEndpoint                  // address and port-dependent
)

// A PortAllocation says which public port a new mapping gets.
type PortAllocation int

// The port allocations.
const (
	PreservePort   PortAllocation = iota // the inner port, or the next free one
	SequentialPort                       // one after the other
	RandomPort
)

const (
	// defaultTimeout is NATConfig.Timeout if that is zero: what Linux gives
	// UDP that was not answered. RFC 4787 asks for two minutes, and many home
	// routers have less.
	defaultTimeout = 30 * time.Second
	// defaultMaxMappings is NATConfig.MaxMappings if that is zero: a home
	// router's table.
	defaultMaxMappings = 4096
	// maxPermits bounds the remote endpoints that one mapping remembers, and
	// maxTaken what a leaky NAT remembers of strangers.
	maxPermits, maxTaken = 4096, 4096
	// firstPort is the lowest public port of a mapping.
	firstPort = 1024
)

// A NATConfig says how a NAT behaves. The zero value is a full cone: what
// [EndpointIndependent] returns.
type NATConfig struct {
	// Behind is the NAT outside this one. Nil: the internet.
	Behind *NAT

	Mapping   Behaviour
	Filtering Behaviour
	Ports     PortAllocation
	// Hairpin lets hosts behind the NAT reach each other by public addresses,
	// with translated sources (RFC 4787, REQ-9a).
	Hairpin bool

	// Timeout is how long a mapping, and the filter's memory of a remote
	// endpoint, lasts unused. Zero: 30 s. Negative: for ever.
	Timeout time.Duration
	// RefreshInbound makes inbound datagrams use a mapping too, not only
	// outbound ones.
	RefreshInbound bool

	// Plain translates nothing, so that hosts behind it have addresses of the
	// router above: a firewall.
	Plain bool
	// Unfiltered lets inbound datagrams through that nothing asked for. Those
	// to a translated address still need a mapping.
	Unfiltered bool
	// BlockUDP loses all that would pass.
	BlockUDP bool
	// Leaky is what Linux does with masquerade and no rule that drops input:
	// an inbound datagram from a stranger makes an entry, for Timeout, that
	// takes the port, so that what a host sends to that stranger from then on
	// leaves from another port.
	Leaky bool

	// NoIPv6 leaves hosts behind the NAT without IPv6, which is otherwise
	// filtered and not translated.
	NoIPv6 bool
	// Inside is the IPv4 prefix behind the NAT. Zero: 10.n.0.0/16, n counted
	// from 1. Two NATs with one prefix give out the same addresses.
	Inside netip.Prefix
	// MaxMappings bounds the table; outbound datagrams that need another are
	// dropped. Zero: 4096.
	MaxMappings int

	// Up and Down are the link to the router above, with 10 ms delay (behind
	// another NAT 0.2 ms) if there is none, and the rate counted with the
	// headers of IP and UDP. Backpressure has no effect.
	Up, Down simnet.Impairment
}

// EndpointIndependent is a full cone: whoever knows the public address reaches
// the host.
func EndpointIndependent() NATConfig { return NATConfig{} }

// AddressRestricted is a cone that filters by address.
func AddressRestricted() NATConfig { return NATConfig{Filtering: PerAddress} }

// PortRestricted is a cone that filters by address and port, the most usual
// kind: Linux's masquerade with a rule that drops input.
func PortRestricted() NATConfig { return NATConfig{Filtering: PerEndpoint} }

// Symmetric has another, random port for each destination: Linux's masquerade
// with fully-random, and many carriers.
func Symmetric() NATConfig {
	return NATConfig{Mapping: PerEndpoint, Filtering: PerEndpoint, Ports: RandomPort}
}

// Leaky is a port-restricted cone that lacks the rule that drops input.
func Leaky() NATConfig { return NATConfig{Filtering: PerEndpoint, Leaky: true} }

// Firewall translates nothing and lets in what was asked for.
func Firewall() NATConfig { return NATConfig{Filtering: PerEndpoint, Plain: true} }

// Open is a router: it translates and filters nothing.
func Open() NATConfig { return NATConfig{Plain: true, Unfiltered: true} }

// Blocked loses all UDP.
func Blocked() NATConfig { return NATConfig{Plain: true, BlockUDP: true} }

// NATCounters are what a NAT did so far, in datagrams.
type NATCounters struct {
	Out, In       uint64 // passed, translated or not
	Hairpinned    uint64
	Filtered      uint64 // inbound, dropped by the filter
	NoMapping     uint64 // inbound, to a public port without mapping or an address that is not there
	LostHairpin   uint64 // to the own public address without Hairpin
	LostTable     uint64 // a table was full
	LostBlocked   uint64 // by BlockUDP
	Mappings      int    // in the table, those timed out and not yet removed included
	PortsTaken    uint64 // by strangers, on a leaky NAT
	LeftElsewhere uint64 // outbound from another port because a stranger had taken the right one
}

// A NAT is a router with a table. Network.NAT makes one.
type NAT struct {
	net      *Network
	name     string
	cfg      NATConfig
	above    router
	up, down *link
	routes   map[netip.Addr]*link // addresses behind it
	outer    netip.Addr           // its public address; invalid if Plain
	pool4    netip.Addr
	pool6    netip.Addr
	table    table
	counters NATCounters
}

// NAT adds a NAT. The name is for messages only.
func (n *Network) NAT(name string, cfg NATConfig) *NAT {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nextNAT++
	if !cfg.Inside.IsValid() {
		cfg.Inside = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n.nextNAT)}), 16)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.MaxMappings == 0 {
		cfg.MaxMappings = defaultMaxMappings
	}
	t := &NAT{net: n, name: name, cfg: cfg, routes: make(map[netip.Addr]*link), above: n.routerLocked(cfg.Behind)}
	t.pool4 = cfg.Inside.Masked().Addr()
	site := n.core.pool6.As16()
	binary.BigEndian.PutUint32(site[4:], uint32(n.nextNAT))
	clear(site[8:])
	t.pool6 = netip.AddrFrom16(site)
	t.up = n.newLinkLocked(cfg.Up, cfg.Behind != nil, t.above.fromInsideLocked)
	t.down = n.newLinkLocked(cfg.Down, cfg.Behind != nil, t.fromOutsideLocked)
	t.down.nat = t
	t.table = newTable(&t.cfg, rand.New(rand.NewPCG(n.seed, uint64(n.nextNAT))))
	t.renumberLocked()
	return t
}

// routerLocked is what hangs below t: the internet, if t is nil.
func (n *Network) routerLocked(t *NAT) router {
	if t == nil {
		return &n.core
	}
	return t
}

// String returns the name.
func (t *NAT) String() string { return t.name }

// Addr returns the public IPv4 address, invalid if nothing is translated.
func (t *NAT) Addr() netip.Addr {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	return t.outer
}

// Renumber changes the public IPv4 address, as some providers do every night,
// and forgets the mappings. It returns the new address.
func (t *NAT) Renumber() netip.Addr {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	t.renumberLocked()
	return t.outer
}

func (t *NAT) renumberLocked() {
	if t.cfg.Plain {
		return
	}
	if t.outer.IsValid() {
		t.above.detachLocked(t.outer)
	}
	t.outer = t.above.newAddrLocked(false)
	t.above.attachLocked(t.outer, t.down)
	t.table.flush()
}

// Flush forgets all mappings, as a restart does.
func (t *NAT) Flush() {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	t.table.flush()
}

// Impair changes both directions of the link to the router above.
func (t *NAT) Impair(up, down simnet.Impairment) {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	t.up.shaper.Set(t.up.withDelay(up))
	t.down.shaper.Set(t.down.withDelay(down))
}

// Counters returns a snapshot.
func (t *NAT) Counters() NATCounters {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	c := t.counters
	c.Mappings = len(t.table.byInside)
	c.LostTable, c.PortsTaken, c.LeftElsewhere = t.table.full, t.table.strangers, t.table.displaced
	return c
}

// translates reports whether hosts behind the NAT have addresses of this
// family that the router above does not see.
func (t *NAT) translates(addr netip.Addr) bool { return addr.Is4() && !t.cfg.Plain }

func (t *NAT) attachLocked(addr netip.Addr, via *link) {
	t.routes[addr] = via
	if !t.translates(addr) {
		t.above.attachLocked(addr, t.down)
	}
}

func (t *NAT) detachLocked(addr netip.Addr) {
	delete(t.routes, addr)
	if !t.translates(addr) {
		t.above.detachLocked(addr)
	}
}

func (t *NAT) newAddrLocked(v6 bool) netip.Addr {
	switch {
	case v6 && t.cfg.NoIPv6:
		return netip.Addr{}
	case v6:
		t.pool6 = t.pool6.Next()
		return t.pool6
	case t.cfg.Plain:
		return t.above.newAddrLocked(false)
	}
	t.pool4 = t.pool4.Next()
	return t.pool4
}

// fromInsideLocked handles what hosts and NATs behind this one send.
func (t *NAT) fromInsideLocked(d datagram, now time.Time) {
	if via := t.routes[d.dst.Addr()]; via != nil {
		t.net.passLocked(t, via, d, now) // within the local network
		return
	}
	if t.cfg.BlockUDP {
		t.counters.LostBlocked++
		return
	}
	hairpin := d.dst.Addr() == t.outer
	if hairpin && !t.cfg.Hairpin {
		t.counters.LostHairpin++
		return
	}
	if t.translates(d.dst.Addr()) {
		port, ok := t.table.out(d.src, d.dst, now)
		if !ok {
			return
		}
		d.src = netip.AddrPortFrom(t.outer, port)
	} else if !t.cfg.Unfiltered && !t.table.outPlain(d.src, d.dst, now) {
		return
	}
	if hairpin {
		t.counters.Hairpinned++
		t.fromOutsideLocked(d, now)
		return
	}
	t.counters.Out++
	t.up.sendLocked(d, now)
}

// fromOutsideLocked handles what arrives from the router above.
func (t *NAT) fromOutsideLocked(d datagram, now time.Time) {
	if t.cfg.BlockUDP {
		t.counters.LostBlocked++
		return
	}
	if d.dst.Addr() == t.outer {
		inside, v := t.table.in(d.dst.Port(), d.src, now)
		if !t.passLocked(v) {
			return
		}
		d.dst = inside
	} else if !t.cfg.Unfiltered && !t.passLocked(t.table.inPlain(d.dst, d.src, now)) {
		return
	}
	via := t.routes[d.dst.Addr()]
	if via == nil {
		t.counters.NoMapping++ // of a host that has another address by now
		return
	}
	t.counters.In++
	via.sendLocked(d, now)
}

// passLocked counts what the table says about an inbound datagram.
func (t *NAT) passLocked(v verdict) bool {
	switch v {
	case noMapping:
		t.counters.NoMapping++
	case filtered:
		t.counters.Filtered++
	}
	return v == pass
}
