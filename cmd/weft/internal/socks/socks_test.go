package socks

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/overlay"
)

// echoing is a Dial whose targets send everything back until the end.
func echoing(_ context.Context, host string, port uint16) (net.Conn, error) {
	switch host {
	case "forbidden":
		return nil, fmt.Errorf("%w: no", ErrNotAllowed)
	case "unknown":
		return nil, overlay.ErrUnknownNode
	case "refused":
		return nil, overlay.ErrRefused
	case "late":
		return nil, context.DeadlineExceeded
	case "alone":
		return nil, overlay.ErrNoRelay
	}
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		fmt.Fprintf(there, "%s %d\n", host, port)
		_, _ = io.Copy(there, there)
	}()
	return here, nil
}

// serving serves one client of a proxy, and returns its end of the conn.
func serving(t *testing.T, cfg Config) (client net.Conn, served <-chan struct{}) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	cfg.Logger = log
	if cfg.Dial == nil {
		cfg.Dial = echoing
	}
	s := New(cfg)
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeConn(t.Context(), there)
	}()
	t.Cleanup(func() {
		_ = here.Close()
		<-done
		_ = s.Close()
	})
	return here, done
}

func TestRequestReachesItsTarget(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"kv-1.weft:80": "kv-1.weft 80\n", "127.0.0.1:1": "127.0.0.1 1\n", "[::1]:65535": "::1 65535\n",
		"forbidden:1": "not allowed", "unknown:1": "no such host", "refused:1": "refused", "late:1": "no such host", "alone:1": "no network",
	} {
		client, _ := serving(t, Config{})
		through, err := Request(client, target)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", target, err, want)
			}
			continue
		}
		if line, err := bufio.NewReader(through).ReadString('\n'); line != want {
			t.Errorf("%s: got %q, %v", target, line, err)
		}
	}
	for _, target := range []string{"", "a", "a:x", ":1", strings.Repeat("a", 256) + ":1"} {
		if _, err := Request(nil, target); err == nil {
			t.Errorf("%.10q is a target", target)
		}
	}
}

// say writes bytes and reads as many as are wanted.
func say(t *testing.T, c net.Conn, b, want string) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if b != "" { // for nothing a pipe would wait, too
		if _, err := io.WriteString(c, b); err != nil {
			t.Fatalf("writing %q: %v", b, err)
		}
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("after %q got %q, %v; want %q", b, got, err, want)
	}
}

const zeros = "\x00\x01\x00\x00\x00\x00\x00\x00"

func TestReplies(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct{ request, reply string }{
		"BIND":                 {"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x01", "\x05\x07" + zeros},
		"UDP ASSOCIATE":        {"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x01", "\x05\x07" + zeros},
		"a kind of address":    {"\x05\x01\x00\x02", "\x05\x08" + zeros},
		"a name that is empty": {"\x05\x01\x00\x03\x00\x00\x01", "\x05\x01" + zeros},
		"port 0":               {"\x05\x01\x00\x03\x01a\x00\x00", "\x05\x01" + zeros},
		"IPv4":                 {"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", "\x05\x00" + zeros + "127.0.0.1 80\n"},
		"IPv6":                 {"\x05\x01\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x50", "\x05\x00" + zeros + "::1 80\n"},
		"what is not allowed":  {"\x05\x01\x00\x03\x09forbidden\x00\x50", "\x05\x02" + zeros},
		"nobody":               {"\x05\x01\x00\x03\x07unknown\x00\x50", "\x05\x04" + zeros},
		"somebody who refuses": {"\x05\x01\x00\x03\x07refused\x00\x50", "\x05\x05" + zeros},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := serving(t, Config{})
			say(t, c, "\x05\x02\x00\x02", "\x05\x00")
			// A pipe passes no more than is read.
			go func() { _, _ = io.WriteString(c, x.request) }()
			say(t, c, "", x.reply)
		})
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	c, done := serving(t, Config{User: "me", Password: "secret"})
	say(t, c, "\x05\x02\x00\x02", "\x05\x02")
	say(t, c, "\x01\x02me\x06secret", "\x01\x00")
	say(t, c, "\x05\x01\x00\x03\x01a\x00\x01", "\x05\x00"+zeros+"a 1\n")
	_ = c.Close()
	<-done

	c, done = serving(t, Config{User: "me", Password: "secret"})
	say(t, c, "\x05\x01\x02", "\x05\x02")
	say(t, c, "\x01\x02me\x05wrong", "\x01\x01")
	<-done

	c, done = serving(t, Config{User: "me", Password: "secret"})
	say(t, c, "\x05\x01\x00", "\x05\xff")
	<-done
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	c, _ := serving(t, Config{Suffix: ".weft"})
	go func() { _, _ = io.WriteString(c, "CONNECT kv-1.weft:443 HTTP/1.1\r\nHost: kv-1.weft:443\r\n\r\n") }()
	say(t, c, "", "HTTP/1.1 200 Connection established\r\n\r\nkv-1.weft 443\n")
	say(t, c, "x", "x")

	for request, want := range map[string]string{
		"CONNECT forbidden:1 HTTP/1.1\r\nHost: forbidden:1\r\n\r\n": "HTTP/1.1 403 ",
		"CONNECT late:1 HTTP/1.1\r\nHost: late:1\r\n\r\n":           "HTTP/1.1 504 ",
		"CONNECT unknown:1 HTTP/1.1\r\nHost: unknown:1\r\n\r\n":     "HTTP/1.1 502 ",
		"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n":                     "HTTP/1.1 400 ",
		"GET http://unknown/ HTTP/1.1\r\nHost: unknown\r\n\r\n":     "HTTP/1.1 502 ",
		"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n":                "HTTP/1.1 400 ",
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n":                         "HTTP/1.1 404 ",
		"pigeon\r\n\r\n":                                            "HTTP/1.1 400 ",
		"GET /proxy.pac HTTP/1.0\r\n\r\n":                           "HTTP/1.0 200 ",
	} {
		c, _ := serving(t, Config{Suffix: ".weft"})
		go func() { _, _ = io.WriteString(c, request) }()
		say(t, c, "", want)
		_ = c.Close()
	}
}

