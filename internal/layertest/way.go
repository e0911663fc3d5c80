// Package layertest joins two nodes by a session over simulated wires, in each
// of the ways in which nodes get connected, and runs a reliability layer on it.
// Tests of layers and of programs on top of them share it: the transport part
// of the conformance matrix is in stream/streamtest, the programs' part in
// integration/matrix. It works in testing/synctest bubbles and in real time.
package layertest

import (
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/simnet"
)

// A Way is how two nodes are connected.
type Way struct {
	// Name is the way's part of a subtest's name.
	Name string
	// Wire is what each direction does to packets; with Relayed, each of the
	// two wires on the way.
	Wire simnet.Impairment
	// MaxPacket is the largest packet. Zero: frame.MaxPacket.
	MaxPacket int
	// Relayed leads through the switch of a third node.
	Relayed bool
	// SwitchEvery swaps both ends between the path and another one, of Other,
	// that often. Zero: there is one path.
	SwitchEvery time.Duration
	// Other is the path to swap with.
	Other *Way
}

// Slow reports whether transfers take far longer than their CPU time, so that
// tests in real time must send less.
func (w Way) Slow() bool { return w.Wire.Loss > 0 }

func (w Way) maxPacket() int {
	if w.MaxPacket == 0 {
		return frame.MaxPacket
	}
	return w.MaxPacket
}

// smallPacket is what UDP carries everywhere but in tunnels.
const smallPacket = 1400

var (
	// Direct is a perfect wire.
	Direct = Way{Name: "direct"}
	// Relayed leads through one relay.
	Relayed = Way{Name: "relayed", Relayed: true}
	// Lossy is a long way on which every fiftieth packet is lost: 60 ms there
	// and back.
	Lossy = Way{
		Name: "lossy", MaxPacket: smallPacket,
		Wire: simnet.Impairment{Delay: 30 * time.Millisecond, Loss: 0.02},
	}
	// Switched changes between two paths, every 50 ms and at both ends at once:
	// one with large packets and one with small ones that take longer, as a
	// link through a relay and a direct one. Packets overtake each other.
	Switched = Way{
		Name: "switched", Wire: simnet.Impairment{Delay: time.Millisecond},
		SwitchEvery: 50 * time.Millisecond,
		Other:       &Way{MaxPacket: smallPacket, Wire: simnet.Impairment{Delay: 3 * time.Millisecond}},
	}
	// Poor loses, delays, reorders, repeats and damages packets, as a poor radio
	// link does.
	Poor = Way{
		Name: "poor", MaxPacket: smallPacket,
		Wire: simnet.Impairment{
			Delay: 5 * time.Millisecond, Jitter: 2 * time.Millisecond,
			Loss: 0.02, Reorder: 0.02, Duplicate: 0.01, Corrupt: 0.005,
		},
	}
)

// Ways are the ways of the conformance matrix.
var Ways = []Way{Direct, Relayed, Lossy, Switched}
