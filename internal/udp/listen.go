package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// bound is a conn and the kinds of addresses that it reaches.
type bound struct {
	conn   PacketConn
	v4, v6 bool
}

// listen opens the kernel's sockets: one for both families if the system has
// such, else one for each that it has.
func listen(ctx context.Context, cfg Config) ([]bound, error) {
	ip, port := cfg.Addr.Addr().Unmap(), cfg.Addr.Port()
	if ip.IsValid() {
		network := "udp4"
		if ip.Is6() {
			network = "udp6"
		}
		b, err := listenOn(ctx, cfg, network, netip.AddrPortFrom(ip, port).String())
		if err != nil {
			return nil, err
		}
		return []bound{b}, nil
	}
	first, err := listenOn(ctx, cfg, "udp", ":"+strconv.Itoa(int(port)))
	if err != nil {
		return nil, err
	}
	if first.v6 {
		first.v4 = true // package net makes such a socket take both
		return []bound{first}, nil
	}
	second, err := listenOn(ctx, cfg, "udp6", ":"+strconv.Itoa(int(first.conn.LocalAddr().Port())))
	if err != nil {
		return []bound{first}, nil //nolint:nilerr // a system without IPv6 is fine
	}
	return []bound{first, second}, nil
}

func listenOn(ctx context.Context, cfg Config, network, addr string) (bound, error) {
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, network, addr)
	if err != nil {
		return bound{}, fmt.Errorf("udp: opening a socket; choose another port, or 0 for any: %w", err)
	}
	uc, ok := pc.(*net.UDPConn)
	if !ok {
		_ = pc.Close()
		return bound{}, errors.New("udp: the system's UDP socket is of an unknown kind")
	}
	// The system gives what it may; smaller buffers lose more, which is not worth
	// failing for.
	_ = uc.SetReadBuffer(cfg.ReadBuffer)
	_ = uc.SetWriteBuffer(cfg.WriteBuffer)
	a := localAddr(uc).Addr()
	conn, err := newKernelConn(uc, a.Is6(), !cfg.NoSegments)
	if err != nil {
		_ = uc.Close()
		return bound{}, fmt.Errorf("udp: setting up the socket: %w", err)
	}
	return bound{conn: conn, v4: a.Is4(), v6: a.Is6()}, nil
}
