package streamtest_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// Cases in real time mostly wait for their path, so that many of them share the
// processors well.
const parallel = "12"

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", parallel)
	goleak.VerifyTestMain(m)
}
