package portmap

import (
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// each runs a test with a gateway for each protocol.
func each(t *testing.T, test func(t *testing.T, g *gateway, renewals string)) {
	for name, renewals := range map[string]string{"pcp": "pcp", "nat-pmp": "nat-pmp", "upnp": "AddPortMapping"} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, func(g *gateway) {
				g.pcp, g.pmp = name == "pcp", name == "nat-pmp"
				if name == "upnp" {
					g.pcpAnswer = func([]byte) []byte { return []byte{0, 0x80, 0, 1} } // not that
				}
			})
			if name == "upnp" {
				g.withUPnP()
			}
			test(t, g, renewals)
		})
	}
}

func TestMap(t *testing.T) {
	each(t, func(t *testing.T, g *gateway, renewals string) {
		m := start(t, Config{Gateway: at(g)}, 4000)
		m.expect("203.0.113.9:4000")
		if g.portOf(4000) != 4000 {
			t.Error("the gateway knows of nothing")
		}
		before := g.count(renewals)
		m.changed()
		until(t, "the mapping is not renewed", func() bool { return g.count(renewals) > before })
		g.with(func() { g.external = netip.MustParseAddr("203.0.113.10") })
		m.changed()
		m.expect("203.0.113.10:4000")
		m.end()
		m.none()
		if p := g.portOf(4000); p != 0 {
			t.Errorf("port %d is still mapped", p)
		}
	})
}

func TestAPortThatSomebodyHas(t *testing.T) {
	each(t, func(t *testing.T, g *gateway, _ string) {
		g.with(func() { g.taken = 4000 })
		m := start(t, Config{Gateway: at(g)}, 4000)
		a := <-m.changes
		if a.Port() == 4000 || a.Port() != g.portOf(4000) {
			t.Errorf("%v", a)
		}
		m.changed() // a renewal keeps the port
		g.with(func() { g.external = netip.MustParseAddr("203.0.113.10") })
		m.changed()
		m.expect(netip.AddrPortFrom(g.external, a.Port()).String())
	})
}

func TestAddressesThatAreNotPublic(t *testing.T) {
	each(t, func(t *testing.T, g *gateway, renewals string) {
		cfg := Config{Gateway: at(g), NoPCP: renewals != "pcp", NoNATPMP: renewals != "nat-pmp", NoUPnP: renewals != "AddPortMapping"}
		for _, a := range []string{"10.0.0.1", "100.64.0.9", "0.0.0.0"} {
			g.with(func() { g.external = netip.MustParseAddr(a) })
			before := g.count(renewals)
			m := start(t, cfg, 4000)
			until(t, "nothing is asked", func() bool { return g.count(renewals) > before && g.portOf(4000) == 0 })
			m.end()
			m.none()
		}
		g.with(func() { g.external = netip.MustParseAddr("10.0.0.1") })
		cfg.AllowPrivate = true
		start(t, cfg, 4000).expect("10.0.0.1:4000")
	})
}

func TestGatewaysComeAndGo(t *testing.T) {
	a := newGateway(t, func(g *gateway) { g.pcp = true })
	b := newGateway(t, func(g *gateway) { g.pmp, g.external = true, netip.MustParseAddr("203.0.113.20") })
	// Guarded by a's lock.
	var now *gateway
	m := start(t, Config{NoUPnP: true, Gateway: func() (gw, local netip.Addr) {
		a.with(func() {
			if now != nil {
				gw, local = now.addr, localhost
			}
		})
		return gw, local
	}}, 4000)
	move := func(to *gateway) {
		a.with(func() { now = to })
		m.changed()
	}
	move(a)
	m.expect("203.0.113.9:4000")
	move(b)
	m.expect("203.0.113.20:4000")
	if a.portOf(4000) != 0 {
		t.Error("the old gateway's mapping is still there")
	}
	move(nil)
	m.expect("invalid AddrPort")
	move(b)
	m.expect("203.0.113.20:4000")
	// It restarts, and speaks something else from now on.
	b.with(func() { clear(b.mapped); b.pmp, b.pcp = false, true; b.external = netip.MustParseAddr("203.0.113.21") })
	m.changed()
	m.expect("203.0.113.21:4000")
}

func TestPermanentLeases(t *testing.T) {
	g := newGateway(t, func(g *gateway) { g.permanent, g.taken = true, 4000 }).withUPnP()
	m := start(t, Config{Gateway: at(g), NoPCP: true, NoNATPMP: true}, 4000)
	if a := <-m.changes; !a.IsValid() || a.Port() == 4000 {
		t.Errorf("%v", a)
	}
	m.end()
	if g.portOf(4000) != 0 {
		t.Error("a permanent mapping stays for ever")
	}
}

