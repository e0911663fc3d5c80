package switchboard

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/simnet"
)

// Alice sends Bob far more than his link takes; Carol sends him a little, Dave
// half of what the link takes. Everything of Carol's arrives, soon, and Dave
// gets his share.
func TestAFloodStarvesNobody(t *testing.T) { synctest.Test(t, testFlood) }
func testFlood(t *testing.T) {
	const (
		rate = 1 << 20 // bytes each second that Bob's link takes
		size = 1200
		dave = identity.NodeID(0xd)
	)
	l := newLab(t, Config{Forwarding: new(Forwarding), Link: link.Config{QueueBytes: 1 << 20}})
	defer l.close()
	b := l.attachOver(simnet.Impairment{Rate: rate, Queue: 64 << 10, Backpressure: true}, PortConfig{Claimed: bob})
	l.s.Bind(b.port, bob)
	alice, carol, dave1 := l.bind(alice), l.bind(carol), l.bind(dave)
	packet := strings.Repeat("x", size)
	send := func(n *neighbour, src identity.NodeID, times int) {
		for range times {
			_ = n.link.Send(newFrame(src, bob, packet))
		}
	}
	const ticks, tick = 300, 10 * time.Millisecond
	for i := range ticks {
		send(alice, 0xa, 10*rate/size/100)
		send(dave1, dave, rate/2/size/100)
		if i%10 == 0 {
			send(carol, 0xc, 1)
		}
		time.Sleep(tick)
	}
	time.Sleep(500 * time.Millisecond) // what is due soon: a write takes 256 KiB
	synctest.Wait()
	got := make(map[identity.NodeID]int)
	for _, f := range b.frames {
		got[f.src]++
	}
	seconds := int(ticks * tick / time.Second)
	if got[0xc] != ticks/10 {
		t.Errorf("%d of Carol's %d packets arrived", got[0xc], ticks/10)
	}
	if want := rate / 2 / size * seconds * 9 / 10; got[dave] < want {
		t.Errorf("%d of Dave's packets arrived, want at least %d", got[dave], want)
	}
	if want := rate / 2 / size * seconds * 8 / 10; got[0xa] < want {
		t.Errorf("%d of Alice's packets arrived, want at least %d: nobody else needs the link", got[0xa], want)
	}
	t.Logf("in %d s: flooder %d, steady %d, sparse %d of %d", seconds, got[0xa], got[dave], got[0xc], ticks/10)
}

// A relay's own sessions get through while others flood the link.
func TestAFloodDoesNotHoldUpTheRelayItself(t *testing.T) { synctest.Test(t, testFloodOwn) }
func testFloodOwn(t *testing.T) {
	l := newLab(t, Config{Forwarding: new(Forwarding), Link: link.Config{QueueBytes: 1 << 20}})
	defer l.close()
	b := l.attachOver(simnet.Impairment{Rate: 1 << 10, Queue: 4 << 10, Backpressure: true}, PortConfig{Claimed: bob})
	l.s.Bind(b.port, bob)
	a := l.bind(alice)
	for range 2000 {
		_ = a.link.Send(newFrame(alice, bob, strings.Repeat("x", 1200)))
	}
	synctest.Wait()
	var w wakes
	if r := l.s.Route(bob); !r.Ready(&w) || r.Send(newFrame(0, bob, "from the relay")) != nil {
		t.Error("the relay must wait for the flood to end")
	}
}
