package hostile

import (
	"context"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// directWorks are what somebody on a direct path may do: what a relay may, and
// something to the heads of datagrams, which nobody has sealed.
var directWorks = func() map[string]func(*way, *frame.Frame) []*frame.Frame {
	all := maps.Clone(works)
	all["each with another head goes ahead of the right one"] = func(w *way, f *frame.Frame) []*frame.Frame {
		bad := f.Clone()
		switch w.n % 4 {
		case 0:
			bad.SetHopLimit(uint8(w.rng.Uint32()))
		case 1:
			bad.SetSrc(identity.NodeID(w.rng.Uint64()))
		case 2:
			bad.SetDst(identity.NodeID(w.rng.Uint64()))
		case 3:
			bad.SetType(frame.Type(w.rng.Uint32() & 0xf))
		}
		return []*frame.Frame{bad, f}
	}
	return all
}()

// workOnDirect has somebody on the direct path of two nodes work on what passes.
func (w *world) workOnDirect(h, peer *host, work func(*way, *frame.Frame) []*frame.Frame) [2]*way {
	ways := [2]*way{{rng: rand.New(rand.NewPCG(1, 1))}, {rng: rand.New(rand.NewPCG(1, 2))}}
	w.onDirect(h, peer, &onPath{up: ways[0].of(work), down: ways[1].of(work)})
	return ways
}

// attackable adds a pair on a direct path with a host, which is to be attacked.
func (w *world) attackable(victim, r *host) *pair {
	w.Helper()
	return w.newPair(w.node("admin", overlay.Config{}, r), victim, share)
}

// Somebody on the direct path of two nodes does to their packets what a relay may do.
// The bytes that arrive are those that were sent, the session stays, and when it is
// over the path is in use.
func TestSomebodyWorksOnADirectPath(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		w.place("victim", "friend", "admin")
		victim := w.node("victim", overlay.Config{}, r)
		b := w.bystanders(r).nearby(w, r).befriend(w, victim, r)
		attacked := w.attackable(victim, r)
		here := victim.RelayHost().Endpoint.Session(attacked.from.ID())
		dropped := func() uint64 {
			return here.Stats().PacketsDropped + here.Stats().AnswersIgnored + victim.RelayHost().Endpoint.Dropped() + victim.Status().UDP.PacketsDropped
		}
		b.withstand(assault{play: func(ctx context.Context) {
			for name, work := range directWorks {
				before, ways := dropped(), w.workOnDirect(victim, attacked.from, work)
				if rate := attacked.transfer(time.Second); rate < share/4 {
					w.Errorf("%s: %.0f bytes a second", name, rate)
				}
				attacked.roundTrips()
				w.onDirect(victim, attacked.from, nil)
				worked := [2]int{ways[0].end(), ways[1].end()}
				if after := dropped(); after == before || min(worked[0], worked[1]) < 20 {
					w.Errorf("%s: of %d packets, %d were dropped", name, worked, after-before)
				}
				w.Logf("%s: %d packets", name, worked)
				attacked.becomesStraight()
			}
		}})
		if here.Err() != nil || victim.RelayHost().Endpoint.Session(attacked.from.ID()) != here {
			w.Errorf("the session has not survived: %v", here.Err())
		}
	})
}
