package overlaytest

import (
	"context"
	"net"
	"net/netip"

	"github.com/weftnet/weft/internal/simnet"
)

// listenLink opens a process's listener for links, at all addresses of the host.
func (h *host) listenLink(_ context.Context, address string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ln, err := h.lab.net.Listen(net.JoinHostPort(h.name, port))
	if err != nil {
		return nil, err
	}
	all, err := netip.ParseAddrPort(net.JoinHostPort(netip.IPv6Unspecified().String(), port))
	return linkListener{ln, h, net.TCPAddrFromAddrPort(all)}, err
}

// A linkListener is a simulated listener whose conns are the host's.
type linkListener struct {
	*simnet.Listener
	host *host
	addr net.Addr
}

func (l linkListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.host.track(c), nil
}

func (l linkListener) Addr() net.Addr { return l.addr }

// reaches reports whether a host can make links to an address with the name of
// another one: what is behind a NAT is reached from behind it only, as no port is
// forwarded to it.
func (l *Lab) reaches(from *host, address string) bool {
	name, _, _ := net.SplitHostPort(address)
	l.mu.Lock()
	defer l.mu.Unlock()
	to := l.placed[name]
	for _, t := range l.nats {
		if t != nil && to != nil && to.IsBehind(t) && (from.udp == nil || !from.udp.IsBehind(t)) {
			return false
		}
	}
	return true
}
