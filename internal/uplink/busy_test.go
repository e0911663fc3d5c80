package uplink

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/control"
)

func TestABusyRelayIsAskedAgain(t *testing.T) { synctest.Test(t, testBusy) }
func testBusy(t *testing.T) {
	busy := &control.Failed{Code: control.FailureBusy}
	full := &control.Failed{Code: control.FailureFull}
	for _, tt := range []struct {
		name    string
		answers []error
		asked   int
		want    error
	}{
		{"answers", []error{nil}, 1, nil},
		{"refuses", []error{full}, 1, full},
		{"answers later", []error{busy, busy, nil}, 3, nil},
		{"stays busy", []error{busy, busy, busy, nil}, busyAsks, busy},
	} {
		began, asked := time.Now(), 0
		err := whileBusy(t.Context(), func() error {
			asked++
			return tt.answers[asked-1]
		})
		if !errors.Is(err, tt.want) || asked != tt.asked {
			t.Errorf("%s: asked %d times, %v", tt.name, asked, err)
		}
		if took, least := time.Since(began), busyPause*time.Duration(asked-1); took < least || took > 2*least {
			t.Errorf("%s: took %v", tt.name, took)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := whileBusy(ctx, func() error { cancel(); return busy }); !errors.Is(err, busy) {
		t.Errorf("at the end of ctx: %v", err)
	}
}
