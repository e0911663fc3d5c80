package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Listen opens the kernel's sockets, one for each address family that the
// system has. They share port 5353 with other programs. Interfaces are those
// that are up and can multicast, but neither loopback nor point-to-point: what
// is behind a VPN is not on this LAN.
func Listen(ctx context.Context) ([]PacketConn, error) {
	var out []PacketConn
	var errs []error
	for _, open := range []func(context.Context) (PacketConn, error){listen4, listen6} {
		c, err := open(ctx)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("lan: cannot listen on UDP port %d, which multicast DNS needs: %w", Port, errors.Join(errs...))
	}
	return out, nil
}

// interfaces returns the links with addresses of one family.
func interfaces(v6 bool) ([]net.Interface, []Link, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, nil, err
	}
	const want, not = net.FlagUp | net.FlagMulticast, net.FlagLoopback | net.FlagPointToPoint
	var ifs []net.Interface
	var links []Link
	for _, i := range all {
		if i.Flags&want != want || i.Flags&not != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // gone meanwhile
		}
		l := Link{Index: i.Index}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				ip, _ := netip.AddrFromSlice(n.IP)
				ones, _ := n.Mask.Size()
				if ip = ip.Unmap(); ip.Is6() == v6 {
					l.Addrs = append(l.Addrs, netip.PrefixFrom(ip, ones))
				}
			}
		}
		if len(l.Addrs) > 0 && len(links) < maxLinks {
			ifs, links = append(ifs, i), append(links, l)
		}
	}
	return ifs, links, nil
}

// joined are the numbers of the interfaces on which a socket is in the group.
type joined map[int]bool

// update joins on new interfaces, and returns the links that are joined.
func (j joined) update(v6 bool, join func(*net.Interface) error) ([]Link, error) {
	ifs, links, err := interfaces(v6)
	if err != nil {
		return nil, err
	}
	for index := range j {
		if !slices.ContainsFunc(links, func(l Link) bool { return l.Index == index }) {
			delete(j, index) // the kernel has left the group with the interface
		}
	}
	var out []Link
	for i, l := range links {
		if !j[l.Index] {
			// An error may say that the socket has been in the group all along.
			// If not, writing fails too, or nothing is heard there.
			_ = join(&ifs[i])
			j[l.Index] = true
		}
		out = append(out, l)
	}
	return out, nil
}

// sourceOf returns the source of a packet, an IPv4 address as such.
func sourceOf(a net.Addr, link int) netip.AddrPort {
	u, _ := a.(*net.UDPAddr)
	if u == nil {
		return netip.AddrPort{}
	}
	ap := u.AddrPort()
	ip := ap.Addr().Unmap()
	if ip.Zone() != "" && link != 0 {
		ip = ip.WithZone(strconv.Itoa(link))
	}
	return netip.AddrPortFrom(ip, ap.Port())
}

type conn4 struct {
	*ipv4.PacketConn
	joined joined
}

func listen4(ctx context.Context) (PacketConn, error) {
	c, err := listenGroup(ctx, "udp4", Group4)
	if err != nil {
		return nil, err
	}
	p := ipv4.NewPacketConn(c)
	// Without them (Windows) the source tells the link, and hop limits are unknown.
	_ = p.SetControlMessage(ipv4.FlagTTL|ipv4.FlagInterface|ipv4.FlagDst, true)
	if err := errors.Join(p.SetMulticastTTL(255), p.SetMulticastLoopback(true)); err != nil {
		_ = c.Close()
		return nil, err
	}
	return &conn4{PacketConn: p, joined: joined{}}, nil
}

func (c *conn4) ReadPacket(b []byte) (Packet, error) {
	for {
		n, cm, from, err := c.ReadFrom(b)
		if err != nil {
			return Packet{}, err
		}
		p := Packet{N: n}
		if cm != nil {
			if dst, ok := netip.AddrFromSlice(cm.Dst); ok && dst.Unmap() != Group4 {
				continue // sent to this host alone, perhaps from elsewhere
			}
			p.Link, p.Hops = cm.IfIndex, cm.TTL
		}
		p.From = sourceOf(from, p.Link)
		return p, nil
	}
}

func (c *conn4) WritePacket(b []byte, link int) error {
	if err := c.SetMulticastInterface(&net.Interface{Index: link}); err != nil {
		return err
	}
	_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.WriteTo(b, nil, &net.UDPAddr{IP: Group4.AsSlice(), Port: Port})
	return err
}

func (c *conn4) Links() ([]Link, error) {
	return c.joined.update(false, func(i *net.Interface) error {
		return c.JoinGroup(i, &net.UDPAddr{IP: Group4.AsSlice()})
	})
}

type conn6 struct {
	*ipv6.PacketConn
	joined joined
}

func listen6(ctx context.Context) (PacketConn, error) {
	c, err := listenGroup(ctx, "udp6", Group6)
	if err != nil {
		return nil, err
	}
	p := ipv6.NewPacketConn(c)
	_ = p.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface|ipv6.FlagDst, true) // as in listen4
	if err := errors.Join(p.SetMulticastHopLimit(255), p.SetMulticastLoopback(true)); err != nil {
		_ = c.Close()
		return nil, err
	}
	return &conn6{PacketConn: p, joined: joined{}}, nil
}

func (c *conn6) ReadPacket(b []byte) (Packet, error) {
	for {
		n, cm, from, err := c.ReadFrom(b)
		if err != nil {
			return Packet{}, err
		}
		p := Packet{N: n}
		if cm != nil {
			if dst, ok := netip.AddrFromSlice(cm.Dst); ok && dst.WithZone("") != Group6 {
				continue
			}
			p.Link, p.Hops = cm.IfIndex, cm.HopLimit
		}
		p.From = sourceOf(from, p.Link)
		return p, nil
	}
}

func (c *conn6) WritePacket(b []byte, link int) error {
	if err := c.SetMulticastInterface(&net.Interface{Index: link}); err != nil {
		return err
	}
	_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.WriteTo(b, nil, &net.UDPAddr{IP: Group6.AsSlice(), Port: Port})
	return err
}

func (c *conn6) Links() ([]Link, error) {
	return c.joined.update(true, func(i *net.Interface) error {
		return c.JoinGroup(i, &net.UDPAddr{IP: Group6.AsSlice()})
	})
}
