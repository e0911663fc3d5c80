package natnet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/weftnet/weft/internal/simnet"
)

// firstEphemeral is where ports that the host chooses begin.
const firstEphemeral = 49152

// A HostConfig says where a host is. The zero value is a public host with IPv4
// and IPv6.
type HostConfig struct {
	// NAT is what the host is behind. Nil: the internet.
	NAT *NAT
	// NoIPv4 and NoIPv6 leave out an address.
	NoIPv4, NoIPv6 bool
	// Up and Down are the link to the NAT or internet, as in NATConfig. A
	// datagram above Up.MaxPacket, the UDP payload, is an error of the write;
	// others that are too big on their way are lost.
	Up, Down simnet.Impairment
}

// A Host has sockets. Network.Host makes one.
type Host struct {
	net      *Network
	name     string
	index    int // among the hosts, from 1
	cfg      HostConfig
	above    router
	up, down *link
	v4, v6   netip.Addr // invalid if it has none
	off      bool       // the interface is down
	awake    chan struct{}
	asleep   bool // awake is not closed
	socks    map[uint16]*Conn
	nextPort uint16
}

// Host adds a host. The name is for messages only.
func (n *Network) Host(name string, cfg HostConfig) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &Host{
		net:      n,
		name:     name,
		cfg:      cfg,
		above:    n.routerLocked(cfg.NAT),
		awake:    make(chan struct{}),
		socks:    make(map[uint16]*Conn),
		nextPort: firstEphemeral,
	}
	close(h.awake)
	h.up = n.newLinkLocked(cfg.Up, cfg.NAT != nil, h.above.fromInsideLocked)
	h.down = n.newLinkLocked(cfg.Down, cfg.NAT != nil, h.arriveLocked)
	h.down.host = h
	n.hosts = append(n.hosts, h)
	h.index = len(n.hosts)
	h.renumberLocked()
	return h
}

// String returns the name.
func (h *Host) String() string { return h.name }

// Addrs returns the addresses of the interface, IPv4 first; none if it is
// down.
func (h *Host) Addrs() []netip.Addr {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	var out []netip.Addr
	for _, a := range []netip.Addr{h.v4, h.v6} {
		if a.IsValid() && !h.off {
			out = append(out, a)
		}
	}
	return out
}

// Renumber gives the host new addresses in the place where it is. Sockets stay
// open and send from the new ones.
func (h *Host) Renumber() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.renumberLocked()
}

// Move puts the host behind another NAT, or with nil on the internet, with new
// addresses, as a telephone that leaves the house. Its sockets stay open.
// What the links have of HostConfig.Up and Down stays.
func (h *Host) Move(t *NAT) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.detachLocked()
	h.above = h.net.routerLocked(t)
	h.up.end = h.above.fromInsideLocked
	for _, l := range []*link{h.up, h.down} {
		imp := l.shaper.Impairment()
		if imp.Delay == l.base {
			imp.Delay = 0
		}
		l.base = internetDelay
		if t != nil {
			l.base = localDelay
		}
		l.shaper.Set(l.withDelay(imp))
	}
	h.renumberLocked()
}

func (h *Host) detachLocked() {
	for _, a := range []netip.Addr{h.v4, h.v6} {
		if a.IsValid() {
			h.above.detachLocked(a)
		}
	}
	h.v4, h.v6 = netip.Addr{}, netip.Addr{}
}

func (h *Host) renumberLocked() {
	h.detachLocked()
	if !h.cfg.NoIPv4 {
		h.v4 = h.above.newAddrLocked(false)
	}
	if !h.cfg.NoIPv6 {
		h.v6 = h.above.newAddrLocked(true)
	}
	for _, a := range []netip.Addr{h.v4, h.v6} {
		if a.IsValid() {
			h.above.attachLocked(a, h.down)
		}
	}
}

// SetUp takes the interface down or up again. While it is down, there are no
// addresses, writes fail with ENETUNREACH, and what arrives is lost.
func (h *Host) SetUp(up bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.off = !up
}

// Sleep suspends the host: reads and writes wait until Resume, as those of a
// frozen process do, unless their deadline passes, and what arrives is lost.
// Timers of the program go on; nothing freezes those.
func (h *Host) Sleep() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if !h.asleep {
		h.asleep, h.awake = true, make(chan struct{})
	}
}

// Resume ends Sleep.
func (h *Host) Resume() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.asleep {
		h.asleep = false
		close(h.awake)
	}
}

