package matrix

import (
	"testing"
	"testing/synctest"

	"github.com/weftnet/weft/internal/layertest"
	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/native"
	"github.com/weftnet/weft/stream/sctp"
	"github.com/weftnet/weft/stream/yamux"
)

var layers = []stream.Layer{native.Layer{}, yamux.Layer{}, sctp.Layer{}}

// A cell is one thing that users do.
type cell struct {
	name string
	run  func(*lab)
	// locks is set on cells that cannot run in a bubble: net/http's HTTP/2
	// client, and x/net's, hold a mutex while they write to a conn. When the conn
	// makes them wait, others wait for the mutex, which synctest does not count
	// as waiting: fake time stands still, and what the conn waits for never comes.
	locks bool
}

// groups are the columns of the matrix.
var groups = []struct {
	name  string
	cells []cell
}{
	{"listener", listenerCells},
	{"http1", http1Cells},
	{"cut", cutCells},
	{"http2", http2Cells},
	{"grpc", grpcCells},
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, layer := range layers {
		t.Run(layer.Name(), func(t *testing.T) {
			t.Parallel()
			for _, way := range layertest.Ways {
				t.Run(way.Name, func(t *testing.T) {
					t.Parallel()
					testWay(t, layer, way)
				})
			}
		})
	}
}

// testWay runs all cells of a layer on a way.
func testWay(t *testing.T, layer stream.Layer, way layertest.Way) {
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range g.cells {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					fake := layertest.Fake(layer) && !c.locks
					run := func(t *testing.T) { c.run(newLab(t, layer, way, fake)) }
					if fake {
						synctest.Test(t, run)
					} else {
						run(t)
					}
				})
			}
		})
	}
}
