package uplink

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/weftnet/weft/internal/control"
)

const (
	// busyAsks is how often a relay is asked that has too much to do for the
	// nodes at this node's address.
	busyAsks = 3
	// busyPause lies in between, and up to as much again at random, so that those
	// nodes do not ask in step.
	busyPause = 500 * time.Millisecond
)

// whileBusy asks until a relay answers something other than that it is busy, at
// most busyAsks times. What it says last is the error.
func whileBusy(ctx context.Context, ask func() error) error {
	for asked := 1; ; asked++ {
		err := ask()
		failed, ok := errors.AsType[*control.Failed](err)
		if !ok || failed.Code != control.FailureBusy || asked == busyAsks {
			return err
		}
		t := time.NewTimer(busyPause + rand.N(busyPause))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}
