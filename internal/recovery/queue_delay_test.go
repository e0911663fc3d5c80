package recovery

import (
	"testing"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

type ignore struct{}

func (ignore) PacketAcked(*Packet) {}
func (ignore) PacketLost(*Packet)  {}

// fill sends as much as the window allows for a while over a path that queues
// without end and loses nothing, as a TCP link does, and returns the window.
func fill(maxPacket int, rtt time.Duration, rate float64) int {
	d := New(Config{NewController: NewCUBIC}, maxPacket)
	d.HandshakeConfirmed()
	now := time.Unix(1000, 0)
	free := now // when the bottleneck has sent everything
	var arrivals []time.Time
	for sent, acked := uint64(0), uint64(0); acked < 20_000; {
		if ok, when := d.CanSend(now, maxPacket); ok {
			p := d.NewPacket()
			p.Number, p.Space, p.Size, p.AckEliciting, p.InFlight = sent, wire.SpaceApp, maxPacket, true, true
			d.Sent(now, p)
			sent++
			if free.Before(now) {
				free = now
			}
			free = free.Add(time.Duration(float64(maxPacket) / rate * 1e9))
			arrivals = append(arrivals, free.Add(rtt))
			continue
		} else if !when.IsZero() && when.Before(arrivals[acked]) {
			now = when
			continue
		}
		now = arrivals[acked]
		_ = d.Acked(now, wire.SpaceApp, []wire.AckRange{{Low: acked, High: acked}}, 0, ignore{})
		acked++
	}
	return d.Window()
}

func TestAStandingQueueOnAStreamLinkEndsGrowth(t *testing.T) {
	const gigabyte = 1e9
	if w := fill(60_000, 200*time.Microsecond, gigabyte); w > 3*queueWindow {
		t.Errorf("the window grew to %d MiB on a path that holds 200 kB", w>>20)
	}
	if w := fill(60_000, 50*time.Millisecond, gigabyte); w < 50_000_000*9/10 {
		t.Errorf("the window is %d bytes on a path that holds 50 MB", w)
	}
	if w := fill(1200, 200*time.Microsecond, gigabyte); w < 3*queueWindow {
		t.Errorf("the window stopped at %d bytes on a path of small packets, which has no TCP below", w)
	}
}
