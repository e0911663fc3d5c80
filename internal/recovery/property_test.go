package recovery

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/times"
	"github.com/weftnet/weft/internal/wire"
)

// A chaos drives a Detector with random calls and keeps book of every packet.
type chaos struct {
	t *testing.T
	*Detector
	seed    uint64
	rng     *rand.Rand
	now     time.Time
	next    [wire.NumSpaces]uint64
	dropped [wire.NumSpaces]bool
	paths   []*Path          // some that were used
	fate    map[packetID]int // ended; sent ones that did not end yet have 0
}

type packetID struct {
	space  wire.Space
	number uint64
}

func (c *chaos) PacketAcked(p *Packet) { c.end(p) }
func (c *chaos) PacketLost(p *Packet)  { c.end(p) }

func (c *chaos) end(p *Packet) {
	id := packetID{p.Space, p.Number}
	if c.fate[id]++; c.fate[id] > 1 || c.dropped[p.Space] || len(p.Frames) != 1 || p.Frames[0].Off != p.Number {
		c.t.Fatalf("seed %d: packet %v ended wrongly: %+v", c.seed, id, p)
	}
}

func (c *chaos) space() wire.Space { return wire.Space(c.rng.IntN(int(wire.NumSpaces))) }

func (c *chaos) send(space wire.Space) {
	if c.dropped[space] {
		return
	}
	p := c.NewPacket()
	if len(p.Frames) != 0 || p.InFlight || p.AckEliciting {
		c.t.Fatalf("seed %d: a new packet is not empty: %+v", c.seed, p)
	}
	p.Number, p.Space, p.Size = c.next[space], space, 1+c.rng.IntN(65535)
	p.AckEliciting = c.rng.IntN(4) > 0
	p.InFlight = p.AckEliciting || c.rng.IntN(4) == 0
	p.Frames = append(p.Frames, wire.SentFrame{Off: p.Number})
	c.next[space]++
	c.fate[packetID{space, p.Number}] = 0
	c.Sent(c.now, p)
}

func (c *chaos) ack(space wire.Space) {
	var ranges []wire.AckRange
	for top := c.next[space]; top > 0 && len(ranges) < 8; {
		high := top - 1 - min(top-1, uint64(c.rng.IntN(6)))
		low := high - min(high, uint64(c.rng.IntN(6)))
		ranges = append(ranges, wire.AckRange{Low: low, High: high})
		top = low - min(low, 1)
	}
	if err := c.Acked(c.now, space, ranges, time.Duration(c.rng.Int64N(int64(time.Second))), c); err != nil {
		c.t.Fatalf("seed %d: %v", c.seed, err)
	}
}

func (c *chaos) step() {
	c.now = c.now.Add(time.Duration(c.rng.Int64N(int64(20 * time.Millisecond))))
	switch c.rng.IntN(40) {
	case 0:
		if len(c.paths) == 3 {
			c.Use(c.now, c.paths[c.rng.IntN(3)])
			break
		}
		c.paths = append(c.paths, c.Path)
		c.PathChanged(c.now, 1200+c.rng.IntN(64336))
	case 1:
		c.SetMaxPacket(1200 + c.rng.IntN(64336))
	case 2:
		c.PeerAlive(c.now)
	case 3:
		c.AppLimited()
	case 4:
		if space := c.space(); space != wire.SpaceApp {
			c.dropped[space] = true
			c.DropSpace(space)
		}
	case 5:
		c.HandshakeConfirmed()
	case 6, 7, 8, 9:
		c.expire()
	case 10, 11, 12, 13, 14, 15:
		c.ack(c.space())
	default:
		if ok, when := c.CanSend(c.now, 1200); !ok && !when.IsZero() && !when.After(c.now) {
			c.t.Fatalf("seed %d: paced until a time that is not later", c.seed)
		}
		c.send(c.space())
	}
	if c.InFlight() < 0 || c.Window() <= 0 || c.Window() > maxWindow {
		c.t.Fatalf("seed %d: %d in flight, window %d", c.seed, c.InFlight(), c.Window())
	}
}

