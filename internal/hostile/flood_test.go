package hostile

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/udp"
	"github.com/weftnet/weft/internal/wire"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

const (
	// resetsPerSecond bounds the stateless resets of a node, and as many may be sent
	// at once.
	resetsPerSecond = 100
	// perFlow is what a socket keeps of an address from which something came.
	perFlow = 1 << 10
)

// anywhere is an address that nobody has, and that an answer would go to.
func anywhere() netip.AddrPort {
	n := rand.Uint32()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, byte(n >> 16), byte(n >> 8), byte(n)}), 1+uint16(n>>16)|1)
}

// floods are datagrams that belong to nothing.
var floods = []func(victim *host) []byte{
	func(*host) []byte { // garbage
		b := make([]byte, 1+rand.IntN(300))
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		return b
	},
	ofNoSession,
	func(victim *host) []byte { // frames that are none
		b := ofNoSession(victim)
		return b[:rand.IntN(len(b))]
	},
	func(victim *host) []byte { // frames for others
		return bytesOf(addressed(victim.ID(), identity.NodeID(rand.Uint64()), make([]byte, 100)))
	},
	func(victim *host) []byte { // notices
		f := frame.NewNotice(frame.Notice{Code: frame.NoticeGone, Node: victim.ID()})
		f.SetDst(victim.ID())
		return bytesOf(f)
	},
	func(victim *host) []byte { // first packets that do not open
		p := wire.AppendLong(nil, wire.Header{Space: wire.SpaceInitial, Dst: rand.Uint64(), Src: 1}, 300)
		return bytesOf(addressed(identity.NodeID(rand.Uint64()), victim.ID(), append(p, make([]byte, 300)...)))
	},
}

// ofNoSession is a packet of a session that is not.
func ofNoSession(victim *host) []byte {
	p := wire.AppendShort(nil, wire.Header{Space: wire.SpaceApp, Dst: rand.Uint64()})
	return bytesOf(addressed(identity.NodeID(rand.Uint64()), victim.ID(), append(p, make([]byte, 100)...)))
}

// bytesOf takes a frame and returns its bytes.
func bytesOf(f *frame.Frame) []byte {
	defer f.Release()
	return slices.Clone(f.Bytes())
}

// Strangers send a node's socket what belongs to nothing, 1000 datagrams a second,
// half of them from one address and each other one from another. Few are answered,
// all are counted, and what is kept of the addresses is bounded.
func TestFloodsOfDatagrams(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		w.place("victim", "friend")
		victim := w.node("victim", overlay.Config{}, r)
		b := w.bystanders(r).nearby(w, r).befriend(w, victim, r)
		flood, from := w.raider("elsewhere"), w.sink("stranger", 1).ends[0]
		dropped := func() uint64 { return victim.Status().UDP.PacketsDropped + victim.RelayHost().Endpoint.Dropped() }
		before, sent, began := dropped(), 0, time.Now()
		lost := w.udp.Counters().LostNoRoute // what goes to addresses that nobody has
		b.withstand(assault{
			play: func(ctx context.Context) {
				for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
					for range 5 {
						flood.forge(floods[sent%len(floods)](victim), from.AddrPort, w.udpOf("victim"))
						flood.forge(floods[sent%len(floods)](victim), anywhere(), w.udpOf("victim"))
						sent++
					}
				}
			},
			may: []cost{{"udp.Config.MaxHeard", udp.DefaultMaxHeard, perFlow}},
		})
		time.Sleep(10 * latency)
		took := time.Since(began).Seconds()
		answers := int(from.datagrams.Load()) + int(w.udp.Counters().LostNoRoute-lost)
		if most := resetsPerSecond * (took + 1); float64(answers) > most || answers == 0 {
			w.Errorf("%d answers went to strangers, not %.0f", answers, most)
		}
		if got := dropped() - before; got < uint64(2*sent) {
			w.Errorf("%d datagrams were sent, %d are counted", 2*sent, got)
		}
		w.Logf("%d datagrams were sent in %.0f s, and %d answers", 2*sent, took, answers)
	})
}
