package native

import (
	"io"
	"testing"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/streamtest"
	"github.com/weftnet/weft/stream/streamtest/memsession"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// silent is a logger that nobody hears.
func silent() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

func newPair(t testing.TB) *streamtest.Pair {
	t.Helper()
	sa, sb := memsession.New()
	a, err := Layer{}.Start(sa, silent())
	if err != nil {
		t.Fatal(err)
	}
	b, err := Layer{}.Start(sb, silent())
	if err != nil {
		t.Fatal(err)
	}
	lost := &stream.ClosedError{Cause: io.ErrUnexpectedEOF}
	return &streamtest.Pair{
		A: a, B: b,
		Kill:  func() { sa.Kill(lost) },
		Close: func() { sa.Kill(lost) },
	}
}

func TestConformance(t *testing.T) { streamtest.Run(t, streamtest.Config{New: newPair}) }
