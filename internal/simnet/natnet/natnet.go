// Package natnet is a simulated internet for UDP: hosts with IPv4 and IPv6
// addresses, NATs and firewalls in front of them that behave as RFC 4787 has
// it, and links with latency, rate, loss, reordering and duplication. It is
// for tests of direct paths in testing/synctest bubbles; nothing touches the
// kernel.
//
//	n := natnet.New(seed)
//	defer n.Close()
//	home := n.NAT("home", natnet.PortRestricted())
//	a := n.Host("a", natnet.HostConfig{NAT: home})
//	c, err := a.ListenPacket(0)
//
// A [Conn] is a net.PacketConn; udp.OneByOne makes of it what a udp.Socket
// takes in place of the kernel's.
//
// # Shape
//
// The network is a tree. Its root is the internet, which carries everything at
// once and knows public addresses only. Hosts and NATs hang below it or below
// a NAT, each on a link of its own with an up and a down direction; that is
// where time passes, and on the ways between pairs of hosts that SetDefault and
// SetPair impair. A NAT is also the switch of the local network behind it: what
// stays there is neither translated nor filtered.
//
// IPv4 addresses of the internet come from 198.18.0.0/15 (RFC 2544), those
// behind the n-th NAT from 10.n.0.0/16, IPv6 ones from 2001:db8::/32 (RFC
// 3849), a /64 for each NAT. No address is given out twice, but behind
// different NATs with the same NATConfig.Inside. Nothing translates IPv6.
//
// # Determinism
//
// All chance comes from the seed: the n-th host or NAT has its own sequence.
// There is one queue of what is on the way, sorted by time, then link, then
// order of sending. What a host sends waits a microsecond, so that all that is
// sent in one instant is there before any of it moves, and is then sorted by
// socket and destination. So two runs in bubbles are the same if what each
// socket sends to each destination is, whichever goroutines do it.
//
// There is no ICMP: what cannot be delivered is lost and counted.
package natnet

import (
	"container/heap"
	"net/netip"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/simnet"
)

const (
	// internetDelay and localDelay are the delay of a link, in each direction,
	// whose Impairment has none: 20 ms one way between two public hosts.
	internetDelay = 10 * time.Millisecond
	localDelay    = 200 * time.Microsecond
	// stageTime is how long what a host sends waits to be sorted, and minDelay,
	// which includes it, what any link takes.
	stageTime = time.Microsecond
	minDelay  = 2 * stageTime
	// maxStaged bounds what one host sends in one stageTime: some gigabytes a
	// second.
	maxStaged = 8192
	// header4 and header6 are what IP and UDP add to a datagram.
	header4, header6 = 28, 48
	// maxHosts numbers the ways between them.
	maxHosts = 1 << 20
)

// Counters are what happened to datagrams so far. Losses on links are in the
// counters of those.
type Counters struct {
	Sent, Delivered uint64 // datagrams written, and put into a socket's inbox
	LostNoRoute     uint64 // nobody has the address
	LostNoSocket    uint64 // no socket has the port
	LostInbox       uint64 // the socket's inbox was full
	LostCut         uint64 // by Cut
	LostCorrupt     uint64 // the checksum was wrong
	LostHostDown    uint64 // by SetUp or Sleep of the host
	LostBurst       uint64 // the host sent too much in one instant
}

// A Network is an internet. All methods of it and of what belongs to it are
// safe for concurrent use. New makes one.
type Network struct {
	mu       sync.Mutex // guards everything in the tree; no callbacks, so nothing is called with it held
	seed     uint64
	nextLink int
	nextNAT  int
	core     core
	conns    map[*Conn]struct{}
	cut      map[[2]*Host]bool
	hosts    []*Host
	fallback simnet.Impairment              // of ways over the internet
	pairs    map[[2]*Host]simnet.Impairment // of ways
	ways     map[wayKey]*link               // those that were impaired once
	flight   flight
	timer    *time.Timer
	timerAt  time.Time
	closed   bool
	counters Counters
}

// New returns a network without hosts, whose chance comes from seed.
func New(seed uint64) *Network {
	n := &Network{
		seed:  seed,
		conns: make(map[*Conn]struct{}),
		cut:   make(map[[2]*Host]bool),
		pairs: make(map[[2]*Host]simnet.Impairment),
		ways:  make(map[wayKey]*link),
	}
	n.core = core{net: n, routes: make(map[netip.Addr]*link)}
	n.core.pool4 = netip.MustParsePrefix("198.18.0.0/15").Addr()
	n.core.pool6 = netip.MustParsePrefix("2001:db8::/64").Addr()
	return n
}

// Counters returns a snapshot.
func (n *Network) Counters() Counters {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counters
}

// Cut loses what two hosts send each other from now on, what is on the way
// included, whatever addresses they use.
func (n *Network) Cut(a, b *Host) { n.setCut(a, b, true) }

// Heal undoes Cut.
func (n *Network) Heal(a, b *Host) { n.setCut(a, b, false) }

func (n *Network) setCut(a, b *Host, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]*Host{a, b}] = cut
	n.cut[[2]*Host{b, a}] = cut
}

// Close ends all sockets and loses what is on the way. Sockets that are opened
// later are closed.
func (n *Network) Close() {
	n.mu.Lock()
	n.closed = true
	if n.timer != nil {
		n.timer.Stop()
	}
	n.flight = nil
	conns := n.conns
	n.conns = nil
	n.mu.Unlock()
	for c := range conns {
		_ = c.Close()
	}
}

// armLocked sets the one timer for the next arrival.
func (n *Network) armLocked(now time.Time) {
	if len(n.flight) == 0 || n.closed {
		return
	}
	at := n.flight[0].at
	switch {
	case n.timer == nil:
		n.timer = time.AfterFunc(at.Sub(now), n.run)
	case n.timerAt.IsZero() || at.Before(n.timerAt):
		n.timer.Reset(at.Sub(now))
	default:
		return
	}
	n.timerAt = at
}