// expire waits for the deadline and checks that it then moves on, after losses
// by time and at most one probe timeout.
func (c *chaos) expire() {
	c.now = times.Later(c.now, c.Deadline())
	before := c.PTOCount()
	for range 1 + int(wire.NumSpaces) {
		if d := c.Deadline(); d.IsZero() || d.After(c.now) {
			break
		}
		c.Expired(c.now, c)
	}
	if d := c.Deadline(); !d.IsZero() && !d.After(c.now) || c.PTOCount() > before+1 {
		c.t.Fatalf("seed %d: the deadline does not move on", c.seed)
	}
}

// finish lets the peer acknowledge everything, and checks that nothing is left.
func (c *chaos) finish() {
	for space := range wire.NumSpaces {
		if n := c.next[space]; n > 0 {
			c.now = c.now.Add(time.Millisecond)
			if err := c.Acked(c.now, space, []wire.AckRange{{Low: 0, High: n - 1}}, 0, c); err != nil {
				c.t.Fatalf("seed %d: %v", c.seed, err)
			}
		}
	}
	for id, n := range c.fate {
		if n != 1 && !c.dropped[id.space] {
			c.t.Fatalf("seed %d: packet %v ended %d times", c.seed, id, n)
		}
	}
	for _, p := range c.paths {
		if p.InFlight() != 0 {
			c.t.Fatalf("seed %d: %d bytes in flight on a path at the end", c.seed, p.InFlight())
		}
	}
	if c.InFlight() != 0 {
		c.t.Fatalf("seed %d: %d bytes in flight at the end", c.seed, c.InFlight())
	}
	c.HandshakeConfirmed()
	if d := c.Deadline(); !d.IsZero() {
		c.t.Fatalf("seed %d: a deadline is left", c.seed)
	}
}

func TestEveryPacketEndsExactlyOnce(t *testing.T) {
	for seed := range uint64(3000) {
		c := &chaos{
			t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 2)), now: epoch, fate: map[packetID]int{},
		}
		cfg := Config{Client: seed%2 == 0}
		if seed%3 == 0 {
			cfg.NewController = NewReno
		}
		c.Detector = New(cfg, 1200)
		for range 100 {
			c.step()
		}
		c.finish()
	}
}

// The same for simulated paths, which end by themselves.
func TestEveryTransferEnds(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 3))
		link := bottleneck{
			rate:     (1 + 1000*rng.Float64()) * mbit,
			delay:    time.Duration(rng.Int64N(int64(200 * ms))),
			queue:    10_000 + rng.IntN(1_000_000),
			loss:     0.3 * rng.Float64(),
			reorder:  0.1 * rng.Float64(),
			lateness: time.Duration(rng.Int64N(int64(50 * ms))),
			size:     1200 + rng.IntN(64000),
			seed:     seed,
		}
		s := newSim(Config{}, link, 1+rng.IntN(100))
		s.run(epoch.Add(time.Hour))
		if s.checkDone(t); t.Failed() {
			t.Fatalf("seed %d: %+v, %+v", seed, link, s.Stats())
		}
	}
}

func FuzzAck(f *testing.F) {
	f.Add(uint64(1), uint64(2), uint64(5), uint64(9), int64(time.Second))
	f.Add(uint64(9), uint64(3), uint64(7), uint64(0), int64(-1))
	f.Fuzz(func(t *testing.T, low1, high1, low2, high2 uint64, delay int64) {
		b := newBench(t, Config{}, 1200)
		b.sendN(10)
		b.sleep(10 * ms)
		ranges := []wire.AckRange{{Low: low1, High: high1}, {Low: low2, High: high2}}
		if err := b.Acked(b.now, wire.SpaceApp, ranges, time.Duration(delay), b); err != nil {
			return
		}
		b.sleep(time.Second)
		b.Expired(b.now, b)
		b.ack(0, 9)
		if b.InFlight() != 0 || len(b.acked)+len(b.lost) != 10 {
			t.Errorf("%d in flight, acked %v, lost %v", b.InFlight(), b.acked, b.lost)
		}
	})
}
