package checkup

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// fine is a network without any problem.
func fine() *Network {
	return &Network{
		Relays:  []Relay{{Addr: "r1:9999", Up: true, Home: true, RTT: 12, Port: Answer{Status: 200, Total: 10, HasDate: true}}, {Addr: "r2:9999", Up: true, RTT: 0.5}},
		UDPAddr: "[::]:4000", Mapping: "endpoint-independent", Filtering: "address and port-dependent",
		Candidates: []string{"host 10.0.0.2:4000", "host [2001:db8::2]:4000", "reflexive 192.0.2.7:5000", "mapped 192.0.2.7:4000"},
		Seen:       []string{"192.0.2.7:5000", "[2001:db8::2]:4000"},
		Interfaces: []Interface{{"eth0", 1500}, {"wg0", 1420}}, LAN: 2, MaxPacket: 1452,
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	down := func(r *Relay) { r.Up, r.Home, r.Error = false, false, "connection refused" }
	tests := []struct {
		name   string
		change func(n *Network)
		worst  Verdict
		want   string // how a line begins
	}{
		{"all is fine", func(*Network) {}, OK, "ok       NAT: mapping endpoint-independent"},
		{"the home", func(*Network) {}, OK, "ok       relay r1:9999: home, round trip 12.0 ms"},
		{"the spare", func(*Network) {}, OK, "ok       relay r2:9999: spare, round trip 500 µs"},
		{"a mapped port", func(*Network) {}, OK, "ok       port mapping: the gateway gives 192.0.2.7:4000"},
		{"MTU", func(*Network) {}, OK, "ok       MTU: wg0 has the least, 1420 bytes; direct paths carry packets of 1452 bytes"},
		{"no relay", func(n *Network) { n.Relays = nil }, Warning, "warning  relays: none is configured"},
		{"a spare that is down", func(n *Network) {
			down(&n.Relays[1])
			n.Relays[1].Port = Answer{Failed: stepDNS, Error: "no such host"}
		}, Warning, "warning  relay r2:9999: DNS: no such host\n         -> check the relay's name"},
		{"a relay in reserve", func(n *Network) {
			down(&n.Relays[1])
			n.Relays[1].Port = Answer{Status: 404, Total: 3}
		}, OK, "ok       relay r2:9999: not in use, and answers within 3.0 ms"},
		{"another network's relay", func(n *Network) { down(&n.Relays[0]) }, Failure, "failure  relay r1:9999: its port answers, but does not serve this node: connection refused"},
		{"no home", func(n *Network) { down(&n.Relays[0]) }, Failure, "failure  home relay: there is none"},
		{"no socket", func(n *Network) { n.UDPAddr, n.Seen = "", nil }, Warning, "warning  UDP: there is no socket"},
		{"no UDP", func(n *Network) { n.Seen = nil }, Warning, "warning  UDP: no relay answers"},
		{"nobody to ask", func(n *Network) { n.Seen, n.Relays = nil, nil }, Warning, "note     UDP: unknown"},
		{"symmetric", func(n *Network) {
			n.Mapping, n.Candidates = "address and port-dependent", n.Candidates[:3]
		}, Warning, "warning  NAT: symmetric: mapping address and port-dependent"},
		{"symmetric, with help", func(n *Network) { n.Mapping = "address-dependent" }, OK, "ok       NAT: mapping address-dependent"},
		{"of unknown kind", func(n *Network) { n.Mapping = "unknown" }, Note, "note     NAT: of unknown kind"},
		{"no NAT", func(n *Network) { n.Candidates[0] = "host 192.0.2.7:5000" }, OK, "ok       NAT: none; filtering address and port-dependent"},
		{"IPv6 unconfirmed", func(n *Network) { n.Seen[1] = "nonsense" }, Note, "note     IPv6: this machine has addresses"},
		{"no IPv6", func(n *Network) { n.Candidates, n.Seen = nil, n.Seen[:1] }, Note, "note     IPv6: no address"},
		{"a small MTU", func(n *Network) { n.Interfaces[0].MTU = 1200 }, Warning, "warning  MTU: eth0 has the least, 1200 bytes"},
		{"a slow clock", func(n *Network) { n.Relays[0].Port.Offset = 360 }, Warning, "warning  clock: 6m0s behind the relay's"},
		{"a fast clock", func(n *Network) { n.Relays[0].Port.Offset = -20 }, OK, "ok       clock: 20s ahead of the relay's"},
		{"no time", func(n *Network) { n.Relays[0].Port.HasDate = false }, Note, "note     clock: no relay has told the time"},
		{"alone", func(n *Network) { n.LAN = 0 }, Note, "note     LAN: no other node"},
		{"a proxy", func(n *Network) { n.Relays[0].Port.Proxy = "http://p:3128" }, Note, "note     proxy: relay r1:9999 is reached through http://p:3128"},
		{"a hostile text", func(n *Network) {
			down(&n.Relays[0])
			n.Relays[0].Error = "\x1b[2J\u009b1m"
		}, Failure, "failure  relay r1:9999: its port answers, but does not serve this node: ?[2J?1m"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := fine()
			tt.change(n)
			steps := n.Judge()
			var b strings.Builder
			steps.Write(&b)
			if steps.Worst() != tt.worst || !strings.Contains("\n"+b.String(), "\n"+tt.want) {
				t.Errorf("worst is %s, want %s; no %q in\n%s", steps.Worst(), tt.worst, tt.want, b.String())
			}
			for _, s := range steps {
				if rank[s.Verdict] >= rank[Warning] && s.Advice == "" {
					t.Errorf("nothing is said about %+v", s)
				}
			}
			if first := steps.First(tt.worst); first == nil || first.Verdict != tt.worst {
				t.Errorf("the first is %v", first)
			}
		})
	}
}

