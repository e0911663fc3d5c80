package matrix

import (
	"context"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"

	"github.com/weftnet/weft/internal/layertest"
	"github.com/weftnet/weft/listener"
	"github.com/weftnet/weft/stream"
)

// specTimeouts are how long h2spec waits for the server to do what it must, each
// time that a case is tried: on a busy machine some wait too short.
var specTimeouts = []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second}

const (
	// specParallel is how many cases run at once.
	specParallel = 16
	// specCases is how many cases h2spec has, at least.
	specCases = 140
)

// TestH2Spec has h2spec examine one HTTP/2 server on plain TCP and behind conns
// of each layer. It must find the same.
func TestH2Spec(t *testing.T) {
	t.Parallel()
	want := examine(t, serveTCP(t))
	passed := 0
	for _, ok := range want {
		if ok {
			passed++
		}
	}
	t.Logf("on plain TCP the server passes %d of %d cases", passed, len(want))
	if len(want) < specCases || passed < len(want)*9/10 {
		t.Fatalf("on plain TCP the server passes %d of %d cases: h2spec does not work", passed, len(want))
	}
	for _, layer := range layers {
		t.Run(layer.Name(), func(t *testing.T) {
			t.Parallel()
			got := examine(t, serveBridged(t, layer))
			for _, name := range slices.Sorted(maps.Keys(want)) {
				if got[name] != want[name] {
					t.Errorf("%s: passed: %v, on plain TCP: %v", name, got[name], want[name])
				}
			}
		})
	}
}

// examine runs all cases against a server and tells which passed.
func examine(t *testing.T, addr *net.TCPAddr) map[string]bool {
	t.Helper()
	c := config.Config{Host: addr.IP.String(), Port: addr.Port, Path: "/", MaxHeaderLen: 4000, Strict: true}
	var mu sync.Mutex
	results := map[string]bool{}
	var wg sync.WaitGroup
	slots := make(chan struct{}, specParallel)
	var walk func(g *spec.TestGroup)
	walk = func(g *spec.TestGroup) {
		for _, tc := range slices.Concat(g.Tests, g.StrictTests) {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				ok := passes(c, tc)
				mu.Lock()
				defer mu.Unlock()
				results[g.ID()+" "+tc.Desc] = ok
			})
		}
		for _, sub := range g.Groups {
			walk(sub)
		}
	}
	for _, g := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		walk(g)
	}
	wg.Wait()
	return results
}

// passes runs one case, without h2spec's own runner, which prints, and ends the
// process when a dial fails. A case that the server need not support passes.
func passes(c config.Config, tc *spec.TestCase) bool {
	for _, c.Timeout = range specTimeouts {
		conn, err := spec.Dial(&c)
		if err != nil {
			continue
		}
		err = tc.Run(&c, conn)
		conn.Close()
		if err == nil || err == spec.ErrSkipped {
			return true
		}
	}
	return false
}

// serve serves what h2spec asks for.
func serve(t *testing.T, ln net.Listener) {
	p := prior()
	p.SetHTTP1(true)
	server := &http.Server{
		Protocols: p, ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, "a body of some bytes")
		}),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve(ln)
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
}

// loopback listens on a port of this machine.
func loopback(t *testing.T) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func serveTCP(t *testing.T) *net.TCPAddr {
	ln := loopback(t)
	serve(t, ln)
	return ln.Addr().(*net.TCPAddr)
}

// serveBridged serves on an overlay listener that a TCP port leads to.
func serveBridged(t *testing.T, layer stream.Layer) *net.TCPAddr {
	l := newLab(t, layer, layertest.Direct, false)
	serve(t, l.listen(l.b, 80, listener.ListenConfig{}))
	ln := loopback(t)
	ctx, cancel := context.WithCancel(t.Context())
	var bridges sync.WaitGroup
	bridges.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			bridges.Go(func() { bridge(ctx, c.(*net.TCPConn), l.a, l.b.host()+":80") })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		cancel()
		bridges.Wait()
	})
	return ln.Addr().(*net.TCPAddr)
}

// bridge joins a conn to one over the overlay until both have ended.
func bridge(ctx context.Context, c *net.TCPConn, n *node, addr string) {
	defer c.Close()
	o, err := n.Dial(ctx, addr)
	if err != nil {
		return
	}
	defer o.Close()
	stop := context.AfterFunc(ctx, func() {
		c.Close()
		o.Close()
	})
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { pass(o.(stream.Conn), c) })
	wg.Go(func() { pass(c, o) })
	wg.Wait()
}

// pass copies until the end, and passes that on, too.
func pass(to interface {
	io.WriteCloser
	CloseWrite() error
}, from io.ReadCloser) {
	if _, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from}); err != nil {
		to.Close()
		from.Close()
		return
	}
	to.CloseWrite()
}
