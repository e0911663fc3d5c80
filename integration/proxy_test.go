//go:build unix

package integration

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// A connectProxy is an HTTP proxy for CONNECT. It ends with the test.
type connectProxy struct {
	t       *testing.T
	ln      net.Listener
	user    *url.Userinfo     // whom it lets through; nil: everybody
	names   map[string]string // where host:port leads; it knows no others
	tunnels atomic.Int64
	wg      sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newConnectProxy(t *testing.T, user *url.Userinfo, names map[string]string) *connectProxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &connectProxy{t: t, ln: ln, user: user, names: names, conns: make(map[net.Conn]struct{})}
	p.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// url is the proxy's address, as HTTPS_PROXY has it.
func (p *connectProxy) url(user *url.Userinfo) *url.URL {
	return &url.URL{Scheme: "http", User: user, Host: p.ln.Addr().String()}
}

func (p *connectProxy) hold(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
}

func (p *connectProxy) drop(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *connectProxy) serve(c net.Conn) {
	p.hold(c)
	defer p.drop(c)
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	req.Header.Set("Authorization", req.Header.Get("Proxy-Authorization"))
	name, password, _ := req.BasicAuth()
	to, known := p.names[req.Host]
	switch {
	case p.user != nil && url.UserPassword(name, password).String() != p.user.String():
		_, _ = io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\r\n")
		return
	case !known || req.Method != http.MethodConnect:
		_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		return
	}
	far, err := net.Dial("tcp", to)
	if err != nil {
		_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return
	}
	p.hold(far)
	defer p.drop(far)
	p.tunnels.Add(1)
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	p.wg.Go(func() {
		_, _ = io.Copy(far, c)
		_ = far.Close()
	})
	_, _ = io.Copy(c, far)
}

var ann = url.UserPassword("ann", "so secret")

func TestANodeBehindAProxyReachesOthers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	relay := l.relay()
	server := l.server()
	f := l.newFront(relay.addr)
	p := newConnectProxy(t, ann, map[string]string{"relay.test:9999": relay.addr, "relay.test:443": f.addr})
	through := func(*url.URL) (*url.URL, error) { return p.url(ann), nil }
	for _, addr := range []string{"relay.test:9999", "wss://relay.test"} {
		node := l.node(overlay.Config{Relays: []string{addr}, LinkTLS: f.trust, Proxy: through})
		if err := attached(l.ctx, node); err != nil {
			t.Fatal(err)
		}
		l.fetch(node, server)
		l.finish(l.begin(l.dial(node, server.addr(portSource)), 16<<20))
	}
	if got := p.tunnels.Load(); got < 2 {
		t.Errorf("%d links went through the proxy", got)
	}
}

// The environment is what people behind a company's proxy have.
func TestTheCommandUsesTheProxyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	relay := l.relay()
	server := l.server()
	p := newConnectProxy(t, ann, map[string]string{"relay.test:9999": relay.addr})
	l.relays = []string{"relay.test:9999"}
	for _, tt := range []struct {
		user *url.Userinfo
		want string // logged; empty if it works
	}{
		{ann, ""},
		{nil, "answered 407 Proxy Authentication Required; give it a user and a password"},
	} {
		get := l.weftWith([]string{"HTTPS_PROXY=" + p.url(tt.user).String(), "NO_PROXY="},
			"get", "--timeout", (5 * time.Second).String(), "http://"+server.id.String()+"/page")
		select {
		case <-get.done:
		case <-l.ctx.Done():
			t.Fatal(l.ctx.Err())
		}
		if tt.want == "" && get.err != nil || !strings.Contains(get.log.String(), tt.want) {
			t.Errorf("%v: %v: %s", tt.user, get.err, get.log)
		}
	}
	if p.tunnels.Load() == 0 {
		t.Error("nothing went through the proxy")
	}
}

func TestAProxyThatRefusesIsToldOf(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	relay := l.relay()
	p := newConnectProxy(t, nil, nil)
	node := l.node(overlay.Config{
		Relays: []string{relay.addr},
		Proxy:  func(*url.URL) (*url.URL, error) { return p.url(nil), nil },
	})
	if err := eventually(l.ctx, func() bool {
		err := node.Status().Relays[0].Err
		return err != nil && strings.Contains(err.Error(), p.ln.Addr().String()) && strings.Contains(err.Error(), "answered 403 Forbidden")
	}); err != nil {
		t.Errorf("the node says %v", node.Status().Relays[0].Err)
	}
}
