//go:build linux

package netns

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Labs mostly wait.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = flag.Set("test.parallel", "6")
	}
	startThread()
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}
