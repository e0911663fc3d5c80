package relay

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
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/link/linkdial"
	"github.com/weftnet/weft/internal/uplink"
)

// A port is a relay on a loopback port, outside of bubbles.
type port struct {
	*lab
	*Server
	addr   string
	client *http.Client
	served <-chan error
}

func newPort(t *testing.T, s *Server) *port {
	t.Helper()
	l := newLab(t)
	n := l.node("relay", newKey(t, ""))
	s.Host = n
	p := &port{lab: l, Server: s, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	p.addr, p.served = serveTCP(t, s)
	t.Cleanup(func() {
		_ = s.Close()
		<-p.served
		n.close()
		l.wg.Wait()
	})
	return p
}

// get asks for a page.
func (p *port) get(path string, header ...string) (status int, body string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+p.addr+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode, string(b)
}

// join attaches a node to the relay at an address.
func (p *port) join(addr string) *node { return p.joinTrusting(addr, nil) }

// joinTrusting is join with the config of wss addresses.
func (p *port) joinTrusting(addr string, trust *tls.Config) *node {
	n := p.node("host", newKey(p.t, ""))
	c := n.parts.Credentials
	d := &linkdial.Dialer{Hello: link.Hello{Network: link.TagOf(c.Network().ID()), Node: n.id()}, TLS: trust}
	n.up = uplink.New(uplink.Config{Relays: []string{addr}, Dial: d.Dial, Logger: n.parts.Logger}, n.parts.Switch, n.parts.Endpoint)
	p.ready(n)
	return n
}

func TestOnePortForLinksAndPages(t *testing.T) {
	p := newPort(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "own page %s over %s", r.URL.Path, r.Proto)
	})})
	nodes := []*node{p.join(p.addr), p.join("ws://" + p.addr)}
	nodes[1].parts.Hooks.Watch(&echoer{p.lab})
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n", "/more": "own page /more over HTTP/1.1"} {
		if status, body := p.get(path); status != http.StatusOK || body != want {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	if status, _ := p.get("/link"); status != http.StatusUpgradeRequired {
		t.Errorf("/link without a WebSocket: %d", status)
	}
	stream, err := p.open(nodes[0], nodes[1].id())
	if err != nil {
		t.Fatal(err)
	}
	p.roundTrip(stream, strings.Repeat("hello", 100000))
	_ = stream.Close()
	if s := p.Stats(); s.Nodes != 2 || s.Network != "weft" {
		t.Errorf("stats: %+v", s)
	}
	for _, n := range nodes {
		n.close()
	}
}

// With a listener that speaks TLS, wss:// needs no web server.
func TestAPortWithTLS(t *testing.T) {
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	defer certified.Close()
	trust := &tls.Config{RootCAs: x509.NewCertPool()}
	trust.RootCAs.AddCert(certified.Certificate())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newPort(t, &Server{})
	served := make(chan error, 1)
	go func() {
		served <- p.Serve(tls.NewListener(ln, &tls.Config{Certificates: certified.TLS.Certificates}))
	}()
	n := p.joinTrusting("wss://"+ln.Addr().String(), trust)
	n.close()
	silent, err := net.Dial("tcp", ln.Addr().String()) // in the middle of its handshake at the end
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, _ = io.WriteString(silent, "\x16\x03\x01\x02")
	if err := p.Server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != ErrServerClosed {
		t.Errorf("Serve: %v", err)
	}
}

func TestHTTP2WithoutTLS(t *testing.T) {
	p := newPort(t, &Server{})
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	p.client = &http.Client{Transport: transport}
	if status, body := p.get("/healthz"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("%d %q", status, body)
	}
	if s := p.Stats(); s.HTTP != 1 || s.HTTPRequests != 1 {
		t.Errorf("stats %+v", s)
	}
	transport.CloseIdleConnections()
}

func TestOtherProtocolsAreRefused(t *testing.T) {
	p := newPort(t, &Server{})
	for _, first := range []string{"weave\x01\x02", "SSH-2.0-x\r\n", "\x16\x03\x01\x00\x10", "GET\r\n"} {
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, first)
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%q: %d bytes", first, n)
		}
		_ = conn.Close()
	}
	if s := p.Stats(); s.RefusedProtocol != 4 || s.RefusedPreface != 0 {
		t.Errorf("stats %+v", s)
	}
}

// ask sends bytes and returns the status line of the answer, empty if there is
// none.
func (p *port) ask(request string) string {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, request)
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line)
}

func TestRequestsHaveLimits(t *testing.T) {
	p := newPort(t, &Server{})
	if got := p.ask("GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n"); !strings.Contains(got, "431") {
		t.Errorf("a large head is answered with %q", got)
	}
	if got := p.ask("GET nonsense\r\n\r\n"); !strings.Contains(got, "400") {
		t.Errorf("a malformed request is answered with %q", got)
	}
}

