package statuspage

import (
	"testing"

	"github.com/weftnet/weft/internal/racetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	goleak.VerifyTestMain(m)
}
