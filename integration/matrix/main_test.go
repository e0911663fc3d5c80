package matrix

import (
	"flag"
	"testing"

	"github.com/weftnet/weft/internal/racetest"
	"go.uber.org/goleak"
)

// parallel is how many cells run at a time. Those in real time mostly wait for
// their path.
const parallel = "8"

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	flag.Parse()
	flag.Set("test.parallel", parallel)
	// h2spec leaves this one behind when a server does not answer in time.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/summerwind/h2spec/spec.(*Conn).handshakeAsClient.func1"))
}