func TestPort0(t *testing.T) {
	if err := New(Config{}).Map(t.Context(), 0, nil); err == nil {
		t.Error("port 0 is mapped")
	}
}

// Whatever a gateway answers, it is asked for a bounded time, nothing is
// announced, and nobody else is asked.
func TestHostileUPnP(t *testing.T) {
	bystander := newGateway(t, nil).withUPnP()
	endless := func(w http.ResponseWriter, begin, more string) {
		_, err := w.Write([]byte(begin))
		for n := 0; err == nil && n < 64<<20; n += len(more) {
			_, err = w.Write([]byte(more))
		}
	}
	for name, set := range map[string]func(g *gateway, stop <-chan struct{}){
		"a description elsewhere": func(g *gateway, _ <-chan struct{}) { g.location = bystander.url + "/root.xml" },
		"a service elsewhere":     func(g *gateway, _ <-chan struct{}) { g.control = bystander.url + "/control" },
		"a service by name":       func(g *gateway, _ <-chan struct{}) { g.control = "http://localhost:1/control" },
		"another scheme":          func(g *gateway, _ <-chan struct{}) { g.location = "file:///etc/passwd" },
		"a redirect": func(g *gateway, _ <-chan struct{}) {
			g.pages = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, bystander.url+"/root.xml", http.StatusFound)
			}
		},
		"endless text": func(g *gateway, _ <-chan struct{}) {
			g.pages = func(w http.ResponseWriter, _ *http.Request) {
				endless(w, "<root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device><friendlyName>", strings.Repeat("x", 1<<16))
			}
		},
		"endless depth": func(g *gateway, _ <-chan struct{}) {
			g.pages = func(w http.ResponseWriter, _ *http.Request) {
				endless(w, "<root xmlns=\"urn:schemas-upnp-org:device-1-0\">", strings.Repeat("<device><deviceList>", 1<<10))
			}
		},
		"endless headers": func(g *gateway, _ <-chan struct{}) {
			g.pages = func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", maxHeader*2)) }
		},
		"silence": func(g *gateway, stop <-chan struct{}) {
			g.pages = func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-r.Context().Done():
				case <-stop:
				}
			}
		},
		"no XML": func(g *gateway, _ <-chan struct{}) {
			g.pages = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>hello")) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, nil).withUPnP()
			stop := make(chan struct{})
			g.with(func() { set(g, stop) })
			u := &upnp{ssdp: netip.AddrPortFrom(g.addr, ssdpPort)}
			external, _, err := u.acquire(t.Context(), place{gateway: g.addr, local: localhost, port: 4000, lifetime: time.Minute}, 0)
			close(stop)
			if err == nil {
				t.Errorf("there is an address %v", external)
			}
		})
	}
	t.Cleanup(func() {
		if n := bystander.count("AddPortMapping") + bystander.count("GetExternalIPAddress"); n != 0 {
			t.Errorf("another host was asked %d times", n)
		}
	})
}

// Nobody but the gateway is believed.
func TestSearchAnswersOfOthers(t *testing.T) {
	g := netip.MustParseAddr("192.0.2.1")
	ok := "HTTP/1.1 200 OK\r\nLOCATION: http://192.0.2.1:5000/root.xml\r\n\r\n"
	for _, tt := range []struct {
		name, from, answer string
		want               bool
	}{
		{"the gateway", "192.0.2.1", ok, true},
		{"another host", "192.0.2.2", ok, false},
		{"of another host", "192.0.2.1", strings.Replace(ok, "2.1", "2.2", 1), false},
		{"by name", "192.0.2.1", strings.Replace(ok, "192.0.2.1", "gateway.example", 1), false},
		{"TLS", "192.0.2.1", strings.Replace(ok, "http:", "https:", 1), false},
		{"error", "192.0.2.1", strings.Replace(ok, "200", "500", 1), false},
		{"nothing", "192.0.2.1", "HTTP/1.1 200 OK\r\n\r\n", false},
		{"a request", "192.0.2.1", "NOTIFY * HTTP/1.1\r\n\r\n", false},
		{"empty", "192.0.2.1", "", false},
	} {
		at := location([]byte(tt.answer), &net.UDPAddr{IP: net.ParseIP(tt.from), Port: 1900}, g)
		if (at != nil) != tt.want {
			t.Errorf("%s: %v", tt.name, at)
		}
	}
}

