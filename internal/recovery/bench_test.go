package recovery

import (
	"fmt"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

// A churn sends and acknowledges packets in a steady state.
type churn struct {
	*Detector
	now    time.Time
	next   uint64
	size   int
	lost   int
	err    error
	ranges []wire.AckRange
}

func (c *churn) PacketAcked(*Packet) {}
func (c *churn) PacketLost(*Packet)  { c.lost++ }

func newChurn(cfg Config, size, inFlight int) *churn {
	c := &churn{Detector: New(cfg, size), now: epoch, size: size}
	c.HandshakeConfirmed()
	for range inFlight {
		c.sendOne()
	}
	return c
}

func (c *churn) sendOne() {
	c.now = c.now.Add(time.Microsecond)
	c.CanSend(c.now, c.size)
	p := c.NewPacket()
	p.Number, p.Space, p.Size, p.AckEliciting = c.next, wire.SpaceApp, c.size, true
	p.Frames = append(p.Frames, wire.SentFrame{Len: uint32(c.size)})
	c.next++
	c.Sent(c.now, p)
}

// turn sends two packets and acknowledges the two that have been in flight the
// longest, with a hole of one packet in every lossEvery; zero: none.
func (c *churn) turn(inFlight, lossEvery uint64) {
	c.sendOne()
	c.sendOne()
	high := c.next - inFlight - 1
	c.ranges = c.ranges[:0]
	low := high - min(high, 64)
	if lossEvery > 0 {
		if hole := high / lossEvery * lossEvery; hole > low && hole < high {
			c.ranges = append(c.ranges, wire.AckRange{Low: hole + 1, High: high})
			high = hole - 1
		}
	}
	c.ranges = append(c.ranges, wire.AckRange{Low: low, High: high})
	if err := c.Acked(c.now, wire.SpaceApp, c.ranges, 0, c); err != nil {
		c.err = err
	}
	c.Deadline()
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, size := range []int{1200, 65535} {
		for _, lossEvery := range []uint64{0, 97} {
			c := newChurn(Config{}, size, 100)
			for range 1000 {
				c.turn(100, lossEvery)
			}
			if n := testing.AllocsPerRun(1000, func() { c.turn(100, lossEvery) }); n != 0 {
				t.Errorf("%v allocations for two packets of %d bytes, a loss every %d", n, size, lossEvery)
			}
			if lossEvery > 0 && c.lost == 0 || c.err != nil {
				t.Errorf("the test is wrong: %d packets lost, error %v", c.lost, c.err)
			}
		}
	}
}

func BenchmarkSentAndAcked(b *testing.B) {
	for name, newController := range map[string]func(int) Controller{"CUBIC": NewCUBIC, "BBR": NewBBR} {
		for _, inFlight := range []uint64{16, 1000, 50000} {
			for _, lossEvery := range []uint64{0, 100} {
				b.Run(fmt.Sprintf("%s/inflight=%d/lossEvery=%d", name, inFlight, lossEvery), func(b *testing.B) {
					c := newChurn(Config{NewController: newController}, 1200, int(inFlight))
					b.ReportAllocs()
					for b.Loop() {
						c.turn(inFlight, lossEvery)
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(2*b.N), "ns/packet")
				})
			}
		}
	}
}
