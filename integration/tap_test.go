//go:build unix

package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/weftnet/weft/overlay"
)

// A tap stands between nodes and a relay and records what it forwards.
type tap struct {
	ln    net.Listener
	relay string
	wg    sync.WaitGroup

	mu       sync.Mutex
	up, down bytes.Buffer // to the relay, and from it
	conns    []net.Conn
}

// newTap starts a tap in front of a relay. It ends with the test.
func newTap(t *testing.T, relay string) *tap {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{ln: ln, relay: relay}
	p.wg.Go(p.serve)
	t.Cleanup(p.close)
	return p
}

// addr is what nodes take for the relay's address.
func (p *tap) addr() string { return p.ln.Addr().String() }

// recorded returns what has been forwarded in each direction.
func (p *tap) recorded() (up, down []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.up.Bytes()), bytes.Clone(p.down.Bytes())
}

func (p *tap) serve() {
	for {
		node, err := p.ln.Accept()
		if err != nil {
			return
		}
		relay, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.relay)
		if err != nil {
			_ = node.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, node, relay)
		p.mu.Unlock()
		p.wg.Go(func() { p.forward(relay, node, &p.up) })
		p.wg.Go(func() { p.forward(node, relay, &p.down) })
	}
}

// forward copies one direction, and its end.
func (p *tap) forward(to, from net.Conn, record *bytes.Buffer) {
	_, _ = io.Copy(to, io.TeeReader(from, lockedWriter{&p.mu, record}))
	_ = to.(*net.TCPConn).CloseWrite()
}

func (p *tap) close() {
	_ = p.ln.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(b)
}

func TestTheLinkShowsNothingOfWhatConnsCarry(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	relay := l.relay()
	tap := newTap(t, relay.addr)
	l.relays = []string{tap.addr()} // both ends are tapped
	server := l.server(overlay.EnvName + "=confidential-server")
	node := l.joined()

	const secret = "attack at dawn, and bring the long ladder"
	c := l.dial(node, server.addr(portEcho))
	for range 100 {
		if _, err := io.WriteString(c, secret); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, len(secret))); err != nil {
			t.Fatal(err)
		}
	}
	// HTTP/1, whose header would be there to read: HTTP/2 packs it.
	transport := &http.Transport{DialContext: node.DialContext}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(l.ctx, http.MethodGet, "http://confidential-server/hidden-path", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer of-good-news")
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !strings.Contains(string(body), "/hidden-path") || resp.ProtoMajor != 1 {
		t.Fatalf("got %s %q, %v", resp.Proto, body, err)
	}

	up, down := tap.recorded()
	atLeast := 100 * len(secret)
	for direction, bytes := range map[string]string{"up": string(up), "down": string(down)} {
		// The tap was where it should be, and saw all of it.
		if !strings.HasPrefix(bytes, "WEFT") || len(bytes) < atLeast {
			t.Fatalf("the tap saw %d bytes %s", len(bytes), direction)
		}
		for _, word := range []string{
			secret, secret[:12], "Host:", "confidential-server", "HTTP/1.1", "hidden-path", "of-good-news", l.secret,
			fmt.Sprintf("for %s at", node.ID()),
		} {
			if at := strings.Index(bytes, word); at >= 0 {
				t.Errorf("the link going %s shows %q at byte %d of %d", direction, word, at, len(bytes))
			}
		}
	}
}
