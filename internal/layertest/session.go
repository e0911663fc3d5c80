package layertest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/stream"
)

// dialTimeout is more than a handshake needs on any way.
const dialTimeout = time.Minute

// An end is one of two nodes with a session.
type end struct {
	creds *identity.Credentials
	ep    *session.Endpoint
	paths []session.Path // to the other end; the first is the one to begin with
}

func (e *end) id() identity.NodeID { return e.creds.Key().ID() }

// A network joins two ends.
type network struct {
	ends [2]*end
	stop []func() // in the order of calls, last added first
}

func (n *network) onStop(f func()) { n.stop = append(n.stop, f) }

func (n *network) close() {
	for _, f := range slices.Backward(n.stop) {
		f()
	}
}

// sessions returns both ends of a session.
func sessions(t testing.TB, layer stream.Layer, way Way) (a, b *session.Session, stop func()) {
	t.Helper()
	n := &network{}
	accepted := make(chan *session.Session, 1)
	for i := range n.ends {
		e := &end{creds: credentials(t)}
		n.ends[i] = e
		cfg := session.Config{
			Credentials: e.creds,
			Layer:       layer.Name(),
			Route:       func(identity.NodeID) session.Path { return e.paths[0] },
		}
		if g, ok := layer.(stream.Greeter); ok {
			cfg.Greeting = g.Greeting
		}
		if i == 1 {
			cfg.OnSession = func(s *session.Session) { accepted <- s }
		}
		var err error
		if e.ep, err = session.NewEndpoint(cfg); err != nil {
			t.Fatal(err)
		}
	}
	n.join(way)
	for _, e := range n.ends {
		n.onStop(func() { e.ep.Close() })
	}
	ctx, cancel := context.WithTimeout(t.Context(), dialTimeout)
	defer cancel()
	a, err := n.ends[0].ep.Dial(ctx, identity.Target{ID: n.ends[1].id()})
	if err != nil {
		n.close()
		t.Fatalf("dial: %v", err)
	}
	select {
	case b = <-accepted:
	case <-ctx.Done():
		n.close()
		t.Fatal("the acceptor has no session")
	}
	if way.SwitchEvery > 0 {
		n.onStop(switching(n, a, b, way.SwitchEvery))
	}
	return a, b, n.close
}

// switching swaps the paths of a session until stop is called.
func switching(n *network, a, b *session.Session, every time.Duration) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for i := 1; ; i++ {
			select {
			case <-ticker.C:
			case <-done:
				return
			}
			a.SetPath(n.ends[0].paths[i%2])
			b.SetPath(n.ends[1].paths[i%2])
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

// credentials of a new node in an open network.
func credentials(t testing.TB) *identity.Credentials {
	t.Helper()
	n, err := identity.OpenNetwork(identity.NetworkConfig{Open: true})
	if err != nil {
		t.Fatal(err)
	}
	k, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.NewCredentials(k, n, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
