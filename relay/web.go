package relay

import (
	"cmp"
	"context"
	"io"
	"log" //nolint:depguard // http.Server takes no other logger
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/internal/httpconn"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/link/wslink"
)

// The limits of HTTP on the relay's port. A request's head must come within
// Server.PrefaceTimeout.
const (
	// httpReadTimeout and httpWriteTimeout bound a request with its body, and
	// the answer, so that slow clients do not take all of MaxHTTP.
	httpReadTimeout  = 30 * time.Second
	httpWriteTimeout = 30 * time.Second
	// httpIdleTimeout is how long a conn may wait for its next request. It is
	// longer than the interval at which health is usually asked for.
	httpIdleTimeout = 60 * time.Second
	// httpMaxHeader bounds a request's head, in bytes.
	httpMaxHeader = 16 << 10
	// httpStreams is how many requests an HTTP/2 conn may have at once.
	httpStreams = 32
	// httpBusyTimeout bounds how long a client beyond MaxHTTP has to take the
	// answer that says so.
	httpBusyTimeout = time.Second
)

// httpBusy is what a client beyond MaxHTTP is told.
const httpBusy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 36\r\n\r\ntoo many HTTP conns; try again later\n"

// A web serves the HTTP on a relay's port.
type web struct {
	relay   *relay
	server  *http.Server
	conns   chan net.Conn // to the HTTP server
	running sync.Once     // starts the HTTP server
	places  *quota
	proxies prefixes
	metrics http.Handler // nil: nothing
	readers prefixes     // who may read the metrics
	stats   webCounters
}

type webCounters struct{ requests, refusedHTTP, refusedProtocol atomic.Uint64 }

func newWeb(r *relay, s *Server) *web {
	maxHTTP := cmp.Or(s.MaxHTTP, DefaultMaxHTTP)
	w := &web{
		relay:   r,
		conns:   make(chan net.Conn),
		places:  newQuota(maxHTTP, share(s.MaxHTTPPerAddress, maxHTTP, DefaultMaxHTTP)),
		proxies: s.Proxies,
		metrics: s.Metrics,
		readers: s.MetricsFrom,
	}
	if w.readers == nil {
		w.readers = loopback
	}
	w.server = &http.Server{
		Handler:           w.handler(s.Handler),
		ReadHeaderTimeout: r.prefaceTimeout,
		ReadTimeout:       httpReadTimeout,
		WriteTimeout:      httpWriteTimeout,
		IdleTimeout:       httpIdleTimeout,
		MaxHeaderBytes:    httpMaxHeader,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: httpStreams},
		Protocols:         new(http.Protocols),
		BaseContext:       func(net.Listener) context.Context { return r.ctx },
		ConnState:         connState,
		ErrorLog:          log.New(debugLog{r.log}, "", 0),
	}
	w.server.Protocols.SetHTTP1(true)
	w.server.Protocols.SetUnencryptedHTTP2(true)
	return w
}

// handler serves the relay's own pages and leaves the others to more.
func (w *web) handler(more http.Handler) http.Handler {
	if more == nil {
		more = http.NotFoundHandler()
	}
	mux := http.NewServeMux()
	mux.Handle("/", more)
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { say(rw, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", w.ready)
	mux.HandleFunc("GET /metrics", w.serveMetrics)
	mux.HandleFunc("GET "+link.DefaultPath, w.serveLink)
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		w.stats.requests.Add(1)
		mux.ServeHTTP(rw, req)
	})
}

func say(rw http.ResponseWriter, status int, text string) {
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Header().Set("Cache-Control", "no-store")
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, text+"\n")
}

// ready says whether new nodes are welcome.
func (w *web) ready(rw http.ResponseWriter, _ *http.Request) {
	if w.relay.links.isDraining() {
		say(rw, http.StatusServiceUnavailable, "shutting down")
		return
	}
	say(rw, http.StatusOK, "ready")
}

func (w *web) serveMetrics(rw http.ResponseWriter, req *http.Request) {
	if addr, ok := w.client(req); !ok || !w.readers.has(addr) {
		say(rw, http.StatusForbidden, "metrics are for the addresses in relay.Server.MetricsFrom alone (weft relay --metrics-from)")
		return
	}
	if w.metrics == nil {
		say(rw, http.StatusNotFound, "this relay has no metrics; its program has to set relay.Server.Metrics, to what metrics.Handler returns for instance")
		return
	}
	w.metrics.ServeHTTP(rw, req)
}

// serveLink makes a link of a WebSocket.
func (w *web) serveLink(rw http.ResponseWriter, req *http.Request) {
	remote, ok := w.client(req)
	if !ok {
		say(rw, http.StatusBadRequest, "X-Forwarded-For is not a list of IP addresses")
		return
	}
	ws, err := wslink.Accept(rw, req)
	if err != nil {
		return // answered
	}
	var c link.PrefaceConn = ws
	if w.proxies.has(addrOf(ws.RemoteAddr())) {
		c = &forwarded{Conn: ws, remote: net.TCPAddrFromAddrPort(netip.AddrPortFrom(remote, 0))}
	}
	if !w.relay.spawn(func() { w.relay.serveLink(c) }) {
		_ = c.Close()
	}
}

// A forwarded conn came through a proxy.
type forwarded struct {
	*wslink.Conn
	remote net.Addr // the proxy's client, with port 0
}

// RemoteAddr returns the address of the proxy's client.
func (f *forwarded) RemoteAddr() net.Addr { return f.remote }

// serve serves a conn of which the bytes in first were read already, until it
// ends or is no longer HTTP.
func (w *web) serve(conn net.Conn, first []byte) {
	addr := addressOf(conn.RemoteAddr())
	if !w.places.take(addr, w.proxies.has(addrOf(conn.RemoteAddr()))) {
		w.stats.refusedHTTP.Add(1)
		_ = conn.SetWriteDeadline(time.Now().Add(httpBusyTimeout))
		_, _ = io.WriteString(conn, httpBusy)
		_ = conn.Close()
		return
	}
	defer w.places.give(addr)
	c := &webConn{Conn: httpconn.Unread(conn, first), left: make(chan struct{})}
	w.running.Do(func() { w.relay.spawn(w.run) })
	select {
	case w.conns <- c:
	case <-w.relay.ctx.Done():
		_ = c.Close()
		return
	}
	select {
	case <-c.left:
	case <-w.relay.ctx.Done():
		_ = c.Close()
		<-c.left
	}
}

// run runs the HTTP server.
func (w *web) run() {
	_ = w.server.Serve(webListener{w})
	_ = w.server.Close()
}

// A webListener accepts what serve hands over.
type webListener struct{ *web }

func (l webListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.relay.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (l webListener) Close() error { return nil }

func (l webListener) Addr() net.Addr { return webAddr{} }

type webAddr struct{}

func (webAddr) Network() string { return "tcp" }
func (webAddr) String() string  { return "relay" }

// A webConn is a conn with which the HTTP server has something to do.
type webConn struct {
	net.Conn
	once sync.Once
	left chan struct{} // closed when the HTTP server has left it
}

// NetConn returns the conn below.
func (c *webConn) NetConn() net.Conn { return c.Conn }

func connState(c net.Conn, s http.ConnState) {
	if wc, ok := c.(*webConn); ok && (s == http.StateClosed || s == http.StateHijacked) {
		wc.once.Do(func() { close(wc.left) })
	}
}

// A debugLog is an io.Writer that logs.
type debugLog struct{ logrus.FieldLogger }

func (d debugLog) Write(p []byte) (int, error) {
	d.Debug(strings.TrimSpace(string(p)))
	return len(p), nil
}