func TestAskRelay(t *testing.T) {
	t.Parallel()
	behind := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
	})
	plainServer := httptest.NewServer(behind)
	defer plainServer.Close()
	tlsServer := httptest.NewTLSServer(behind)
	defer tlsServer.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer proxy.Close()
	closed := closedAddr(t)
	trust := &tls.Config{RootCAs: tlsServer.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	through := func(s string) func(*url.URL) (*url.URL, error) {
		u, err := url.Parse(s)
		return func(*url.URL) (*url.URL, error) { return u, err }
	}
	host := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	tests := []struct {
		name   string
		asker  Asker
		addr   string
		failed string
	}{
		{"a relay", Asker{}, host(plainServer), ""},
		{"one behind a web server", Asker{TLS: trust}, "wss://" + host(tlsServer), ""},
		{"a certificate of nobody known", Asker{}, "wss://" + host(tlsServer), stepTLS},
		{"TLS to who speaks none", Asker{}, "wss://" + host(plainServer), stepTLS},
		{"nobody", Asker{}, closed, stepTCP},
		{"no address", Asker{}, "://", stepAddress},
		{"a proxy that forbids", Asker{Proxy: through("http://u:secret@" + host(proxy))}, "wss://r.example:443", stepProxy},
		{"a proxy that is not there", Asker{Proxy: through("http://" + closed)}, host(plainServer), stepProxy},
		{"a proxy that is none", Asker{Proxy: func(*url.URL) (*url.URL, error) { return nil, net.UnknownNetworkError("x") }}, host(plainServer), stepProxy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			a := tt.asker.AskRelay(ctx, tt.addr)
			if a.Failed != tt.failed || a.OK() != (tt.failed == "") {
				t.Fatalf("answer %+v", a)
			}
			if strings.Contains(a.Proxy, "secret") {
				t.Errorf("the proxy's password is told: %s", a.Proxy)
			}
			if a.OK() {
				if !a.HasDate || a.Offset > -3590 || a.Offset < -3700 || a.Total < a.Connect {
					t.Errorf("answer %+v", a)
				}
			} else if a.Advice() == "" || !strings.Contains(a.Problem(), tt.failed) {
				t.Errorf("%q, advice %q", a.Problem(), a.Advice())
			}
		})
	}
}

func TestARelayThatIsNotFound(t *testing.T) {
	t.Parallel()
	tr := &trace{step: stepDNS}
	if step := tr.failedAt(false, &net.DNSError{Err: "no such host"}); step != stepDNS {
		t.Errorf("failed at %s", step)
	}
	if got := plain(&url.Error{Op: "Get", URL: "http://x", Err: context.DeadlineExceeded}); got != "no answer in time" {
		t.Errorf("got %q", got)
	}
}

func closedAddr(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestInterfacesAreNotLoopback(t *testing.T) {
	t.Parallel()
	for _, i := range Interfaces() {
		if i.Name == "lo" || i.MTU <= 0 {
			t.Errorf("got %+v", i)
		}
	}
}
