package linkdial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/link/wslink"
)

var testHello = link.Hello{Network: link.NetworkTag{1}, Node: 7}

// echo accepts a link on c and sends one frame back.
func echo(c link.PrefaceConn) {
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := link.Server(ctx, c, 8, func(h link.Hello) link.Status {
		if h != testHello {
			return link.StatusNetwork
		}
		return link.StatusOK
	}); err != nil {
		return
	}
	f, err := c.ReadFrame()
	if err != nil {
		return
	}
	_ = c.WriteFrames([]*frame.Frame{f})
	f.Release()
	_, _ = c.ReadFrame() // the end
}

// serveTCP echoes on TCP and returns its host:port.
func serveTCP(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

func echoTCP(c net.Conn) { echo(link.NewStreamConn(c)) }

// serveWS echoes on WebSockets, with TLS if the pool is to hold the server's
// certificate.
func serveWS(t *testing.T, pool *x509.CertPool) string {
	t.Helper()
	var wg sync.WaitGroup
	wg.Add(1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != link.DefaultPath {
			http.NotFound(w, r)
			return
		}
		wg.Add(1)
		defer wg.Done()
		if c, err := wslink.Accept(w, r); err == nil {
			echo(c)
		}
	}))
	if pool != nil {
		s.StartTLS()
		pool.AddCert(s.Certificate())
	} else {
		s.Start()
	}
	t.Cleanup(func() { s.Close(); wg.Done(); wg.Wait() })
	return s.Listener.Addr().String()
}

// roundTrip dials a link and sends a frame there and back.
func roundTrip(t *testing.T, d *Dialer, addr string) {
	t.Helper()
	c, err := d.Dial(t.Context(), addr)
	if err != nil {
		t.Errorf("%s: %v", addr, err)
		return
	}
	defer c.Close()
	f := frame.New(60000)
	defer f.Release()
	if err := c.WriteFrames([]*frame.Frame{f}); err != nil {
		t.Errorf("%s: %v", addr, err)
	}
	got, err := c.ReadFrame()
	if err != nil {
		t.Errorf("%s: %v", addr, err)
		return
	}
	got.Release()
}

func TestLinksOfAllSchemes(t *testing.T) {
	pool := x509.NewCertPool()
	d := &Dialer{Hello: testHello, TLS: &tls.Config{RootCAs: pool}}
	roundTrip(t, d, "tcp://"+serveTCP(t, echoTCP))
	roundTrip(t, d, "ws://"+serveWS(t, nil))
	wss := serveWS(t, pool)
	roundTrip(t, d, "wss://"+wss)
	ap := netip.MustParseAddrPort(wss)
	_, port, _ := net.SplitHostPort(wss)
	roundTrip(t, d, "wss://example.com:"+port+"#"+ap.Addr().String()) // what the test's certificate is for
	if d.TLS.ServerName != "" {
		t.Error("the config was changed")
	}
}

func TestErrorsOfTLSSayWhatToDo(t *testing.T) {
	pool := x509.NewCertPool()
	wss := serveWS(t, pool)
	_, port, _ := net.SplitHostPort(wss)
	plain := serveWS(t, nil)
	hangUp := serveTCP(t, func(c net.Conn) { _ = c.Close() })
	trusting := &tls.Config{RootCAs: pool}
	for _, tt := range []struct {
		addr string
		tls  *tls.Config
		want string
	}{
		{"wss://" + wss, nil, "trust its issuer"},
		{"wss://elsewhere.example:" + port + "#127.0.0.1", trusting, "correct the name or the certificate"},
		{"wss://" + plain, trusting, "TLS is not spoken there"},
		{"wss://" + hangUp, trusting, "wss:// needs a web server"},
		{"wss://" + wss + "/other", trusting, "answered 404"},
		{"ftp://" + wss, nil, `scheme "ftp" is not supported`},
	} {
		d := &Dialer{Hello: testHello, TLS: tt.tls}
		c, err := d.Dial(t.Context(), tt.addr)
		if err == nil {
			_ = c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.addr, err, tt.want)
		}
	}
}

func TestASilentServerIsGivenUpWithTheContext(t *testing.T) {
	enough := errors.New("enough")
	for _, scheme := range []string{"ws", "wss"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		addr := serveTCP(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			cancel(enough)
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		})
		if _, err := new(Dialer).Dial(ctx, scheme+"://"+addr); !errors.Is(err, enough) {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

func TestTheEnvironmentNamesTheProxy(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "proxy.example:3128")
	t.Setenv("NO_PROXY", "direct.example,10.0.0.0/8")
	proxy := ProxyFromEnvironment()
	for host, want := range map[string]string{
		"relay.example:9999":  "http://proxy.example:3128",
		"direct.example:9999": "",
		"10.1.2.3:443":        "",
		"127.0.0.1:9999":      "",
		"localhost:9999":      "",
		"[::1]:9999":          "",
	} {
		got, err := proxy(&url.URL{Scheme: "https", Host: host})
		if err != nil || got == nil && want != "" || got != nil && got.String() != want {
			t.Errorf("%s: %v, %v; want %q", host, got, err, want)
		}
	}
}
