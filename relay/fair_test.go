package relay

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/frame"
)

// A slowGossip takes its time for what is for one relay, as mesh does on a slow
// link.
type slowGossip struct {
	gossip.Transport
	rate int // bytes a second
}

func (s slowGossip) Unicast(to gossip.Name, msg []byte) error {
	time.Sleep(time.Duration(len(msg)) * time.Second / time.Duration(s.rate))
	return s.Transport.Unicast(to, msg)
}

// One node floods another over a line of relays, whose frames travel by the
// gossip. Two others that go the same way hardly notice.
func TestAFloodOverTheGossipDoesNotStarveOthers(t *testing.T) { synctest.Test(t, testFlood) }
func testFlood(t *testing.T) {
	w := &fleet{lab: newLab(t), relays: make(map[string]*hosted)}
	w.gossip = func(g gossip.Transport) gossip.Transport { return slowGossip{g, 2 << 20} }
	for _, list := range [][]string{{"a", "b"}, {"b", "c"}, {"c"}} {
		w.start(list[0], newKey(t, "weft"), list[1:]...)
	}
	time.Sleep(settle)
	defer w.close()
	flooder, _ := w.at("a", "flooder")
	flooded, _ := w.at("c", "flooded")
	x, _ := w.at("a", "x")
	y, _ := w.at("c", "y")
	time.Sleep(time.Second)
	stream, err := w.open(x, y.id())
	if err != nil {
		t.Fatal(err)
	}
	w.roundTrip(stream, "before")
	route := flooder.parts.Switch.Route(flooded.id())
	stop := make(chan struct{})
	w.wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
			for range 100 { // 10 MB a second
				f := frame.New(1000)
				f.SetDst(flooded.id())
				_ = route.Send(f)
			}
		}
	})
	time.Sleep(5 * time.Second)
	var longest time.Duration
	const rounds = 100
	for range rounds {
		began := time.Now()
		w.roundTrip(stream, "meanwhile")
		longest = max(longest, time.Since(began))
		time.Sleep(50 * time.Millisecond)
	}
	close(stop)
	s := w.relays["a"].Stats().Backbone
	if s.DatagramDrops < 10000 {
		t.Errorf("there was no flood: %+v", s)
	}
	if longest > 6*delay+250*time.Millisecond {
		t.Errorf("a round trip took %v", longest)
	}
	t.Logf("the longest of %d round trips took %v; of %d frames %d were dropped", rounds, longest, s.Datagrams+s.DatagramDrops, s.DatagramDrops)
}
