// Package webpage serves a page to the people of this machine, and to others only if they
// have a token or the page is for everybody.
package webpage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log" //nolint:depguard // http.Server takes no other logger
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/net/netutil"
)

// The limits of a page's server. Pages are small, and asked for again each second.
const (
	// maxConns is how many conns are open at one time; further ones wait. A browser has
	// six at most.
	maxConns = 128
	// headerTimeout, writeTimeout and idleTimeout bound a request's head, an answer, and
	// the wait for the next request.
	headerTimeout = 5 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = time.Minute
	// maxHeader bounds a request's head, in bytes.
	maxHeader = 16 << 10
)

// A Config says what to serve, and where.
type Config struct {
	Handler http.Handler
	Addr    string // host:port to listen on; with port 0 the system picks one
	// Token asks for a token also on a loopback address, where everybody on the machine
	// could read the page. On other addresses there always is one, unless the page is Public.
	Token bool
	// Public asks nobody for a token. On a loopback address the page is for this machine
	// all the same.
	Public bool
	Logger logrus.FieldLogger
}

// A Server serves a page until Close.
type Server struct {
	url    string
	server *http.Server
	served chan struct{}
}

// Serve listens and serves.
func Serve(ctx context.Context, cfg Config) (*Server, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("the page has no place: %w", err)
	}
	at, err := netip.ParseAddrPort(ln.Addr().String())
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	g := &guard{next: cfg.Handler, local: at.Addr().IsLoopback(), cookie: fmt.Sprintf("weft-page-%d", at.Port()), wrong: newWrongLimit()}
	s := &Server{url: address(at), served: make(chan struct{})}
	if !cfg.Public && (cfg.Token || !g.local) {
		g.token = rand.Text()
		s.url += "?" + url.Values{tokenParameter: {g.token}}.Encode()
	}
	s.server = &http.Server{
		Handler: g, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: log.New(debugLog{cfg.Logger}, "", 0),
	}
	go func() {
		defer close(s.served)
		_ = s.server.Serve(netutil.LimitListener(ln, maxConns))
	}()
	return s, nil
}

// URL is where the page is, with the token if there is one.
func (s *Server) URL() string { return s.url }

// Close ends the server and its conns.
func (s *Server) Close() {
	_ = s.server.Close()
	<-s.served
}

// address is a URL at which this machine, or for an address that is all, one that knows
// its name reaches the page.
func address(at netip.AddrPort) string {
	host := at.String()
	if at.Addr().IsUnspecified() {
		host = fmt.Sprintf("%s:%d", hostname(), at.Port())
	}
	return "http://" + host + "/"
}

// A debugLog is an io.Writer that logs.
type debugLog struct{ logrus.FieldLogger }

func (d debugLog) Write(p []byte) (int, error) {
	d.Debug(strings.TrimSpace(string(p)))
	return len(p), nil
}
