package portmap

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A gateway is a fake one, with an address of its own in 127.0.0.0/8.
type gateway struct {
	t    *testing.T
	addr netip.Addr
	url  string // of its HTTP server
	wg   sync.WaitGroup

	mu       sync.Mutex
	pcp, pmp bool // what it speaks
	external netip.Addr
	mapped   map[uint16]uint16 // external port by internal
	taken    uint16            // an external port that somebody has
	requests map[string]int
	// For UPnP.
	permanent bool                // only permanent leases
	location  string              // where it says that the description is; "": there
	pages     http.HandlerFunc    // instead of its own; nil: its own
	control   string              // URL of the service
	pcpAnswer func([]byte) []byte // instead of its own
}

var gateways atomic.Uint32

const ssdpPort = 19000

// newGateway starts a gateway, until the test ends, that speaks what set says.
func newGateway(t *testing.T, set func(g *gateway)) *gateway {
	t.Helper()
	pid := os.Getpid()
	g := &gateway{
		t:        t,
		addr:     netip.AddrFrom4([4]byte{127, byte(pid>>8) | 1, byte(pid), byte(gateways.Add(1))}),
		external: netip.MustParseAddr("203.0.113.9"),
		mapped:   map[uint16]uint16{},
		requests: map[string]int{},
		control:  "/control",
	}
	if set != nil {
		set(g)
	}
	pc := g.listen(pmpPort)
	t.Cleanup(g.wg.Wait)
	t.Cleanup(func() { _ = pc.Close() })
	g.wg.Go(func() { g.serve(pc, g.portControl) })
	return g
}

func (g *gateway) listen(port uint16) net.PacketConn {
	g.t.Helper()
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(g.t.Context(), "udp4", netip.AddrPortFrom(g.addr, port).String())
	if err != nil {
		g.t.Skipf("this system has no second loopback address: %v", err)
	}
	return pc
}

// withUPnP adds UPnP.
func (g *gateway) withUPnP() *gateway {
	g.t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(g.t.Context(), "tcp4", netip.AddrPortFrom(g.addr, 0).String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.url = "http://" + ln.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(g.http)}
	pc := g.listen(ssdpPort)
	g.t.Cleanup(func() { _ = pc.Close(); _ = server.Close() })
	g.wg.Go(func() { _ = server.Serve(ln) })
	g.wg.Go(func() { g.serve(pc, g.ssdp) })
	return g
}

func (g *gateway) serve(pc net.PacketConn, answer func([]byte) []byte) {
	b := make([]byte, 2048)
	for {
		n, from, err := pc.ReadFrom(b)
		if err != nil {
			return
		}
		if a := answer(b[:n]); a != nil {
			_, _ = pc.WriteTo(a, from)
		}
	}
}

// with changes or reads the gateway's state.
func (g *gateway) with(do func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	do()
}

func (g *gateway) count(what string) (n int) {
	g.with(func() { n = g.requests[what] })
	return n
}

func (g *gateway) portOf(internal uint16) (p uint16) {
	g.with(func() { p = g.mapped[internal] })
	return p
}

// grant makes, renews or, without lifetime, deletes a mapping.
func (g *gateway) grant(internal, external uint16, lifetime uint32) uint16 {
	switch {
	case lifetime == 0:
		delete(g.mapped, internal)
		return 0
	case external == g.taken:
		external++
	}
	g.mapped[internal] = external
	return external
}

// portControl is a server of PCP and NAT-PMP.
func (g *gateway) portControl(b []byte) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.pcpAnswer != nil:
		return g.pcpAnswer(b)
	case g.pcp && len(b) == pcpLen && b[0] == pcpVersion:
		g.requests["pcp"]++
		a := append([]byte(nil), b...)
		a[1] |= pcpReply
		a[3] = 0
		clear(a[8:24]) // epoch and reserved
		external := g.grant(binary.BigEndian.Uint16(b[40:]), binary.BigEndian.Uint16(b[42:]), binary.BigEndian.Uint32(b[4:]))
		binary.BigEndian.PutUint16(a[42:], external)
		ip := g.external.As16()
		copy(a[44:], ip[:])
		return a
	case g.pmp && b[0] != 0:
		g.requests["version"]++
		return []byte{0, b[1] | 0x80, 0, 1, 0, 0, 0, 0}
	case g.pmp && len(b) == 2:
		ip := g.external.As4()
		return append([]byte{0, 0x80, 0, 0, 0, 0, 0, 1}, ip[:]...)
	case g.pmp && len(b) == 12:
		g.requests["nat-pmp"]++
		lifetime := binary.BigEndian.Uint32(b[8:])
		external := g.grant(binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]), lifetime)
		a := append([]byte{0, 0x81, 0, 0, 0, 0, 0, 1}, b[4:6]...)
		a = binary.BigEndian.AppendUint16(a, external)
		return binary.BigEndian.AppendUint32(a, lifetime)
	}
	return nil
}

