package link

import (
	"context"
	"fmt"
	"net"
	"strings"
)

// A Dial makes one attempt to reach addr, preface included.
type Dial func(ctx context.Context, addr string) (FrameConn, error)

// ParseAddr checks a link address, "tcp://host:port" or "host:port", and
// returns its host:port.
func ParseAddr(addr string) (hostport string, err error) {
	hostport = addr
	if scheme, rest, ok := strings.Cut(addr, "://"); ok {
		if scheme != "tcp" {
			return "", fmt.Errorf("link: address %q: scheme %q is not supported; use tcp://host:port", addr, scheme)
		}
		hostport = strings.TrimSuffix(rest, "/")
	}
	host, port, err := net.SplitHostPort(hostport)
	if err != nil || host == "" || port == "" {
		return "", fmt.Errorf("link: address %q: want tcp://host:port or host:port", addr)
	}
	return hostport, nil
}

// DialTCP returns a Dial that connects over TCP with d, whose zero value will
// do, and sends the preface hello.
func DialTCP(d *net.Dialer, hello Hello) Dial {
	return func(ctx context.Context, addr string) (FrameConn, error) {
		hostport, err := ParseAddr(addr)
		if err != nil {
			return nil, err
		}
		conn, err := d.DialContext(ctx, "tcp", hostport)
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
