package wslink

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/weftnet/weft/internal/link"
)

func TestAnswersThatAreNoWebSocket(t *testing.T) {
	for _, tt := range []struct {
		status int
		want   string
	}{
		{http.StatusNotFound, "check the address"},
		{http.StatusMovedPermanently, "check the address"},
		{http.StatusOK, "the path /link and the headers"},
		{http.StatusBadGateway, "does not reach it"},
		{http.StatusForbidden, "does not let this node through"},
		{http.StatusTooManyRequests, "try again later"},
	} {
		a := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(tt.status)
		})
		_, err := dial(t.Context(), a)
		status, ok := errors.AsType[*StatusError](err)
		if !ok || status.Status != tt.status || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "Get ") {
			t.Errorf("%d: %v", tt.status, err)
		}
	}
}

// listen is a server of bytes instead of HTTP.
func listen(t *testing.T, talk func(net.Conn)) link.Addr {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		talk(conn)
		_ = conn.Close()
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	a, err := link.ParseAddr("ws://" + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestNoWebServerIsSaidSo(t *testing.T) {
	a := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH\r\n") })
	if _, err := dial(t.Context(), a); err == nil || !strings.Contains(err.Error(), "check that a relay") {
		t.Errorf("error is %v", err)
	}
}

func TestASilentServerIsGivenUpWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	a := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		cancel(enough)
		_, _ = io.Copy(io.Discard, c)
	})
	if _, err := dial(ctx, a); !errors.Is(err, enough) {
		t.Errorf("error is %v", err)
	}
}

func TestTheHostHeaderIsWhatBrowsersSend(t *testing.T) {
	for in, want := range map[string]string{
		"wss://relay.example.org":     "relay.example.org",
		"wss://relay.example.org:80":  "relay.example.org:80",
		"ws://relay.example.org":      "relay.example.org",
		"ws://[2001:db8::1]":          "[2001:db8::1]",
		"ws://relay.example.org:9999": "relay.example.org:9999",
	} {
		a, err := link.ParseAddr(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := hostHeader(a); got != want {
			t.Errorf("%s: %q", in, got)
		}
	}
}

func TestRequestsThatAreNoWebSocketAreAnswered(t *testing.T) {
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if c, err := Accept(w, r); err == nil {
			t.Error("accepted")
			_ = c.Close()
		}
	})
	for header, want := range map[string]string{
		"X-Nothing: 1": "HTTP/1.1 426",
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nOrigin: http://elsewhere.example": "HTTP/1.1 403",
	} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", a.HostPort())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "GET /link HTTP/1.1\r\nHost: here\r\n"+header+"\r\n\r\n")
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
			t.Errorf("%q: answer %q, %v", header, got, err)
		}
		_ = conn.Close()
	}
}
