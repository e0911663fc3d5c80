package layertest

import (
	"fmt"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/switchboard"
)

// relayID is the node in the middle. It has no session with anybody.
const relayID identity.NodeID = 0x7e1a

// join connects both ends.
func (n *network) join(way Way) {
	if way.Relayed {
		n.joinThroughRelay(way)
		return
	}
	n.joinByWires(way, 1)
	if way.Other != nil {
		n.joinByWires(*way.Other, 2)
	}
}

// A wirePath is a path over one wire, without links and switches.
type wirePath struct {
	self identity.NodeID
	wire *simnet.Wire
	max  int
}

func (p *wirePath) Ready(session.Waker) bool { return true }
func (p *wirePath) MaxPacket() int           { return p.max }
func (p *wirePath) ID() identity.NodeID      { return 0 }
func (p *wirePath) String() string           { return fmt.Sprintf("wire with packets of %d bytes", p.max) }
func (p *wirePath) Send(f *frame.Frame) error {
	f.SetSrc(p.self)
	p.wire.Send(f)
	return nil
}

// joinByWires adds a path to each end.
func (n *network) joinByWires(way Way, seed uint64) {
	var paths [2]*wirePath
	for i := range paths {
		paths[i] = &wirePath{self: n.ends[i].id(), max: way.maxPacket()}
	}
	for i, p := range paths {
		other := 1 - i
		p.wire = simnet.NewWire(way.Wire, 2*seed+uint64(i), func(f *frame.Frame) {
			n.ends[other].ep.Receive(f, paths[other])
		})
		n.ends[i].paths = append(n.ends[i].paths, p)
		n.onStop(p.wire.Close)
	}
}

// joinThroughRelay gives each end a switch with a link to that of a relay, which
// forwards.
func (n *network) joinThroughRelay(way Way) {
	relay := switchboard.New(switchboard.Config{
		Self:       relayID,
		Forwarding: &switchboard.Forwarding{},
		Deliver:    func(f *frame.Frame, _ *switchboard.Port) { f.Release() },
	})
	n.onStop(func() { relay.Close() })
	for i, e := range n.ends {
		sw := switchboard.New(switchboard.Config{
			Self:    e.id(),
			Deliver: func(f *frame.Frame, via *switchboard.Port) { e.ep.Receive(f, via) },
			Notice:  func(notice frame.Notice, _ *switchboard.Port) { e.ep.Notice(notice) },
		})
		n.onStop(func() { sw.Close() })
		wire := way.Wire
		wire.MaxPacket = way.maxPacket()
		ours, theirs := simnet.NewPipe(wire, wire, uint64(10*i))
		sw.Bind(sw.Attach(ours, switchboard.PortConfig{Uplink: true, Claimed: relayID}), relayID)
		relay.Bind(relay.Attach(theirs, switchboard.PortConfig{Claimed: e.id()}), e.id())
		e.paths = []session.Path{sw.Route(n.ends[1-i].id())}
	}
}
