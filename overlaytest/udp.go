package overlaytest

import (
	"context"
	"net"
	"net/netip"
	"strconv"

	"github.com/weftnet/weft/internal/simnet/natnet"
)

// listenUDP opens a UDP socket for a process.
func (h *host) listenUDP(p *process, address string) (*natnet.Conn, error) {
	_, s, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return nil, &net.AddrError{Err: "the port is not a number from 0 to 65535", Addr: address}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.dead.Load() {
		return nil, errDead
	}
	c, err := h.udp.ListenPacket(uint16(port))
	if err == nil {
		p.socks = append(p.socks, c)
	}
	return c, err
}

// mute closes the sockets of a process that was killed.
func (h *host) mute(p *process) {
	h.mu.Lock()
	socks := p.socks
	h.mu.Unlock()
	for _, c := range socks {
		_ = c.Close()
	}
}

// A resolver knows the addresses of the lab's relays, so that nodes can also
// reach them by UDP.
type resolver struct{ lab *Lab }

// LookupNetIP returns the IPv4 address of a host.
func (r resolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	r.lab.mu.Lock()
	u := r.lab.placed[host]
	r.lab.mu.Unlock()
	if u == nil || len(u.Addrs()) == 0 {
		return nil, &net.DNSError{Err: "no such host in the lab", Name: host, IsNotFound: true}
	}
	return u.Addrs()[:1], nil
}

// named returns address with the name of the host whose address it is.
func (l *Lab) named(address string) string {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return address
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, u := range l.placed {
		if addrs := u.Addrs(); len(addrs) > 0 && addrs[0] == ap.Addr() {
			return net.JoinHostPort(name, strconv.Itoa(int(ap.Port())))
		}
	}
	return address
}
