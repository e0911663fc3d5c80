package overlay

import (
	"context"
	"net"
	"net/url"
	"strings"
	"testing"
)

func TestTheEnvironmentsProxyIsForRealNetworks(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy.example:3128")
	t.Setenv("NO_PROXY", "")
	own := func(*url.URL) (*url.URL, error) { return nil, nil }
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"the environment's":  {Config{}, "http://proxy.example:3128"},
		"the program's":      {Config{Proxy: own}, ""},
		"none with DialLink": {Config{DialLink: dial}, ""},
	} {
		tt.cfg.Open = true
		cfg, err := tt.cfg.check()
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if cfg.Proxy != nil {
			if u, err := cfg.Proxy(&url.URL{Scheme: "https", Host: "relay.example:9999"}); err == nil && u != nil {
				got = u.String()
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestRelayAddressesOfAllSchemesAreTaken(t *testing.T) {
	cfg := Config{Open: true, Relays: []string{"r:1", "tcp://r:1", "ws://r", "wss://r/path", "wss://[2001:db8::1]:8443"}}
	if _, err := cfg.check(); err != nil {
		t.Error(err)
	}
	cfg.Relays = []string{"https://r"}
	if _, err := cfg.check(); err == nil || !strings.Contains(err.Error(), "wss://host") {
		t.Errorf("error is %v", err)
	}
}
