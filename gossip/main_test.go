package gossip_test

import (
	"testing"

	"github.com/weftnet/weft/gossip/gossiptest"
	"github.com/weftnet/weft/internal/racetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	var left []goleak.Option
	for _, f := range gossiptest.MeshLeaves {
		left = append(left, goleak.IgnoreAnyFunction(f))
	}
	goleak.VerifyTestMain(m, left...)
}
