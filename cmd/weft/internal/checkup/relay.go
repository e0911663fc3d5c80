package checkup

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/link"
)

// An Answer is what a relay's port has said to an HTTP request, which all relays
// understand, and how far the request has come. Durations are in milliseconds.
type Answer struct {
	Proxy   string   `json:"proxy,omitempty"` // through which it was asked, without its password
	Addrs   []string `json:"addrs,omitempty"` // that the host's name stands for
	DNS     float64  `json:"dns_ms,omitempty"`
	Connect float64  `json:"connect_ms,omitempty"`
	TLS     float64  `json:"tls_ms,omitempty"`
	Total   float64  `json:"total_ms,omitempty"`
	Status  int      `json:"status,omitempty"`   // HTTP's; 0: no answer
	HasDate bool     `json:"has_date,omitempty"` // Offset is known
	Offset  float64  `json:"clock_offset_s"`     // the relay's clock less this machine's, in seconds
	Failed  string   `json:"failed,omitempty"`   // the step that failed: address, DNS, proxy, TCP, TLS or HTTP
	Error   string   `json:"error,omitempty"`
}

// OK reports whether there was an answer.
func (a Answer) OK() bool { return a.Status != 0 }

// Problem says why there was none.
func (a Answer) Problem() string {
	switch {
	case a.OK():
		return ""
	case a.Failed == "":
		return "it was not asked"
	}
	return a.Failed + ": " + a.Error
}

// advices say what to do about each step that failed.
var advices = map[string]string{
	stepAddress: "write the relay's address as HOST:PORT or wss://HOST",
	stepDNS:     "check the relay's name and this machine's DNS",
	stepProxy:   "check HTTPS_PROXY and NO_PROXY, and that the proxy allows CONNECT to the relay's port",
	stepTCP:     "check the relay's port, that the relay runs, and that no firewall is in between; behind a strict one, use a relay with wss://",
	stepTLS:     "check the name in the relay's address and the certificate of the web server in front of it",
	stepHTTP:    "something else than a relay may have that port; check the address",
}

// Advice says what to do about it.
func (a Answer) Advice() string { return advices[a.Failed] }

// The steps of asking a relay's port.
const (
	stepAddress = "address"
	stepDNS     = "DNS"
	stepProxy   = "proxy"
	stepTCP     = "TCP"
	stepTLS     = "TLS"
	stepHTTP    = "HTTP"
)

// An Asker asks relays' ports. The zero value uses no proxy, and the system's
// certificate authorities.
type Asker struct {
	Proxy func(*url.URL) (*url.URL, error) // as linkdial.Dialer.Proxy
	TLS   *tls.Config
}

// AskRelay asks the port of a relay, whose address is written as for a node.
func (k Asker) AskRelay(ctx context.Context, relay string) (a Answer) {
	addr, err := link.ParseAddr(relay)
	if err != nil {
		a.Failed, a.Error = stepAddress, err.Error()
		return a
	}
	t := &trace{step: stepDNS}
	proxy, err := k.proxyOf(addr)
	if err != nil {
		a.Failed, a.Error = stepProxy, err.Error()
		return a
	}
	if proxy != nil {
		a.Proxy = proxy.Redacted()
	}
	target := url.URL{Scheme: "http", Host: addr.DialHostPort(), Path: "/healthz"}
	if addr.Scheme == link.SchemeWSS {
		target.Scheme = "https"
	}
	begun := time.Now()
	resp, err := k.request(httptrace.WithClientTrace(ctx, t.hooks()), target, proxy)
	a.Total = millis(time.Since(begun))
	t.tell(&a)
	if err != nil {
		a.Failed, a.Error = t.failedAt(proxy != nil, err), plain(err)
		return a
	}
	defer resp.Body.Close()
	a.Status = resp.StatusCode
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		// The header has whole seconds; the answer was made half-way, about.
		middle := begun.Add(time.Since(begun) / 2)
		a.HasDate, a.Offset = true, date.Add(500*time.Millisecond).Sub(middle).Seconds()
	}
	return a
}

func (k Asker) proxyOf(addr link.Addr) (*url.URL, error) {
	if k.Proxy == nil {
		return nil, nil
	}
	return k.Proxy(&url.URL{Scheme: "https", Host: addr.HostPort()})
}

func (k Asker) request(ctx context.Context, target url.URL, proxy *url.URL) (*http.Response, error) {
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: k.TLS.Clone(), MaxResponseHeaderBytes: 64 << 10}
	if proxy != nil {
		transport.Proxy = http.ProxyURL(proxy)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return client.Do(req)
}

// A trace follows a request. Its hooks are called by other goroutines.
type trace struct {
	mu                sync.Mutex
	step              string
	dns, connect, tls time.Duration
	dnsAt, connAt     time.Time
	tlsAt             time.Time
	addrs             []string
}

func (t *trace) hooks() *httptrace.ClientTrace {
	at := func(step string, f func()) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.step = step
		f()
	}
	return &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { at(stepDNS, func() { t.dnsAt = time.Now() }) },
		DNSDone: func(info httptrace.DNSDoneInfo) {
			at(stepDNS, func() {
				t.dns = time.Since(t.dnsAt)
				for _, a := range info.Addrs {
					t.addrs = append(t.addrs, a.String())
				}
			})
		},
		ConnectStart: func(string, string) { at(stepTCP, func() { t.connAt = time.Now() }) },
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				at(stepHTTP, func() { t.connect = time.Since(t.connAt) })
			}
		},
		TLSHandshakeStart: func() { at(stepTLS, func() { t.tlsAt = time.Now() }) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				at(stepHTTP, func() { t.tls = time.Since(t.tlsAt) })
			}
		},
	}
}

// tell tells what was measured.
func (t *trace) tell(a *Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.DNS, a.Connect, a.TLS, a.Addrs = millis(t.dns), millis(t.connect), millis(t.tls), t.addrs
}

// failedAt is the step at which a request has failed. All that happens before TLS
// through a proxy is the proxy's.
func (t *trace) failedAt(proxied bool, err error) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if proxied && t.step != stepTLS && t.tls == 0 {
		return stepProxy
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return stepDNS
	}
	if t.step == stepDNS {
		return stepTCP // an address needs no look-up
	}
	return t.step
}

// plain is an error without the URL that every one of net/http begins with.
func plain(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return strings.TrimSpace(fmt.Sprint(err))
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
