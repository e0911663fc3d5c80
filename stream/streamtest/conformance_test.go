package streamtest_test

import (
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/layertest"
	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/native"
	"github.com/weftnet/weft/stream/sctp"
	"github.com/weftnet/weft/stream/streamtest"
	"github.com/weftnet/weft/stream/yamux"
)

var layers = []stream.Layer{native.Layer{}, yamux.Layer{}, sctp.Layer{}}

var ways = append(slices.Clone(layertest.Ways), layertest.Poor)

// TestMatrix is the part of the matrix that concerns conns alone: every layer
// on every way. What programs do on top is in integration/matrix.
func TestMatrix(t *testing.T) {
	for _, l := range layers {
		t.Run(l.Name(), func(t *testing.T) {
			t.Parallel()
			for _, way := range ways {
				t.Run(way.Name+"/transport", func(t *testing.T) {
					t.Parallel()
					conforms(t, l, way)
				})
			}
		})
	}
}

// TestMatrixAlone has those cases of the matrix that nothing may run beside.
func TestMatrixAlone(t *testing.T) {
	for _, l := range layers {
		for _, way := range ways {
			for _, c := range streamtest.Cases(sizes(l, way, false)) {
				if c.Alone {
					t.Run(l.Name()+"/"+way.Name+"/transport/"+c.Name, c.Run)
				}
			}
		}
	}
}

// conforms runs each case in fake time if layer and case can, and else in real
// time, with sizes to match.
func conforms(t *testing.T, l stream.Layer, way layertest.Way) {
	inRealTime := streamtest.Cases(sizes(l, way, false))
	for i, c := range streamtest.Cases(sizes(l, way, true)) {
		if c.Alone {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if layertest.Fake(l) && !c.RealTime {
				synctest.Test(t, c.Run)
				return
			}
			c := inRealTime[i]
			if c.Name == "TestConn" && way.Slow() {
				c = streamtest.Cases(sizes(l, near(way), false))[i]
			}
			c.Run(t)
		})
	}
}

// near is a way with hardly any delay, for nettest.TestConn: its PingPong makes a
// thousand round trips, in real time, and gives up after a minute.
func near(way layertest.Way) layertest.Way {
	way.Wire.Delay, way.Wire.Jitter = time.Millisecond, min(way.Wire.Jitter, time.Millisecond)
	return way
}

// sizes keeps each case within seconds of real time. Fake time costs only what
// is computed in it. WEFT_BIG=1 has every case in full.
//
//	                 fake time         real time                -short
//	SilenceEnds…     1 h               12 s                     1 s in real time
//	    switched     1 min: 1,200 changes of path
//	BulkBothWays     64 MiB            64 MiB                   4 MiB
//	    relayed      32 MiB            32 MiB                   4 MiB
//	    switched     8 MiB             8 MiB                    4 MiB
//	    lossy, poor  2 MiB             1 MiB                    256 KiB
//	ManyStreams…     1,000             1,000                    100
//	    lossy, poor  300               200                      50
//	…LeaveNothing                      10,000; 500 but direct   1,000; 100
func sizes(l stream.Layer, way layertest.Way, fake bool) streamtest.Config {
	cfg := streamtest.Config{New: layertest.Pairs(l, way), Silence: time.Hour}
	switched := way.SwitchEvery > 0
	pick := func(long, short int) int {
		if testing.Short() {
			return short
		}
		return long
	}
	if os.Getenv("WEFT_BIG") != "" {
		cfg.Bulk, cfg.Crowd = 64<<20, 1000
		if !fake {
			cfg.Silence = time.Minute
		}
		return cfg
	}
	switch {
	case !fake:
		cfg.Silence = time.Duration(pick(12, 1)) * time.Second // more than the keep-alive of sessions
	case switched:
		cfg.Silence = time.Minute
	}
	switch {
	case way.Slow() && fake:
		cfg.Bulk, cfg.Crowd = pick(2<<20, 256<<10), pick(300, 50)
	case way.Slow():
		cfg.Bulk, cfg.Crowd = pick(1<<20, 256<<10), pick(200, 50)
	case way.Relayed:
		cfg.Bulk = pick(32<<20, 4<<20)
	case switched:
		cfg.Bulk = pick(8<<20, 4<<20)
	}
	if way.Name != layertest.Direct.Name {
		cfg.Churn = pick(500, 100)
	}
	return cfg
}
