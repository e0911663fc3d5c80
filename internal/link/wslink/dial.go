package wslink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/weftnet/weft/internal/httpconn"
	"github.com/weftnet/weft/internal/link"
)

// A StatusError is what the other end answered instead of opening a WebSocket.
type StatusError struct {
	Addr   link.Addr
	Status int // of HTTP
}

// Error says what to do about the answer.
func (e *StatusError) Error() string {
	advice := "check the address, and that what stands in front of the relay passes the path " + e.Addr.Path +
		" and the headers Upgrade and Connection on"
	switch e.Status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		advice = "what stands in front of the relay does not reach it; check that the relay runs"
	case http.StatusUnauthorized, http.StatusForbidden:
		advice = "what stands in front of the relay does not let this node through"
	case http.StatusTooManyRequests:
		advice = "try again later or use another relay"
	}
	return fmt.Sprintf("link: %s answered %d %s to the WebSocket request: %s",
		e.Addr.HostPort(), e.Status, http.StatusText(e.Status), advice)
}

// Client asks for a WebSocket at a on raw, a conn to there on which TLS, if a's
// scheme wants it, is up already. It owns raw, also when it fails, which it
// does when ctx ends first.
func Client(ctx context.Context, raw net.Conn, a link.Addr) (*Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	c, err := client(raw, a)
	if !stop() && err == nil {
		_ = c.Close()
		return nil, context.Cause(ctx)
	}
	if err == nil {
		return c, nil
	}
	_ = raw.Close()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if status, ok := errors.AsType[*StatusError](err); ok {
		return nil, status
	}
	return nil, fmt.Errorf("link: asking %s for a WebSocket: %w; check that a relay, or a web server in front of one, is there",
		a.HostPort(), err)
}

func client(raw net.Conn, a link.Addr) (*Conn, error) {
	t := &transport{addr: a, conn: &coalescer{Conn: raw}}
	ws, _, err := websocket.Dial(context.Background(), "http://"+a.HostPort()+a.Path, &websocket.DialOptions{ //nolint:bodyclose // it is the WebSocket
		HTTPClient:   &http.Client{Transport: t},
		HTTPHeader:   http.Header{"User-Agent": {"weft"}},
		Host:         hostHeader(a),
		Subprotocols: []string{Protocol},
	})
	if err != nil {
		return nil, err
	}
	return newConn(ws, raw, t.conn), nil
}

// hostHeader is a's host, with the port if it is not its scheme's own.
func hostHeader(a link.Addr) string {
	if a.Scheme == link.SchemeWSS && a.Port == "443" || a.Scheme == link.SchemeWS && a.Port == "80" {
		return strings.TrimSuffix(a.HostPort(), ":"+a.Port)
	}
	return a.HostPort()
}

// A transport is the http.RoundTripper of one request on a conn that is there
// already. http.Transport has goroutines and buffers that are of no use here.
type transport struct {
	addr link.Addr
	conn *coalescer
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, conn, err := httpconn.Exchange(t.conn, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, &StatusError{t.addr, resp.StatusCode}
	}
	resp.Body = conn // which a WebSocket is made of
	return resp, nil
}
