package linkdial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/link/wslink"
)

// A Dialer dials links. Its zero value does. Multiple goroutines may call its
// methods simultaneously; its fields must not change meanwhile.
type Dialer struct {
	// Connect makes connections of network "tcp", to the relay or to a proxy.
	// A conn that is a link.PrefaceConn is used as it is where frames are to
	// travel on TCP. Nil: a net.Dialer.
	Connect func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS is for wss addresses. Its ServerName is the address's host if it is
	// empty. Nil: the defaults, with the system's certificate authorities.
	TLS *tls.Config
	// Proxy returns the HTTP proxy for a URL, nil for none. It is asked with
	// "https://host:port" for addresses of all schemes, since all are tunnelled.
	// Nil: no proxies.
	Proxy func(*url.URL) (*url.URL, error)
	// Hello is the preface of the links.
	Hello link.Hello
}

// ProxyFromEnvironment returns a Dialer's Proxy that follows the environment of
// now: HTTPS_PROXY and NO_PROXY, or the same in lower case. Like net/http it
// uses no proxy for localhost and loopback addresses.
func ProxyFromEnvironment() func(*url.URL) (*url.URL, error) {
	return httpproxy.FromEnvironment().ProxyFunc()
}

// Dial is a link.Dial.
func (d *Dialer) Dial(ctx context.Context, addr string) (link.FrameConn, error) {
	a, err := link.ParseAddr(addr)
	if err != nil {
		return nil, err
	}
	c, err := d.conn(ctx, a)
	if err != nil {
		return nil, err
	}
	fc, err := link.Client(c, d.Hello)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return fc, nil
}

// conn makes a conn for frames to a.
func (d *Dialer) conn(ctx context.Context, a link.Addr) (link.PrefaceConn, error) {
	conn, err := d.reach(ctx, a)
	if err != nil {
		return nil, err
	}
	switch a.Scheme {
	case link.SchemeWSS:
		secured, err := d.secure(ctx, conn, a)
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		conn = secured
		fallthrough
	case link.SchemeWS:
		return wslink.Client(ctx, conn, a)
	}
	if framed, ok := conn.(link.PrefaceConn); ok {
		return framed, nil
	}
	return link.NewStreamConn(conn), nil
}

// reach makes a TCP conn to a, or one through a proxy.
func (d *Dialer) reach(ctx context.Context, a link.Addr) (net.Conn, error) {
	if d.Proxy != nil {
		proxy, err := d.Proxy(&url.URL{Scheme: "https", Host: a.HostPort()})
		if err != nil {
			return nil, fmt.Errorf("link: which proxy to use for %s: %w; correct HTTPS_PROXY", a.HostPort(), err)
		}
		if proxy != nil {
			return d.tunnel(ctx, proxy, a)
		}
	}
	return d.connect(ctx, a.DialHostPort())
}

func (d *Dialer) connect(ctx context.Context, address string) (net.Conn, error) {
	if d.Connect != nil {
		return d.Connect(ctx, "tcp", address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// secure makes a TLS conn of conn.
func (d *Dialer) secure(ctx context.Context, conn net.Conn, a link.Addr) (net.Conn, error) {
	c, err := handshake(ctx, conn, d.TLS, a.Host)
	if err == nil {
		return c, nil
	}
	advice := "check the address"
	unknown, isUnknown := errors.AsType[*tls.CertificateVerificationError](err)
	_, isPlain := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case isUnknown:
		err, advice = unknown.Err, "correct the name or the certificate, or trust its issuer"
	case isPlain || link.HungUp(err):
		advice = "TLS is not spoken there; a relay's own port takes ws:// and tcp://, and wss:// needs a web server with a certificate in front of it"
	}
	return nil, fmt.Errorf("link: TLS with %s: %w; %s", a.HostPort(), err, advice)
}

// handshake makes a TLS client's conn of conn, for a server that is host.
func handshake(ctx context.Context, conn net.Conn, cfg *tls.Config, host string) (*tls.Conn, error) {
	cfg = cfg.Clone()
	if cfg == nil {
		cfg = new(tls.Config)
	}
	if cfg.ServerName == "" {
		cfg.ServerName = strings.TrimSuffix(host, ".")
	}
	cfg.NextProtos = []string{"http/1.1"} // WebSockets are opened in it
	c := tls.Client(conn, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return c, nil
}
