package sctp

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/weftnet/weft/internal/racetest"
	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/streamtest"
	"github.com/weftnet/weft/stream/streamtest/memsession"
)

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	goleak.VerifyTestMain(m)
}

// errLost is why a killed session ended.
var errLost = &stream.ClosedError{Cause: errors.New("the peer is gone")}

// silent is a logger that nobody hears.
func silent() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

func sessions(t testing.TB) (a, b *memsession.Session) {
	t.Helper()
	a, b, err := memsession.NewFor(Layer{})
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func start(t testing.TB, s stream.Session) stream.Mux {
	t.Helper()
	m, err := Layer{}.Start(s, silent())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newPair(t testing.TB) *streamtest.Pair {
	t.Helper()
	a, b := sessions(t)
	return &streamtest.Pair{
		A: start(t, a), B: start(t, b),
		Kill:  func() { a.Kill(errLost) },
		Close: func() { a.Kill(errLost) },
	}
}

func TestConformance(t *testing.T) { streamtest.Run(t, streamtest.Config{New: newPair}) }

func TestConformanceInFakeTime(t *testing.T) {
	for _, c := range streamtest.Cases(streamtest.Config{New: newPair, Bulk: 4 << 20, Churn: 500, Crowd: 100}) {
		if !c.RealTime {
			t.Run(c.Name, func(t *testing.T) { synctest.Test(t, c.Run) })
		}
	}
}