func (g *gateway) ssdp(b []byte) []byte {
	if !strings.HasPrefix(string(b), "M-SEARCH * HTTP/1.1\r\n") {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	at := g.location
	if at == "" {
		at = g.url + "/root.xml"
	}
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nUSN: uuid:1\r\nLOCATION: %s\r\n\r\n", at)
}

const rootXML = `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><deviceList><device><deviceList><device>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>%s</controlURL></service></serviceList>
</device></deviceList></device></deviceList></device></root>`

func (g *gateway) http(w http.ResponseWriter, r *http.Request) {
	var pages http.HandlerFunc
	var control string
	g.with(func() { pages, control = g.pages, g.control })
	switch {
	case pages != nil:
		pages(w, r)
	case r.URL.Path == "/root.xml":
		_, _ = fmt.Fprintf(w, rootXML, control)
	case r.URL.Path == "/control":
		g.soap(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (g *gateway) soap(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	field := func(name string) string {
		m := regexp.MustCompile("<" + name + ">(.*?)</" + name + ">").FindSubmatch(b)
		if m == nil {
			return ""
		}
		return string(m[1])
	}
	number := func(name string) uint16 {
		n, _ := strconv.Atoi(field(name))
		return uint16(n)
	}
	_, action, _ := strings.Cut(strings.Trim(r.Header.Get("SOAPACTION"), `"`), "#")
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests[action]++
	code, out := 0, ""
	switch action {
	case "GetExternalIPAddress":
		out = "<NewExternalIPAddress>" + g.external.String() + "</NewExternalIPAddress>"
	case "AddPortMapping":
		switch {
		case number("NewExternalPort") == g.taken:
			code = upnpConflict
		case g.permanent && field("NewLeaseDuration") != "0":
			code = upnpPermanent
		default:
			g.mapped[number("NewInternalPort")] = number("NewExternalPort")
		}
	case "DeletePortMapping":
		for internal, external := range g.mapped {
			if external == number("NewExternalPort") {
				delete(g.mapped, internal)
			}
		}
	default:
		code = 401
	}
	body := fmt.Sprintf(`<u:%sResponse xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1">%s</u:%sResponse>`, action, out, action)
	if code != 0 {
		w.WriteHeader(http.StatusInternalServerError)
		body = fmt.Sprintf(`<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>
			<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>%d</errorCode></UPnPError></detail></s:Fault>`, code)
	}
	_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>%s</s:Body></s:Envelope>`, body)
}

var localhost = netip.MustParseAddr("127.0.0.1")

// A mapping is a Map that runs.
type mapping struct {
	t       *testing.T
	changes chan netip.AddrPort
	changed func() // tells it that the network has changed
	end     func() // ends it, and waits
}

// start runs Map for port until the test ends or end is called.
func start(t *testing.T, cfg Config, port uint16) *mapping {
	t.Helper()
	// No test searches in a real network.
	cfg.SSDP = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 255, 255, 1}), ssdpPort)
	m := New(cfg)
	news := make(chan struct{})
	m.watch = func(ctx context.Context, changed func()) {
		for {
			select {
			case <-news:
				changed()
			case <-ctx.Done():
				return
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	r := &mapping{t: t, changes: make(chan netip.AddrPort, 100), changed: func() { news <- struct{}{} }}
	go func() { done <- m.Map(ctx, port, func(a netip.AddrPort) { r.changes <- a }) }()
	r.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("Map: %v", err)
		}
	})
	t.Cleanup(r.end)
	return r
}

// at is a Config.Gateway.
func at(g *gateway) func() (netip.Addr, netip.Addr) {
	return func() (netip.Addr, netip.Addr) { return g.addr, localhost }
}

func (m *mapping) expect(want string) {
	m.t.Helper()
	select {
	case a := <-m.changes:
		if got := a.String(); got != want {
			m.t.Fatalf("external address %s, want %s", got, want)
		}
	case <-time.After(time.Minute):
		m.t.Fatalf("no external address, want %s", want)
	}
}

// none checks that nothing was told.
func (m *mapping) none() {
	m.t.Helper()
	select {
	case a := <-m.changes:
		m.t.Errorf("told of %v", a)
	default:
	}
}

// until waits for something that has no event of its own.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 60_000 {
		if ok() {
			return
		}
		<-tick.C
	}
	t.Fatal(what)
}
