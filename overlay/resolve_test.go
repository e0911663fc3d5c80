package overlay

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/uplink"
)

// oneAddress is a Resolver that knows one address.
type oneAddress struct{ netip.Addr }

func (r oneAddress) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	if network != "ip" || host != "relay.example.org" {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []netip.Addr{r.Addr}, nil
}

func TestHostNamesAreLookedUpUnlessAProxyIsAsked(t *testing.T) {
	address := oneAddress{netip.MustParseAddr("192.0.2.7")}
	dialLink := func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
	proxy := func(u *url.URL) (*url.URL, error) {
		if u.Host != "relay.example.org:9999" {
			t.Errorf("asked for %v", u)
		}
		return &url.URL{Scheme: "http", Host: "proxy:3128"}, nil
	}
	direct := func(*url.URL) (*url.URL, error) { return nil, nil }
	for name, test := range map[string]struct {
		cfg   Config
		found bool
	}{
		"Resolver":                      {Config{Resolver: address}, true},
		"DialLink":                      {Config{DialLink: dialLink}, false},
		"Resolver and DialLink":         {Config{Resolver: address, DialLink: dialLink}, true},
		"Resolver and a proxy":          {Config{Resolver: address, Proxy: proxy}, false},
		"Resolver and a proxy for some": {Config{Resolver: address, Proxy: direct}, true},
	} {
		t.Run(name, func(t *testing.T) {
			lookup := test.cfg.linkLookup()
			var ips []netip.Addr
			if lookup != nil {
				a, err := link.ParseAddr("relay.example.org:9999")
				if err != nil {
					t.Fatal(err)
				}
				if ips, err = lookup(t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}
			if (len(ips) == 1 && ips[0] == address.Addr) != test.found {
				t.Errorf("found %v", ips)
			}
		})
	}
}

func TestADamagedListOfRelaysIsOnlyAWarning(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		dir := t.TempDir()
		path := filepath.Join(dir, relaysFile)
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		n := l.ready("n", Config{StateDir: dir})
		if st := n.Status(); st.LearnedRelays != 0 {
			t.Errorf("%d relays are known", st.LearnedRelays)
		}
	})
}

// A node whose configured relays are gone for good starts with one that was
// told of before.
func TestANodeStartsWithALearnedRelay(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		dir := t.TempDir()
		network := l.host.credentials.Network().ID()
		m := uplink.FileMemory(filepath.Join(dir, relaysFile), network)
		if err := m.Save([]uplink.Known{{ID: l.host.ID(), Addrs: []string{relayAddr}}}); err != nil {
			t.Fatal(err)
		}
		n := l.ready("n", Config{StateDir: dir, Relays: []string{"gone:1"}})
		st := n.Status()
		if len(st.Relays) != 2 || st.LearnedRelays != 1 || !st.Relays[1].Learned || !st.Relays[1].Home || st.Relays[0].Err == nil {
			t.Errorf("relays are %+v", st.Relays)
		}
	})
}