func TestHTTPPasswords(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"":                   "HTTP/1.1 407 ",
		"Basic bWU6d3Jvbmc=": "HTTP/1.1 407 ",
		"Bearer x":           "HTTP/1.1 407 ",
		"Basic bWU6c2VjcmV0": "HTTP/1.1 200 ",
	} {
		c, _ := serving(t, Config{User: "me", Password: "secret"})
		go func() {
			_, _ = io.WriteString(c, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nProxy-Authorization: "+header+"\r\n\r\n")
		}()
		say(t, c, "", want)
		_ = c.Close()
	}
}

func TestAPageForBrowsersIsSafe(t *testing.T) {
	t.Parallel()
	c, _ := serving(t, Config{Suffix: ".weft"})
	go func() {
		_, _ = io.WriteString(c, "GET /proxy.pac HTTP/1.1\r\nHost: 127.0.0.1:1080\r\nConnection: close\r\n\r\n")
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	want := "function FindProxyForURL(url, host) {\n  if (dnsDomainIs(host, \".weft\")) return \"SOCKS5 127.0.0.1:1080; PROXY 127.0.0.1:1080\";\n  return \"DIRECT\";\n}\n"
	if string(body) != want || resp.Header.Get("Content-Type") != "application/x-ns-proxy-autoconfig" {
		t.Errorf("got %q", body)
	}
}

func TestAClientThatSaysNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, first := range []string{"", "\x05", "\x05\x01\x00", "G"} {
			begun := time.Now()
			c, done := serving(t, Config{})
			go func() { _, _ = io.WriteString(c, first) }()
			go func() { _, _ = io.Copy(io.Discard, c) }()
			<-done
			if took := time.Since(begun); took != headTimeout && took != 2*headTimeout {
				t.Errorf("%q: given up after %v, want %v", first, took, headTimeout)
			}
		}
	})
}

func TestTheContextEndsClients(t *testing.T) {
	t.Parallel()
	log := logrus.New()
	log.SetOutput(t.Output())
	s := New(Config{Dial: echoing, Logger: log})
	defer s.Close()
	for _, first := range []string{"\x05\x01\x00", "GET"} {
		ctx, cancel := context.WithCancel(t.Context())
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.ServeConn(ctx, there)
		}()
		_, _ = io.WriteString(here, first)
		cancel()
		_, _ = io.Copy(io.Discard, here)
		<-done
	}
}

func TestIsOverlay(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"kv-1.weft": true, "KV-1.WEFT": true, "kv-1": true, "9f3a61c0d24be815": true, "9f3a61c0d24be815.weft": true, "a.b.weft": true,
		"example.org": false, "localhost": false, "127.0.0.1": false, "::1": false, "": false, "weft.example": false,
	} {
		if got := IsOverlay(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

func FuzzServeConn(f *testing.F) {
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x01a\x00\x01"))
	f.Add([]byte("\x05\x01\x02\x01\x02me\x06secret"))
	f.Add([]byte("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"))
	log := logrus.New()
	log.SetOutput(io.Discard)
	f.Fuzz(func(t *testing.T, b []byte) {
		s := New(Config{Dial: echoing, Logger: log, Suffix: ".weft"})
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.ServeConn(t.Context(), there)
		}()
		go func() {
			_, _ = here.Write(b)
			_ = here.Close()
		}()
		_, _ = io.Copy(io.Discard, here)
		<-done
		if err := s.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}
