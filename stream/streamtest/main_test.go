package streamtest_test

import (
	"flag"
	"testing"

	"github.com/weftnet/weft/internal/racetest"
	"go.uber.org/goleak"
)

// Cases in real time mostly wait for their path, so that many of them share the
// processors well.
const parallel = "12"

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	flag.Parse()
	flag.Set("test.parallel", parallel)
	goleak.VerifyTestMain(m)
}
