package linkdial

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weftnet/weft/internal/link"
)

// A proxy is an HTTP proxy for CONNECT alone.
type proxy struct {
	user, password string            // wanted, unless empty
	status         int               // answered instead of opening a tunnel, unless 0
	hosts          map[string]string // where names lead
	tunnels        atomic.Int64
	answer         string // all it says, whatever it is asked, unless empty
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	user, password := credentials(req)
	switch {
	case p.answer != "":
		_, _ = io.WriteString(c, p.answer)
	case req.Method != http.MethodConnect:
		_, _ = io.WriteString(c, "HTTP/1.1 405 Method Not Allowed\r\n\r\n")
	case user != p.user || password != p.password:
		_, _ = io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 5\r\n\r\nsorry")
	case p.status != 0:
		_, _ = fmt.Fprintf(c, "HTTP/1.1 %d No\r\n\r\n", p.status)
	default:
		p.tunnel(c, req.Host)
	}
}

func credentials(req *http.Request) (user, password string) {
	req.Header.Set("Authorization", req.Header.Get("Proxy-Authorization"))
	user, password, _ = req.BasicAuth()
	return user, password
}

func (p *proxy) tunnel(c net.Conn, host string) {
	if to := p.hosts[host]; to != "" {
		host = to
	}
	far, err := net.Dial("tcp", host)
	if err != nil {
		_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	p.tunnels.Add(1)
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(far, c)
		_ = far.Close()
	}()
	_, _ = io.Copy(c, far)
	_ = c.Close()
	<-done
}

func through(proxy string) func(*url.URL) (*url.URL, error) {
	return func(*url.URL) (*url.URL, error) { return url.Parse(proxy) }
}

func TestLinksThroughAProxy(t *testing.T) {
	pool := x509.NewCertPool()
	tcp, ws, wss := serveTCP(t, echoTCP), serveWS(t, nil), serveWS(t, pool)
	p := &proxy{user: "ann", password: "a b:c", hosts: map[string]string{"relay.example:9999": tcp, "example.com:443": wss}}
	at := serveTCP(t, p.serve)
	var asked []string
	d := &Dialer{
		Hello: testHello,
		TLS:   &tls.Config{RootCAs: pool},
		Proxy: func(u *url.URL) (*url.URL, error) {
			asked = append(asked, u.String())
			return url.Parse("http://ann:a%20b%3Ac@" + at)
		},
	}
	addrs := []string{"relay.example:9999", "relay.example:9999#192.0.2.1", "ws://" + ws, "wss://example.com"}
	for _, addr := range addrs {
		roundTrip(t, d, addr)
	}
	if got := p.tunnels.Load(); got != int64(len(addrs)) {
		t.Errorf("%d of %d links went through the proxy", got, len(addrs))
	}
	if want := "https://relay.example:9999 https://relay.example:9999 https://" + ws + " https://example.com:443"; strings.Join(asked, " ") != want {
		t.Errorf("asked for %q", asked)
	}
}

func TestAProxyWithTLS(t *testing.T) {
	pool := x509.NewCertPool()
	tcp := serveTCP(t, echoTCP)
	p := new(proxy)
	s := httptest.NewUnstartedServer(nil) // for its certificate
	s.StartTLS()
	defer s.Close()
	pool.AddCert(s.Certificate())
	at := serveTCP(t, func(c net.Conn) { p.serve(tls.Server(c, &tls.Config{Certificates: s.TLS.Certificates})) })
	d := &Dialer{Hello: testHello, Proxy: through("https://" + at), TLS: &tls.Config{RootCAs: pool, ServerName: "relay.example"}}
	roundTrip(t, d, tcp)
	if p.tunnels.Load() != 1 {
		t.Error("the link did not go through the proxy")
	}
}

func TestErrorsOfProxiesSayWhatToDo(t *testing.T) {
	nobody := serveTCP(t, func(c net.Conn) { _ = c.Close() })
	for _, tt := range []struct {
		name  string
		proxy *proxy
		url   string // at is the proxy's address
		want  string
	}{
		{"no password", &proxy{user: "ann", password: "x"}, "http://at", "answered 407 Proxy Authentication Required; give it a user"},
		{"wrong password", &proxy{user: "ann", password: "x"}, "http://ann:y@at", "give it a user"},
		{"forbidden", &proxy{status: 403}, "http://at", "wss:// address on port 443"},
		{"unreachable", &proxy{hosts: map[string]string{"relay.example:9999": "127.0.0.1:1"}}, "http://at", "answered 502 Bad Gateway; the proxy may not reach the host"},
		{"no proxy", &proxy{answer: "SSH-2.0-OpenSSH\r\n"}, "http://at", "correct HTTPS_PROXY"},
		{"hangs up", nil, "http://" + nobody, "correct HTTPS_PROXY"},
		{"nobody there", nil, "http://127.0.0.1:1", "correct HTTPS_PROXY"},
		{"plain instead of TLS", &proxy{}, "https://at", "correct HTTPS_PROXY"},
		{"another kind", nil, "socks5://127.0.0.1:1", `kind "socks5" is not supported`},
	} {
		if tt.proxy != nil {
			tt.url = strings.Replace(tt.url, "at", serveTCP(t, tt.proxy.serve), 1)
		}
		d := &Dialer{Hello: testHello, Proxy: through(tt.url)}
		_, err := d.Dial(t.Context(), "relay.example:9999")
		failed, ok := errors.AsType[*ProxyError](err)
		if !ok || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "relay.example:9999") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			continue
		}
		if strings.Contains(err.Error(), ":y@") || !strings.HasPrefix(tt.url, strings.Split(failed.Proxy, "ann")[0]) {
			t.Errorf("%s: the proxy is called %q", tt.name, failed.Proxy)
		}
	}
}

func TestASilentProxyIsGivenUpWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	at := serveTCP(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		cancel(enough)
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	})
	d := &Dialer{Proxy: through("http://" + at)}
	if _, err := d.Dial(ctx, "relay.example:9999"); !errors.Is(err, enough) || !strings.Contains(err.Error(), at) {
		t.Errorf("error is %v", err)
	}
}

func TestAnErrorOfTheProxyFunctionIsTold(t *testing.T) {
	d := &Dialer{Proxy: func(*url.URL) (*url.URL, error) { return nil, errors.New("invalid proxy address") }}
	if _, err := d.Dial(t.Context(), "relay.example:9999"); err == nil || !strings.Contains(err.Error(), "correct HTTPS_PROXY") {
		t.Errorf("error is %v", err)
	}
}

func TestNoProxyMeansNone(t *testing.T) {
	d := &Dialer{Hello: testHello, Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }}
	roundTrip(t, d, link.SchemeTCP+"://"+serveTCP(t, echoTCP))
}
