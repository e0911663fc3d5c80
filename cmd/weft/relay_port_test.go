package main

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestOneRelayPortForEverything(t *testing.T) {
	r := start(t, "relay", "--open", "--listen", "127.0.0.1:0")
	addr, _, _ := strings.Cut(strings.Fields(r.line())[3], ";")
	resp, err := http.Get("http://" + addr + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if string(b) != "ready\n" {
		t.Errorf("/readyz: %q", b)
	}
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A short request gets the address, a long one also what the other port is.
	padding := "\x80\x22\x00\x20" + strings.Repeat("x", 32)
	for request, want := range map[string]int{
		"\x00\x01\x00\x00\x21\x12\xa4\x42binding ask.":           32,
		"\x00\x01\x00\x24\x21\x12\xa4\x42binding ask." + padding: 56,
	} {
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 100)
		if n, err := conn.Read(answer); err != nil || n != want || string(answer[:2]) != "\x01\x01" {
			t.Errorf("STUN: %x, %v; want %d bytes", answer[:n], err, want)
		}
	}
}

func TestIPFlags(t *testing.T) {
	for _, tt := range []struct{ flag, value, want string }{
		{"--behind", "relay.example.org", "where is the web server?"},
		{"--metrics-from", "10.0.0.0/33", "who may read the metrics?"},
	} {
		_, stderr, code := weft(t, "relay", "--open", tt.flag, tt.value)
		if code != exitUsage || !strings.Contains(stderr, tt.want) {
			t.Errorf("%s %s: exit code %d: %s", tt.flag, tt.value, code, stderr)
		}
	}
	got, err := parsePrefixes([]string{"127.0.0.1", "10.1.2.3/8", "2001:db8::1"})
	if err != nil || len(got) != 3 || got[0].String() != "127.0.0.1/32" || got[1].String() != "10.0.0.0/8" || got[2].String() != "2001:db8::1/128" {
		t.Errorf("%v, %v", got, err)
	}
}
