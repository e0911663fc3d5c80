package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/relay"
)

// portTries is how often a port that the system picks is tried on UDP, too.
const portTries = 5

// listenPort opens a relay's TCP port, and the same on UDP. Without UDP, the
// relay works, but cannot tell nodes the address they have there.
func listenPort(ctx context.Context, address string, log logrus.FieldLogger) (net.Listener, net.PacketConn, error) {
	var lc net.ListenConfig
	for try := 1; ; try++ {
		ln, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, nil, err
		}
		pc, err := lc.ListenPacket(ctx, "udp", ln.Addr().String())
		if err == nil {
			return ln, pc, nil
		}
		_, port, splitErr := net.SplitHostPort(address)
		if splitErr != nil || port != "0" || try == portTries {
			log.WithError(err).Warn("no STUN: the UDP port of the same number cannot be opened")
			return ln, nil, nil //nolint:nilerr // a relay without STUN is one
		}
		_ = ln.Close()
	}
}

// serveSTUN answers STUN on pc, and on another port that the system picks, which
// lets nodes find out what kind of NAT they are behind.
func serveSTUN(ctx context.Context, server *relay.Server, pc net.PacketConn) error {
	if at, ok := pc.LocalAddr().(*net.UDPAddr); ok {
		var lc net.ListenConfig
		if alternate, err := lc.ListenPacket(ctx, "udp", (&net.UDPAddr{IP: at.IP, Zone: at.Zone}).String()); err == nil {
			return server.ServePackets(pc, alternate)
		}
	}
	return server.ServePacket(pc)
}

// parsePrefixes reads IP addresses and networks from the value of a flag.
func parsePrefixes(texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%q is neither an IP address nor a network such as 10.0.0.0/8", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}
