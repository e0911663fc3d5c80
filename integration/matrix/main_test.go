package matrix

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// parallel is how many cells run at a time. Those in real time mostly wait for
// their path.
const parallel = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", parallel)
	goleak.VerifyTestMain(m)
}