// run is the timer's function: it moves everything that has come to the end of
// a link.
func (n *Network) run() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.timerAt = time.Time{}
	now := time.Now()
	for !n.closed && len(n.flight) > 0 && !n.flight[0].at.After(now) {
		a := heap.Pop(&n.flight).(arrival)
		if a.staged {
			a.link.staged--
			a.link.sendLocked(a.d, a.at.Add(-stageTime))
			continue
		}
		a.link.arriveLocked(a.d, now)
	}
	n.armLocked(now)
}

// A router is what hosts and NATs hang below: the internet or a NAT. The
// network's lock is held in all methods.
type router interface {
	// fromInsideLocked takes a datagram that came up a link.
	fromInsideLocked(d datagram, now time.Time)
	// attachLocked makes addr reachable by via, here and in all routers above
	// that see it untranslated.
	attachLocked(addr netip.Addr, via *link)
	detachLocked(addr netip.Addr)
	// routeLocked returns the link to an address that is below, nil if none is.
	routeLocked(addr netip.Addr) *link
	// newAddrLocked returns an address that is new here.
	newAddrLocked(v6 bool) netip.Addr
}

// core is the internet.
type core struct {
	net          *Network
	routes       map[netip.Addr]*link
	pool4, pool6 netip.Addr // the latest address given out
}

func (c *core) fromInsideLocked(d datagram, now time.Time) {
	via := c.routes[d.dst.Addr()]
	if via == nil {
		c.net.counters.LostNoRoute++
		return
	}
	c.net.passLocked(c, via, d, now)
}

func (c *core) attachLocked(addr netip.Addr, via *link) { c.routes[addr] = via }
func (c *core) detachLocked(addr netip.Addr)            { delete(c.routes, addr) }

func (c *core) newAddrLocked(v6 bool) netip.Addr {
	pool := &c.pool4
	if v6 {
		pool = &c.pool6
	}
	*pool = pool.Next()
	return *pool
}

// A datagram is on its way through the tree; src and dst are rewritten by
// NATs.
type datagram struct {
	from     *Host
	src, dst netip.AddrPort
	payload  []byte
	corrupt  bool // the checksum is wrong now
}

func (d *datagram) size() int {
	if d.dst.Addr().Is4() {
		return len(d.payload) + header4
	}
	return len(d.payload) + header6
}

// A link is one direction between a host or NAT and the router above it.
type link struct {
	net    *Network
	index  int
	sent   uint64
	staged int
	base   time.Duration // the delay, if the impairment has none
	shaper *simnet.Shaper
	end    func(datagram, time.Time) // what is at the far end; n.mu is held
	// What the link leads down to, one of them; both nil for a link upwards.
	host *Host
	nat  *NAT
}

func (n *Network) newLinkLocked(imp simnet.Impairment, local bool, end func(datagram, time.Time)) *link {
	n.nextLink++
	l := &link{net: n, index: n.nextLink, end: end, base: internetDelay}
	if local {
		l.base = localDelay
	}
	// Seeds of neighbouring networks and links do not meet.
	l.shaper = simnet.NewShaper(l.withDelay(imp), n.seed*1_000_003+uint64(n.nextLink))
	return l
}

func (l *link) withDelay(imp simnet.Impairment) simnet.Impairment {
	if imp.Delay == 0 {
		imp.Delay = l.base
	}
	imp.Delay = max(imp.Delay, minDelay)
	imp.Backpressure = false // a UDP socket does not wait for the path's queue
	return imp
}

// stageLocked sends a datagram together with all others of this instant.
func (l *link) stageLocked(d datagram, now time.Time) {
	if l.staged >= maxStaged {
		l.net.counters.LostBurst++
		return
	}
	l.staged++
	l.sent++
	heap.Push(&l.net.flight, arrival{d: d, link: l, at: now.Add(stageTime), seq: l.sent, staged: true})
	l.net.armLocked(now)
}

// sendLocked puts a datagram on the link that came to it at now.
func (l *link) sendLocked(d datagram, now time.Time) {
	corrupted := l.shaper.Counters().Corrupted
	at, copies := l.shaper.Admit(now, d.payload, d.size())
	d.corrupt = d.corrupt || l.shaper.Counters().Corrupted != corrupted
	for range copies {
		l.sent++
		heap.Push(&l.net.flight, arrival{d: d, link: l, at: at, seq: l.sent})
	}
}

func (l *link) arriveLocked(d datagram, now time.Time) {
	if l.shaper.Arrive(len(d.payload), d.size()) {
		l.end(d, now)
	}
}

// flight is what is on the way, the next to arrive first.
type flight []arrival

type arrival struct {
	d      datagram
	link   *link
	at     time.Time
	seq    uint64 // on its link
	staged bool   // not on the link yet
}

func (h flight) Len() int      { return len(h) }
func (h flight) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h flight) Less(i, j int) bool {
	a, b := &h[i], &h[j]
	switch {
	case !a.at.Equal(b.at):
		return a.at.Before(b.at)
	case a.link != b.link:
		return a.link.index < b.link.index
	case a.staged != b.staged:
		return a.staged
	case a.staged && a.d.src != b.d.src:
		return a.d.src.Compare(b.d.src) < 0
	case a.staged && a.d.dst != b.d.dst:
		return a.d.dst.Compare(b.d.dst) < 0
	}
	return a.seq < b.seq
}
func (h *flight) Push(x any) { *h = append(*h, x.(arrival)) }
func (h *flight) Pop() any {
	old := *h
	a := old[len(old)-1]
	*h = old[:len(old)-1]
	return a
}