func TestParsePCP(t *testing.T) {
	c := &pcp{nonce: [12]byte{1, 2, 3}}
	p := place{gateway: localhost, local: localhost, port: 4000, lifetime: time.Hour}
	answer := func(change func(b []byte)) []byte {
		b := c.request(p, 4001, p.lifetime)
		b[1] |= pcpReply
		ip := netip.MustParseAddr("203.0.113.9").As16()
		copy(b[44:], ip[:])
		change(b)
		return b
	}
	for _, tt := range []struct {
		name    string
		in      []byte
		ours    bool
		refused bool
	}{
		{"granted", answer(func([]byte) {}), true, false},
		{"with options", append(answer(func([]byte) {}), 1, 0, 0, 0), true, false},
		{"refused", answer(func(b []byte) { b[3] = 8 }), true, true},
		{"refused briefly", answer(func(b []byte) { b[3] = 3 })[:24], true, true},
		{"another version", []byte{0, 0x81, 0, 1, 0, 0, 0, 0}, true, true},
		{"a request", answer(func(b []byte) { b[1] = pcpMap }), false, false},
		{"another opcode", answer(func(b []byte) { b[1] = pcpReply | 2 }), false, false},
		{"another nonce", answer(func(b []byte) { b[24]++ }), false, false},
		{"another protocol", answer(func(b []byte) { b[36] = 6 }), false, false},
		{"another port", answer(func(b []byte) { b[41]++ }), false, false},
		{"short", answer(func([]byte) {})[:40], false, false},
		{"long", append(answer(func([]byte) {}), make([]byte, pcpMax)...), false, false},
		{"empty", nil, false, false},
	} {
		r, ours, err := c.parse(tt.in, p)
		if ours != tt.ours || (err != nil) != tt.refused {
			t.Errorf("%s: %+v, %v, %v", tt.name, r, ours, err)
		}
		if ours && err == nil && (r.external != netip.MustParseAddrPort("203.0.113.9:4001") || r.lifetime != time.Hour) {
			t.Errorf("%s: %+v", tt.name, r)
		}
	}
}

// A grant of no time is none, one for ever is as long as asked, and a flood of
// what is not an answer ends.
func TestLyingPCP(t *testing.T) {
	p := place{local: localhost, port: 4000, lifetime: time.Hour}
	for name, tt := range map[string]struct {
		answer func(b []byte) []byte
		ok     bool
	}{
		"for ever": {func(b []byte) []byte { binary.BigEndian.PutUint32(b[4:], 1<<32-1); return b }, true},
		"no time":  {func(b []byte) []byte { binary.BigEndian.PutUint32(b[4:], 0); return b }, false},
		"nonsense": {func([]byte) []byte { return []byte("hello") }, false},
		"silence":  {func([]byte) []byte { return nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, func(g *gateway) {
				g.pcpAnswer = func(b []byte) []byte {
					a := append([]byte(nil), b...)
					a[1] |= pcpReply
					return tt.answer(a)
				}
			})
			p := p
			p.gateway = g.addr
			_, lifetime, err := (&pcp{}).acquire(t.Context(), p, 0)
			if (err == nil) != tt.ok {
				t.Errorf("%v, %v", lifetime, err)
			}
			k := keeper{Mapper: New(Config{AllowPrivate: true})}
			if err := k.try(t.Context(), &pcp{}, p, 0); tt.ok && (err != nil && k.lease != nil || k.lease != nil && k.lease.lifetime != DefaultLifetime) {
				t.Errorf("%+v, %v", k.lease, err)
			}
		})
	}
}

func TestIsPublic(t *testing.T) {
	for a, want := range map[string]bool{
		"203.0.113.9": true, "8.8.8.8": true, "198.18.0.1": true,
		"10.0.0.1": false, "172.16.0.1": false, "192.168.0.1": false, "100.64.0.1": false, "127.0.0.1": false, "169.254.0.1": false,
		"0.0.0.0": false, "0.1.2.3": false, "192.0.0.2": false, "224.0.0.1": false, "255.255.255.255": false, "241.0.0.1": false,
	} {
		if got := isPublic(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	if isPublic(netip.Addr{}) {
		t.Error("no address is public")
	}
}

func FuzzAnswers(f *testing.F) {
	c := &pcp{nonce: [12]byte{1}}
	p := place{gateway: localhost, local: localhost, port: 4000, lifetime: time.Hour}
	good := c.request(p, 1, time.Hour)
	good[1] |= pcpReply
	f.Add(good)
	f.Add([]byte("HTTP/1.1 200 OK\r\nLOCATION: http://127.0.0.1:5000/root.xml\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ours, err := c.parse(b, p)
		if ours && err == nil && [12]byte(b[24:36]) != c.nonce {
			t.Errorf("%x is %+v", b, r)
		}
		if at := location(b, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, localhost); at != nil && at.Hostname() != "127.0.0.1" {
			t.Errorf("%q is at %v", b, at)
		}
	})
}
