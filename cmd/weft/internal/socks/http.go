package socks

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // net/http wants one; it writes to the Config's Logger
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/internal/httpconn"
)

// handler answers HTTP clients: CONNECT, requests with a whole URL, and the page that
// configures browsers.
func (s *Server) handler() http.Handler {
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.Host = r.In.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery // also what the library cannot read
		},
		Transport:     s.trans,
		FlushInterval: -1,
		ErrorLog:      s.errorLog(),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			http.Error(w, sentence(err), statusOf(err))
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodConnect && r.URL.Host == "":
			s.page(w, r)
		case !s.admits(r):
			w.Header().Set("Proxy-Authenticate", `Basic realm="weft"`)
			http.Error(w, "this proxy wants a user and a password", http.StatusProxyAuthRequired)
		case r.Method == http.MethodConnect:
			s.connect(w, r)
		case r.URL.Scheme != "http":
			http.Error(w, "only http URLs; for others say CONNECT", http.StatusBadRequest)
		default:
			r.Header.Del("Proxy-Authorization")
			forward.ServeHTTP(w, r)
		}
	})
}

// errorLog is where package http complains about clients.
func (s *Server) errorLog() *log.Logger { return log.New(debugLog{s.cfg.Logger}, "", 0) }

type debugLog struct{ log logrus.FieldLogger }

func (d debugLog) Write(b []byte) (int, error) {
	d.log.Debug(strings.TrimSpace(string(b)))
	return len(b), nil
}

// admits reports whether a request says what it has to.
func (s *Server) admits(r *http.Request) bool {
	if !s.secret() {
		return true
	}
	text, ok := strings.CutPrefix(r.Header.Get("Proxy-Authorization"), "Basic ")
	if !ok {
		return false
	}
	b, err := base64.StdEncoding.DecodeString(text)
	user, password, _ := strings.Cut(string(b), ":")
	return err == nil && s.authentic(user, password)
}

// connect makes a conn to the target of the client's own.
func (s *Server) connect(w http.ResponseWriter, r *http.Request) {
	host, port, err := split(r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	target, err := s.dial(r.Context(), host, port)
	if err != nil {
		http.Error(w, sentence(err), statusOf(err))
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = target.Close()
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	rest, _ := rw.Reader.Peek(rw.Reader.Buffered())
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_, _ = target.Close(), conn.Close()
		return
	}
	ctx := context.Background()
	if h, ok := r.Context().Value(connKey{}).(*handedConn); ok {
		ctx = h.ctx // the request's own ends with the handler
	}
	s.join(ctx, httpconn.Unread(conn, rest), target)
}

// dialHTTP is Dial for an http.Transport, whose bytes count too.
func (s *Server) dialHTTP(ctx context.Context, _, addr string) (net.Conn, error) {
	host, port, err := split(addr)
	if err != nil {
		return nil, err
	}
	c, err := s.dial(ctx, host, port)
	if err != nil {
		return nil, err
	}
	return &countedConn{c, s}, nil
}

// A countedConn counts the bytes of a conn to a target.
type countedConn struct {
	net.Conn
	s *Server
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.s.cfg.Count.BtoA.Add(uint64(n)) //nolint:gosec // never negative
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.s.cfg.Count.AtoB.Add(uint64(n)) //nolint:gosec // never negative
	return n, err
}

func split(addr string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || host == "" {
		return "", 0, fmt.Errorf("%.100q is not HOST:PORT", addr)
	}
	return host, uint16(n), nil
}

// page is what the port answers that is not for others.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Suffix == "" || r.URL.Path != "/proxy.pac" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "this is a proxy for SOCKS 5 and HTTP; browsers are configured by /proxy.pac", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/x-ns-proxy-autoconfig")
	_, _ = io.WriteString(w, pac(s.cfg.Suffix, self(r)))
}

// self is the address by which the client knows this port.
func self(r *http.Request) string {
	if host, port, err := split(r.Host); err == nil && !strings.ContainsAny(host, "\"'; \\") {
		return net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return addr.String()
	}
	return ""
}

// pac is a program that tells a browser which proxy to use for which host.
func pac(suffix, proxy string) string {
	where, _ := json.Marshal("SOCKS5 " + proxy + "; PROXY " + proxy)
	domain, _ := json.Marshal(suffix)
	return fmt.Sprintf(`function FindProxyForURL(url, host) {
  if (dnsDomainIs(host, %s)) return %s;
  return "DIRECT";
}
`, domain, where)
}

// sentence is an error for the client.
func sentence(err error) string { return "weft: " + err.Error() }

// statusOf is the status for an error of a dial.
func statusOf(err error) int {
	switch replyTo(err) {
	case replyNotAllowed:
		return http.StatusForbidden
	case replyNoNetwork, replyNoHost:
		if timeout := interface{ Timeout() bool }(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return http.StatusGatewayTimeout
		}
	}
	return http.StatusBadGateway
}
