package diag

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/internal/racetest"
)

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	goleak.VerifyTestMain(m)
}
