package recovery

import (
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// epoch is when all tests begin.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const ms = time.Millisecond

// A bench is a Detector with a clock, a packet counter and a record of what
// became of packets.
type bench struct {
	t *testing.T
	*Detector
	now   time.Time
	next  [wire.NumSpaces]uint64
	acked []uint64
	lost  []uint64
}

// newBench uses CUBIC unless cfg says otherwise: its window is easy to foretell.
func newBench(t *testing.T, cfg Config, maxPacket int) *bench {
	if cfg.NewController == nil {
		cfg.NewController = NewCUBIC
	}
	b := &bench{t: t, Detector: New(cfg, maxPacket), now: epoch}
	b.HandshakeConfirmed()
	return b
}

func (b *bench) PacketAcked(p *Packet) { b.acked = append(b.acked, p.Number) }
func (b *bench) PacketLost(p *Packet)  { b.lost = append(b.lost, p.Number) }

func (b *bench) sleep(d time.Duration) { b.now = b.now.Add(d) }

// send sends one packet that elicits an ACK and returns its number.
func (b *bench) send(space wire.Space, size int) uint64 {
	p := b.NewPacket()
	p.Number, p.Space, p.Size, p.AckEliciting = b.next[space], space, size, true
	b.next[space]++
	b.Sent(b.now, p)
	return p.Number
}

// leaveOut leaves a number out in the application's space.
func (b *bench) leaveOut() {
	b.LeftOut(wire.SpaceApp, b.next[wire.SpaceApp])
	b.next[wire.SpaceApp]++
}

// sendN sends n packets of 1200 bytes in the application's space.
func (b *bench) sendN(n int) {
	for range n {
		b.send(wire.SpaceApp, SmallPacket)
	}
}

// ack acknowledges low to high in the application's space.
func (b *bench) ack(low, high uint64) {
	b.t.Helper()
	if err := b.Acked(b.now, wire.SpaceApp, []wire.AckRange{{Low: low, High: high}}, 0, b); err != nil {
		b.t.Fatal(err)
	}
}

// measure gives the path a round-trip time.
func (b *bench) measure(rtt time.Duration) {
	b.t.Helper()
	n := b.send(wire.SpaceApp, SmallPacket)
	b.sleep(rtt)
	b.ack(n, n)
	b.acked = nil
}

func (b *bench) wantDeadline(what string, want time.Duration) {
	b.t.Helper()
	got := b.Deadline()
	if want == 0 {
		if !got.IsZero() {
			b.t.Errorf("%s: deadline in %v, want none", what, got.Sub(b.now))
		}
		return
	}
	if got.IsZero() || got.Sub(b.now) != want {
		b.t.Errorf("%s: deadline in %v, want %v", what, got.Sub(b.now), want)
	}
}

// seeds is how many seeds a long simulation runs: few, or WEFT_SEEDS up to ten times that.
func seeds(few int) int {
	if n, err := strconv.Atoi(os.Getenv("WEFT_SEEDS")); err == nil {
		return min(n, 10*few)
	}
	return few
}
