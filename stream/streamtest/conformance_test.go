package streamtest_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/native"
	"github.com/weftnet/weft/stream/sctp"
	"github.com/weftnet/weft/stream/streamtest"
	"github.com/weftnet/weft/stream/yamux"
)

var layers = []stream.Layer{native.Layer{}, yamux.Layer{}, sctp.Layer{}}

func TestLayersOverACleanPath(t *testing.T) {
	for _, l := range layers {
		t.Run(l.Name(), func(t *testing.T) {
			streamtest.Run(t, streamtest.Config{New: pairs(l, simnet.Impairment{}, frame.MaxPacket)})
		})
	}
}

// badPath loses, delays, reorders and repeats packets, as a poor radio link
// does.
var badPath = simnet.Impairment{
	Delay: 5 * time.Millisecond, Jitter: 2 * time.Millisecond,
	Loss: 0.02, Reorder: 0.02, Duplicate: 0.01, Corrupt: 0.005,
}

func TestLayersOverABadPath(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the path is slow")
	}
	for _, l := range layers {
		cfg := streamtest.Config{New: pairs(l, badPath, 1400), Bulk: 1 << 20, Churn: 500, Crowd: 100}
		t.Run(l.Name(), func(t *testing.T) {
			for _, c := range streamtest.Cases(cfg) {
				if !c.RealTime && slices.Contains(timeless, l) {
					continue // TestLayersOverABadPathInFakeTime has it
				}
				t.Run(c.Name, c.Run)
			}
		})
	}
}

// timeless layers go through a bad path in no time, in a bubble. The yamux layer
// cannot: it has timers that outlive the bubble.
var timeless = []stream.Layer{native.Layer{}, sctp.Layer{}}

func TestLayersOverABadPathInFakeTime(t *testing.T) {
	for _, l := range timeless {
		cfg := streamtest.Config{New: pairs(l, badPath, 1400), Bulk: 1 << 20, Crowd: 50}
		for _, c := range streamtest.Cases(cfg) {
			if !c.RealTime {
				t.Run(l.Name()+"/"+c.Name, func(t *testing.T) { synctest.Test(t, c.Run) })
			}
		}
	}
}
