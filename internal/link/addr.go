package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// A Dial makes one attempt to reach addr, preface included.
type Dial func(ctx context.Context, addr string) (FrameConn, error)

// The schemes of link addresses.
const (
	SchemeTCP = "tcp" // frames on a TCP connection
	SchemeWS  = "ws"  // frames in WebSocket messages
	SchemeWSS = "wss" // frames in WebSocket messages over TLS
)

// DefaultPath is the path of WebSocket links in addresses that name none.
const DefaultPath = "/link"

// maxAddr is the length of the longest link address.
const maxAddr = 1024

// An Addr is a parsed link address.
type Addr struct {
	Scheme string // SchemeTCP, SchemeWS or SchemeWSS
	Host   string // a DNS name or an IP address, without brackets
	Port   string // 1 to 65535
	Path   string // of WebSockets, with its slash; empty for TCP

	// IP is where Host is dialled, instead of looking it up. Host still is
	// what proxies are asked for and what a certificate must be for. Invalid:
	// look Host up.
	IP netip.Addr
}

// HostPort returns what the address names, as net.JoinHostPort writes it.
func (a Addr) HostPort() string { return net.JoinHostPort(a.Host, a.Port) }

// DialHostPort returns what is dialled: IP in the place of Host, if it is set.
func (a Addr) DialHostPort() string {
	if a.IP.IsValid() {
		return net.JoinHostPort(a.IP.String(), a.Port)
	}
	return a.HostPort()
}

// String returns a text that ParseAddr reads back: the same for all spellings
// of one address.
func (a Addr) String() string {
	s := a.Scheme + "://" + a.HostPort()
	if a.Path != DefaultPath {
		s += a.Path
	}
	if a.IP.IsValid() {
		s += "#" + a.IP.String()
	}
	return s
}

// ParseAddr reads a link address: "tcp://host:port" or "host:port", or
// "wss://host[:port][/path]" or "ws://host[:port][/path]", whose ports are 443
// and 80 and whose path is [DefaultPath] unless they say others. A "#" and an
// IP address at the end is where the host is dialled: see [Addr].
func ParseAddr(addr string) (Addr, error) {
	a, err := parseAddr(addr)
	if err != nil {
		return Addr{}, fmt.Errorf("link: address %.200q: %w", addr, err)
	}
	return a, nil
}

var errForm = errors.New("want tcp://host:port, host:port or wss://host[:port][/path]")

func parseAddr(addr string) (a Addr, err error) {
	if len(addr) > maxAddr {
		return Addr{}, fmt.Errorf("it is longer than %d bytes", maxAddr)
	}
	rest, at, pinned := strings.Cut(addr, "#")
	if pinned {
		if a.IP, err = netip.ParseAddr(at); err != nil || a.IP.Zone() != "" {
			return Addr{}, fmt.Errorf("%q behind the # is not an IP address without a zone", at)
		}
	}
	scheme, _, ok := strings.Cut(rest, "://")
	if !ok {
		scheme, rest = SchemeTCP, SchemeTCP+"://"+rest
	}
	u, err := url.Parse(rest)
	if err != nil || u.Hostname() == "" || strings.HasSuffix(u.Host, ":") {
		return Addr{}, errForm
	}
	a.Scheme, a.Host, a.Port = strings.ToLower(scheme), strings.ToLower(u.Hostname()), u.Port()
	if !validHost(a.Host, strings.HasPrefix(u.Host, "[")) {
		return Addr{}, errForm
	}
	switch a.Scheme {
	case SchemeTCP:
		if a.Port == "" || u.Path != "" && u.Path != "/" {
			return Addr{}, errForm
		}
	case SchemeWS, SchemeWSS:
		a.Path = DefaultPath
		if path := u.EscapedPath(); path != "" && path != "/" {
			a.Path = path
		}
		if a.Port == "" {
			a.Port = map[string]string{SchemeWS: "80", SchemeWSS: "443"}[a.Scheme]
		}
	default:
		return Addr{}, fmt.Errorf("scheme %q is not supported; use tcp://host:port or wss://host", scheme)
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery {
		return Addr{}, errors.New("neither a user nor a query has a meaning here; leave it out")
	}
	port, err := strconv.ParseUint(a.Port, 10, 16)
	if err != nil || port == 0 {
		return Addr{}, fmt.Errorf("port %q is not one of 1 to 65535", a.Port)
	}
	a.Port = strconv.FormatUint(port, 10)
	return a, nil
}

// validHost reports whether host is a DNS name or an IP address, without a zone:
// one of version 6 if and only if it stood in brackets.
func validHost(host string, brackets bool) bool {
	if ip, err := netip.ParseAddr(host); brackets || err == nil {
		return err == nil && brackets == ip.Is6() && ip.Zone() == ""
	}
	return !strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	})
}

// DialTCP returns a Dial that connects over TCP with d, whose zero value will
// do, and sends the preface hello. It takes no other addresses.
func DialTCP(d *net.Dialer, hello Hello) Dial {
	return func(ctx context.Context, addr string) (FrameConn, error) {
		a, err := ParseAddr(addr)
		if err != nil {
			return nil, err
		}
		if a.Scheme != SchemeTCP {
			return nil, fmt.Errorf("link: address %q: only TCP can be dialled here; use tcp://host:port", addr)
		}
		conn, err := d.DialContext(ctx, "tcp", a.DialHostPort())
		if err != nil {
			return nil, err
		}
		fc, err := Client(NewStreamConn(conn), hello)
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		return fc, nil
	}
}