// Impair changes both directions of the host's link.
func (h *Host) Impair(up, down simnet.Impairment) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.up.shaper.Set(h.up.withDelay(up))
	h.down.shaper.Set(h.down.withDelay(down))
}

// LinkCounters returns what the two directions of the host's link did.
func (h *Host) LinkCounters() (up, down simnet.WireCounters) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.up.shaper.Counters(), h.down.shaper.Counters()
}

// ListenPacket opens a socket on port, for all addresses of the host, IPv4 and
// IPv6. Port 0 is one that is free.
func (h *Host) ListenPacket(port uint16) (*Conn, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return nil, fmt.Errorf("natnet: listen on %s: network is closed: %w", h.name, net.ErrClosed)
	case port != 0 && h.socks[port] != nil:
		return nil, fmt.Errorf("natnet: listen on %s, port %d: close the socket that has it: %w", h.name, port, syscall.EADDRINUSE)
	case port == 0:
		if port = h.freePortLocked(); port == 0 {
			return nil, fmt.Errorf("natnet: listen on %s: close a socket, no port is free: %w", h.name, syscall.EADDRINUSE)
		}
	}
	c := newConn(h, port)
	h.socks[port] = c
	n.conns[c] = struct{}{}
	return c, nil
}

func (h *Host) freePortLocked() uint16 {
	for range 1<<16 - firstEphemeral {
		port := h.nextPort
		if h.nextPort++; h.nextPort == 0 {
			h.nextPort = firstEphemeral
		}
		if h.socks[port] == nil {
			return port
		}
	}
	return 0
}

// sendLocked puts a datagram on the host's link.
func (h *Host) sendLocked(port uint16, dst netip.AddrPort, payload []byte) error {
	src := h.v4
	if dst.Addr().Is6() {
		src = h.v6
	}
	if dst.Port() != 0 && dst.IsValid() && (h.off || !src.IsValid()) {
		return syscall.ENETUNREACH
	}
	return h.forgeLocked(netip.AddrPortFrom(src, port), dst, payload)
}

// forgeLocked is sendLocked from any address.
func (h *Host) forgeLocked(src, dst netip.AddrPort, payload []byte) error {
	imp := h.up.shaper.Impairment()
	switch {
	case dst.Port() == 0 || !dst.IsValid() || dst.Addr().Is4() != src.Addr().Is4():
		return syscall.EINVAL
	case h.off:
		return syscall.ENETUNREACH
	case len(payload) > maxPayload, imp.MaxPacket > 0 && len(payload) > imp.MaxPacket:
		return syscall.EMSGSIZE
	}
	h.net.counters.Sent++
	h.up.stageLocked(datagram{from: h, src: src, dst: dst, payload: payload}, time.Now())
	return nil
}

// Forge sends a datagram with a copy of b that seems to come from src, as raw
// sockets do where the provider does not look at sources (RFC 2827). It takes the
// host's own link. The errors are those of [Conn.WriteToUDPAddrPort], and
// syscall.EINVAL for addresses of two kinds.
func (h *Host) Forge(b []byte, src, dst netip.AddrPort) error {
	payload := slices.Clone(b)
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.forgeLocked(src, dst, payload)
}

// arriveLocked puts what came down the host's link into a socket's inbox.
func (h *Host) arriveLocked(d datagram, _ time.Time) {
	c := &h.net.counters
	sock := h.socks[d.dst.Port()]
	switch {
	case d.dst.Addr() != h.v4 && d.dst.Addr() != h.v6:
		c.LostNoRoute++ // it had that address when this left the NAT
	case h.off || h.asleep:
		c.LostHostDown++
	case h.net.cut[[2]*Host{d.from, h}]:
		c.LostCut++
	case d.corrupt:
		c.LostCorrupt++
	case sock == nil:
		c.LostNoSocket++
	default:
		select {
		case sock.inbox <- received{d.src, d.payload}:
			c.Delivered++
		default:
			c.LostInbox++
		}
	}
}

// IsBehind reports whether the host is behind t, or behind a NAT behind it.
func (h *Host) IsBehind(t *NAT) bool {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.isBehindLocked(t)
}

func (h *Host) isBehindLocked(t *NAT) bool {
	for at := h.above; at != router(&h.net.core); at = at.(*NAT).above {
		if at == router(t) {
			return true
		}
	}
	return false
}
