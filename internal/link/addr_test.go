package link

import (
	"strings"
	"testing"
)

func TestParseAddr(t *testing.T) {
	for _, tt := range []struct{ in, want, dialled, err string }{
		{"tcp://relay.example.org:9999", "tcp://relay.example.org:9999", "relay.example.org:9999", ""},
		{"tcp://relay.example.org:9999/", "tcp://relay.example.org:9999", "relay.example.org:9999", ""},
		{"Relay.example.org:09999", "tcp://relay.example.org:9999", "relay.example.org:9999", ""},
		{"127.0.0.1:9999", "tcp://127.0.0.1:9999", "127.0.0.1:9999", ""},
		{"[2001:db8::1]:9999", "tcp://[2001:db8::1]:9999", "[2001:db8::1]:9999", ""},
		{"tcp://[2001:db8::1]:9999", "tcp://[2001:db8::1]:9999", "[2001:db8::1]:9999", ""},
		{"r:9999#192.0.2.7", "tcp://r:9999#192.0.2.7", "192.0.2.7:9999", ""},
		{"wss://relay.example.org", "wss://relay.example.org:443", "relay.example.org:443", ""},
		{"wss://relay.example.org/link", "wss://relay.example.org:443", "relay.example.org:443", ""},
		{"WSS://relay.example.org:8443/a/b%20c", "wss://relay.example.org:8443/a/b%20c", "relay.example.org:8443", ""},
		{"ws://10.0.0.1/#2001:db8::7", "ws://10.0.0.1:80#2001:db8::7", "[2001:db8::7]:80", ""},
		{"udp://relay.example.org:9999", "", "", `scheme "udp" is not supported`},
		{"https://relay.example.org", "", "", `scheme "https" is not supported; use tcp://host:port or wss://host`},
		{"relay.example.org", "", "", "want tcp://host:port"},
		{"tcp://relay.example.org:9999/link", "", "", "want tcp://host:port"},
		{":9999", "", "", "want tcp://host:port"},
		{"relay.example.org:", "", "", "want tcp://host:port"},
		{"relay.example.org:0", "", "", `port "0" is not one of`},
		{"relay.example.org:65536", "", "", `port "65536" is not one of`},
		{"relay.example.org:http", "", "", "want tcp://host:port"},
		{"2001:db8::1:9999", "", "", "want tcp://host:port"},
		{"wss://user:word@relay.example.org", "", "", "neither a user nor a query"},
		{"wss://relay.example.org/?a", "", "", "neither a user nor a query"},
		{"wss://relay.example.org#elsewhere", "", "", "is not an IP address"},
		{"wss://" + strings.Repeat("x", maxAddr), "", "", "longer than"},
		{"wss://", "", "", "want tcp://host:port"},
		{"", "", "", "want tcp://host:port"},
	} {
		got, err := ParseAddr(tt.in)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("ParseAddr(%q): error is %v, want %q", tt.in, err, tt.err)
			continue
		}
		if err == nil && (got.String() != tt.want || got.DialHostPort() != tt.dialled) {
			t.Errorf("ParseAddr(%q) is %q, to be dialled at %q; want %q and %q", tt.in, got, got.DialHostPort(), tt.want, tt.dialled)
		}
	}
}

func FuzzParseAddr(f *testing.F) {
	for _, s := range []string{"relay:1", "tcp://[::1]:2/", "wss://h/p#::1", "ws://h:80", "wss://h/%2f/../a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddr(s)
		if err != nil {
			return
		}
		again, err := ParseAddr(a.String())
		if err != nil || again != a {
			t.Errorf("%q is %+v, whose text %q is %+v, %v", s, a, a, again, err)
		}
	})
}
