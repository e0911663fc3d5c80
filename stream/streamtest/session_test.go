package streamtest_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A wirePath is a path of a session over a simulated wire.
type wirePath struct {
	self identity.NodeID
	wire *simnet.Wire
	max  int
}

func (p *wirePath) Ready(session.Waker) bool { return true }
func (p *wirePath) MaxPacket() int           { return p.max }
func (p *wirePath) ID() identity.NodeID      { return 0 }
func (p *wirePath) String() string           { return "wire" }
func (p *wirePath) Send(f *frame.Frame) error {
	f.SetSrc(p.self)
	p.wire.Send(f)
	return nil
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

// sessions returns both ends of a session over a path with an impairment in
// each direction.
func sessions(t testing.TB, layer stream.Layer, imp simnet.Impairment, maxPacket int) (a, b *session.Session, stop func()) {
	t.Helper()
	var ends [2]*session.Endpoint
	paths := [2]*wirePath{{max: maxPacket}, {max: maxPacket}}
	accepted := make(chan *session.Session, 1)
	for i := range ends {
		creds := credentials(t)
		cfg := session.Config{
			Credentials: creds,
			Layer:       layer.Name(),
			Route:       func(identity.NodeID) session.Path { return paths[i] },
		}
		if g, ok := layer.(stream.Greeter); ok {
			cfg.Greeting = g.Greeting
		}
		if i == 1 {
			cfg.OnSession = func(s *session.Session) { accepted <- s }
		}
		e, err := session.NewEndpoint(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ends[i], paths[i].self = e, creds.Key().ID()
	}
	for i, p := range paths {
		other := 1 - i
		p.wire = simnet.NewWire(imp, uint64(i), func(f *frame.Frame) { ends[other].Receive(f, paths[other]) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a, err := ends[0].Dial(ctx, identity.Target{ID: paths[1].self})
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	select {
	case b = <-accepted:
	case <-ctx.Done():
		t.Fatal("the acceptor has no session")
	}
	return a, b, sync.OnceFunc(func() {
		for i := range ends {
			ends[i].Close()
		}
		for i := range paths {
			paths[i].wire.Close()
		}
	})
}

// pairs returns a maker of pairs that run a layer over real sessions.
func pairs(layer stream.Layer, imp simnet.Impairment, maxPacket int) func(testing.TB) *streamtest.Pair {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return func(t testing.TB) *streamtest.Pair {
		t.Helper()
		a, b, stop := sessions(t, layer, imp, maxPacket)
		start := func(s *session.Session) stream.Mux {
			m, err := layer.Start(stream.FromSession(s), log)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		return &streamtest.Pair{
			A: start(a), B: start(b),
			Kill:  func() { a.CloseWithError(1, "the test ends the session") },
			Close: stop,
		}
	}
}
