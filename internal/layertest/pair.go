package layertest

import (
	"io"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/streamtest"
)

// Fake reports whether a layer can run inside a testing/synctest bubble, in fake
// time. hashicorp/yamux has timers that outlive a bubble, which crashes the
// process.
func Fake(l stream.Layer) bool { return l.Name() != "yamux" }

// A Pair is a layer at work on both ends of a session.
type Pair struct {
	streamtest.Pair
	SessionA, SessionB *session.Session // A dialled
}

// New makes a pair. The caller closes it.
func New(t testing.TB, layer stream.Layer, way Way) *Pair {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	a, b, stop := sessions(t, layer, way)
	start := func(s *session.Session) stream.Mux {
		m, err := layer.Start(stream.FromSession(s), log)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	return &Pair{
		Pair: streamtest.Pair{
			A: start(a), B: start(b),
			Kill:  func() { _ = a.CloseWithError(1, "the test ends the session") },
			Close: sync.OnceFunc(stop),
		},
		SessionA: a, SessionB: b,
	}
}

// Pairs returns New in the form that streamtest.Config wants.
func Pairs(layer stream.Layer, way Way) func(testing.TB) *streamtest.Pair {
	return func(t testing.TB) *streamtest.Pair {
		t.Helper()
		return &New(t, layer, way).Pair
	}
}