func TestHTTPConnsHaveALimit(t *testing.T) {
	p := newPort(t, &Server{MaxHTTP: 8})
	var open []net.Conn
	for range 2 { // a quarter of MaxHTTP
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
		_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(httpBusy, got) || got == "" {
		t.Errorf("beyond the limit: %q", got)
	}
	if s := p.Stats(); s.RefusedHTTP != 1 || s.HTTP != 2 {
		t.Errorf("stats %+v", s)
	}
	for _, conn := range open {
		_ = conn.Close()
	}
}

func TestMetricsAreNotForEverybody(t *testing.T) {
	local := netip.MustParsePrefix("127.0.0.0/8")
	for _, tt := range []struct {
		name   string
		server *Server
		header []string
		want   int
	}{
		{"loopback", &Server{}, nil, http.StatusOK},
		{"over somebody's proxy", &Server{}, []string{"X-Forwarded-For: 127.0.0.1"}, http.StatusForbidden},
		{"elsewhere", &Server{MetricsFrom: []netip.Prefix{}}, nil, http.StatusForbidden},
		{"over a proxy, not allowed", &Server{Proxies: []netip.Prefix{local}}, []string{"X-Forwarded-For: 203.0.113.5"}, http.StatusForbidden},
		{"over a proxy, allowed", &Server{Proxies: []netip.Prefix{local}, MetricsFrom: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}},
			[]string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 198.51.100.1, 203.0.113.5"}, http.StatusOK},
		{"over a proxy, nonsense", &Server{Proxies: []netip.Prefix{local}}, []string{"X-Forwarded-For: me"}, http.StatusForbidden},
	} {
		tt.server.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") })
		p := newPort(t, tt.server)
		if status, body := p.get("/metrics", tt.header...); status != tt.want || (status == http.StatusOK) != (body == "metrics") {
			t.Errorf("%s: %d %s", tt.name, status, body)
		}
	}
}

func TestARelayWithoutMetricsSaysSo(t *testing.T) {
	p := newPort(t, &Server{})
	if status, body := p.get("/metrics"); status != http.StatusNotFound || !strings.Contains(body, "set relay.Server.Metrics") {
		t.Errorf("%d %s", status, body)
	}
}

// A relay behind a web server counts links by the addresses of the nodes.
func TestLinksOfAProxyCountForItsClients(t *testing.T) {
	p := newPort(t, &Server{MaxLinksPerAddress: 1, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	upgrade := func(client string) *bufio.ReadWriter {
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "GET /link HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX-Forwarded-For: "+client+"\r\n\r\n")
		rw := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
		for line := "x"; strings.TrimSpace(line) != ""; {
			if line, err = rw.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		return rw
	}
	network := p.Host.RelayHost().Credentials.Network().ID()
	greet := func(rw *bufio.ReadWriter) link.Status {
		hello := append([]byte("WEFT\x01\x00"), network[:8]...)
		hello = append(hello, 0, 0, 0, 0, 0, 0, 0, 9)
		message := append([]byte{0x82, 0x80 | byte(len(hello)), 0, 0, 0, 0}, hello...) // masked with zeros
		_, _ = rw.Write(message)
		_ = rw.Flush()
		answer := make([]byte, 2+14)
		if _, err := io.ReadFull(rw, answer); err != nil {
			t.Fatal(err)
		}
		return link.Status(answer[2+5])
	}
	for _, tt := range []struct {
		client string
		want   link.Status
	}{{"203.0.113.5", link.StatusOK}, {"203.0.113.6", link.StatusOK}, {"203.0.113.5", link.StatusBusy}} {
		if got := greet(upgrade(tt.client)); got != tt.want {
			t.Errorf("%s: %v", tt.client, got)
		}
	}
	if status, _ := p.get("/link", "X-Forwarded-For: nobody"); status != http.StatusBadRequest {
		t.Errorf("nonsense in X-Forwarded-For: %d", status)
	}
}

func TestAPortThatShutsDownSaysSo(t *testing.T) {
	p := newPort(t, &Server{})
	n := p.join("ws://" + p.addr)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	done := make(chan error)
	go func() { done <- p.Shutdown(ctx) }()
	for status := http.StatusOK; status != http.StatusServiceUnavailable; {
		status, _ = p.get("/readyz")
	}
	if status, _ := p.get("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d", status)
	}
	d := &linkdial.Dialer{Hello: link.Hello{Network: link.TagOf(n.parts.Credentials.Network().ID()), Node: n.id()}}
	for _, scheme := range []string{"tcp", "ws"} {
		fc, err := d.Dial(t.Context(), scheme+"://"+p.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fc.ReadFrame()
		if refused, ok := errors.AsType[*link.RefusedError](err); !ok || refused.Status != link.StatusShuttingDown {
			t.Errorf("%s: %v", scheme, err)
		}
		_ = fc.Close()
	}
	cancel(enough)
	if err := <-done; !errors.Is(err, enough) {
		t.Errorf("Shutdown: %v", err)
	}
	n.close()
}

func TestCloseEndsRequests(t *testing.T) {
	began := make(chan struct{})
	p := newPort(t, &Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	})})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if resp, err := p.client.Get("http://" + p.addr + "/"); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-began
	if err := p.Server.Close(); err != nil {
		t.Error(err)
	}
	<-ended
}

func TestAnIdleHTTPConnIsClosed(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		r := l.relay("relay", newKey(t, ""), &Server{})
		here, there := net.Pipe()
		l.wg.Go(func() { r.Server.relay().serveConn(there) })
		began := time.Now()
		if _, err := io.WriteString(here, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(here)
		if err != nil || !strings.HasSuffix(string(answer), "ok\n") {
			t.Errorf("%q, %v", answer, err)
		}
		if took := time.Since(began); took != httpIdleTimeout {
			t.Errorf("closed after %v", took)
		}
		_ = here.Close()
		l.stop(r)
	})
}
