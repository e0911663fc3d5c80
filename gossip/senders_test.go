package gossip

import (
	"context"
	"encoding/binary"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// A slowCarrier is a transport that takes its time for unicasts, whose
// datagrams the other relay acknowledges.
type slowCarrier struct {
	rate int // bytes a second
	got  func(msg []byte)
	ack  func(stream, offset uint64)
}

func (*slowCarrier) Start(Name, Handler) error                              { return nil }
func (*slowCarrier) Broadcast([]byte)                                       {}
func (*slowCarrier) Gossip([]byte)                                          {}
func (*slowCarrier) Close() error                                           { return nil }
func (*slowCarrier) Serve(context.Context, net.Conn, identity.NodeID) error { return nil }

func (c *slowCarrier) Unicast(_ Name, msg []byte) error {
	time.Sleep(time.Duration(len(msg)) * time.Second / time.Duration(c.rate))
	if msg[0] == kindDatagram {
		c.ack(binary.BigEndian.Uint64(msg[1:]), binary.BigEndian.Uint64(msg[9:]))
		c.got(msg[datagramHeader:])
	}
	return nil
}

// Who sends little waits for one turn of each other source at most, and loses
// nothing, however much the others send and lose.
func TestDatagramsOfOneSourceDoNotStarveThoseOfAnother(t *testing.T) {
	for name, size := range map[string]int{"large": 60 << 10, "small": 100} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testStarve(t, size) }) })
	}
}

func testStarve(t *testing.T, size int) {
	const (
		to     Name            = 7
		flood  identity.NodeID = 1
		sparse identity.NodeID = 2
		rate                   = 1 << 20
	)
	ctx, cancel := context.WithCancel(t.Context())
	received := make(map[identity.NodeID]int)
	var latest time.Duration
	c := &slowCarrier{rate: rate}
	s := newSenders(ctx, c, func(Name) {})
	c.ack = func(stream, offset uint64) { s.ack(to, stream, offset) }
	c.got = func(msg []byte) {
		src := identity.NodeID(binary.BigEndian.Uint64(msg))
		received[src]++
		if src == sparse {
			latest = max(latest, time.Duration(time.Now().UnixNano())-time.Duration(binary.BigEndian.Uint64(msg[8:])))
		}
	}
	send := func(src identity.NodeID, size int) bool {
		p := make([]byte, size)
		binary.BigEndian.PutUint64(p, uint64(src))
		binary.BigEndian.PutUint64(p[8:], uint64(time.Now().UnixNano()))
		return s.datagram(to, src, p)
	}
	const rounds = 200
	sent := 0
	for range rounds {
		for range 200 { // more than the queue holds, in the end
			if send(flood, size) {
				sent++
			}
		}
		if !send(sparse, 200) {
			t.Error("a datagram of the source that sends little was refused")
		}
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(10 * time.Second)
	cancel()
	s.wait()
	if received[sparse] != rounds || received[flood] == 0 || received[flood] >= sent+1 {
		t.Errorf("received %v, of which %d were sent by the one that floods", received, sent)
	}
	if limit := time.Second * (66 + 64) << 10 / rate; latest > limit {
		t.Errorf("a datagram of the source that sends little took %v, want at most %v", latest, limit)
	}
	var st Stats
	s.fill(&st)
	if st.DatagramDrops == 0 || st.Datagrams != uint64(received[flood]+received[sparse]) {
		t.Errorf("counters are %+v", st)
	}
}
