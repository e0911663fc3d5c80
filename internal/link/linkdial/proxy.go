package linkdial

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/weftnet/weft/internal/httpconn"
	"github.com/weftnet/weft/internal/link"
)

// A ProxyError is why a proxy does not lead to an address.
type ProxyError struct {
	Proxy  string // its URL, without a password
	Addr   link.Addr
	Status int   // what the proxy answered; 0 if it did not
	Err    error // why there is no answer
}

// Error says what to do.
func (e *ProxyError) Error() string {
	var what, advice string
	switch e.Status {
	case 0:
		what, advice = e.Err.Error(), "correct HTTPS_PROXY, or list the host in NO_PROXY"
	case http.StatusProxyAuthRequired:
		advice = "give it a user and a password: HTTPS_PROXY=http://user:password@host:port"
	case http.StatusForbidden, http.StatusMethodNotAllowed:
		advice = "it does not allow this host or port; use a relay's wss:// address on port 443, or list the host in NO_PROXY"
	default:
		advice = "the proxy may not reach the host; check the address, or list the host in NO_PROXY"
	}
	if e.Status != 0 {
		what = fmt.Sprintf("it answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("link: through the proxy %s to %s: %s; %s", e.Proxy, e.Addr.HostPort(), what, advice)
}

// Unwrap returns Err.
func (e *ProxyError) Unwrap() error { return e.Err }

// tunnel has a proxy make a conn to a: CONNECT of RFC 9110 section 9.3.6.
func (d *Dialer) tunnel(ctx context.Context, proxy *url.URL, a link.Addr) (net.Conn, error) {
	failed := func(err error) error {
		return &ProxyError{Proxy: proxy.Redacted(), Addr: a, Err: err}
	}
	if proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, failed(fmt.Errorf("a proxy of the kind %q is not supported, only http and https", proxy.Scheme))
	}
	port := cmp.Or(proxy.Port(), map[string]string{"http": "80", "https": "443"}[proxy.Scheme])
	conn, err := d.connect(ctx, net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return nil, failed(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	through, status, err := d.connectThrough(ctx, conn, proxy, a)
	if !stop() {
		_ = conn.Close()
		return nil, failed(context.Cause(ctx))
	}
	if err != nil || status/100 != 2 {
		_ = conn.Close()
		return nil, &ProxyError{Proxy: proxy.Redacted(), Addr: a, Status: status, Err: err}
	}
	return through, nil
}

// connectThrough asks the proxy at the other end of conn.
func (d *Dialer) connectThrough(ctx context.Context, conn net.Conn, proxy *url.URL, a link.Addr) (net.Conn, int, error) {
	if proxy.Scheme == "https" {
		cfg := d.TLS.Clone()
		if cfg != nil {
			cfg.ServerName = "" // the relay's
		}
		secured, err := handshake(ctx, conn, cfg, proxy.Hostname())
		if err != nil {
			return nil, 0, err
		}
		conn = secured
	}
	req := &http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{Opaque: a.HostPort()},
		Host:   a.HostPort(),
		Header: http.Header{"User-Agent": {"weft"}},
	}
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		req.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	resp, through, err := httpconn.Exchange(conn, req)
	if err != nil {
		return nil, 0, err
	}
	_ = resp.Body.Close()
	return through, resp.StatusCode, nil
}
