package recovery

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/times"
	"github.com/weftnet/weft/internal/wire"
)

// A bottleneck is a simulated path: packets queue for a link of limited rate,
// then travel; some are lost or late. ACKs come back without loss unless told.
type bottleneck struct {
	rate     float64       // bytes a second
	delay    time.Duration // one way
	queue    int           // bytes that may wait for the link
	loss     float64       // share of packets lost on the way, both ways
	reorder  float64       // share of packets that are late
	lateness time.Duration // by how much
	size     int           // packet
	ackEvery int           // packets that an ACK waits for; zero: two
	down     bool          // everything is lost
	seed     uint64
}

// An event is something that happens in a simulation at a time.
type event struct {
	at    time.Time
	order int // first come, first served among equal times
	do    func()
}

type agenda []event

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if a[i].at.Equal(a[j].at) {
		return a[i].order < a[j].order
	}
	return a[i].at.Before(a[j].at)
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(event)) }
func (a *agenda) Pop() any {
	old := *a
	e := old[len(old)-1]
	*a = old[:len(old)-1]
	return e
}

// A world is a bottleneck that flows share.
type world struct {
	link    bottleneck
	rng     *rand.Rand
	now     time.Time
	agenda  agenda
	order   int
	free    time.Time // when the link has sent what is queued
	flows   []*sim
	waits   []time.Duration // of each packet in the queue
	dropped int             // packets that found the queue full
}

// A sim is a flow: it drives one Detector that sends as fast as it may to a
// receiver that acknowledges every few packets, or after 25 ms.
type sim struct {
	*Detector
	*world
	next     uint64
	backlog  int // packets the application still wants to send; negative: without end
	resend   int
	received []wire.AckRange // descending
	unacked  int             // received since the last ACK was sent
	got      uint64          // distinct packets received
	fates    []int           // by packet number: how often it was acked or lost
	wake     time.Time       // pacing
	err      error           // of Acked; ends the simulation
}

func newSim(cfg Config, link bottleneck, backlog int) *sim {
	return newFlow(newWorld(link), cfg, backlog)
}

func newWorld(link bottleneck) *world {
	return &world{link: link, rng: rand.New(rand.NewPCG(link.seed, 1)), now: epoch, free: epoch}
}

// newFlow adds a flow that begins now.
func newFlow(w *world, cfg Config, backlog int) *sim {
	s := &sim{Detector: New(cfg, w.link.size), world: w, backlog: backlog}
	s.HandshakeConfirmed()
	w.flows = append(w.flows, s)
	return s
}

func (w *world) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.agenda, event{w.now.Add(d), w.order, do})
}

// setRate changes the rate of the link for what is queued, too.
func (w *world) setRate(rate float64) {
	if w.free.After(w.now) {
		w.free = w.now.Add(time.Duration(float64(w.free.Sub(w.now)) * w.link.rate / rate))
	}
	w.link.rate = rate
}

func (s *sim) PacketAcked(p *Packet) { s.fates[p.Number]++ }
func (s *sim) PacketLost(p *Packet)  { s.fates[p.Number]++; s.resend++ }

// run simulates until the given time or until nothing happens any more.
func (w *world) run(until time.Time) {
	for _, s := range w.flows {
		s.pump()
	}
	for {
		next := until
		if len(w.agenda) > 0 {
			next = times.Earliest(next, w.agenda[0].at)
		}
		idle := len(w.agenda) == 0
		for _, s := range w.flows {
			if s.err != nil {
				return
			}
			if due := times.Earliest(s.Deadline(), s.wake); !due.IsZero() {
				next, idle = times.Earliest(next, due), false
			}
		}
		if idle || !next.Before(until) {
			return
		}
		w.now = times.Later(w.now, next)
		if len(w.agenda) > 0 && !w.agenda[0].at.After(w.now) {
			heap.Pop(&w.agenda).(event).do()
		}
		for _, s := range w.flows {
			s.turn()
		}
	}
}

// turn does what is due.
func (s *sim) turn() {
	if d := s.Deadline(); !d.IsZero() && !d.After(s.now) {
		_, probes := s.Expired(s.now, s)
		for range probes {
			s.sendOne(min(s.link.size, SmallPacket))
		}
	}
	s.pump()
}

// pump sends what may be sent.
func (s *sim) pump() {
	s.wake = time.Time{}
	for s.resend > 0 || s.backlog != 0 {
		ok, when := s.CanSend(s.now, s.link.size)
		if !ok {
			s.wake = when
			return
		}
		if s.resend > 0 {
			s.resend--
		} else if s.backlog > 0 {
			s.backlog--
		}
		s.sendOne(s.link.size)
	}
	s.AppLimited()
}

func (s *sim) sendOne(size int) {
	p := s.NewPacket()
	p.Number, p.Space, p.Size, p.AckEliciting = s.next, wire.SpaceApp, size, true
	s.next++
	s.fates = append(s.fates, 0)
	number := p.Number
	s.Sent(s.now, p)
	prompt := s.InFlight()+size > s.Window() // asks for an ACK at once

	s.free = times.Later(s.free, s.now)
	wait := s.free.Sub(s.now)
	if lost := s.rng.Float64() < s.link.loss; lost || s.link.down {
		return
	}
	if wait.Seconds()*s.link.rate > float64(s.link.queue) {
		s.dropped++
		return
	}
	s.waits = append(s.waits, wait)
	s.free = s.free.Add(time.Duration(float64(size) / s.link.rate * 1e9))
	travel := s.free.Sub(s.now) + s.link.delay
	if s.rng.Float64() < s.link.reorder {
		travel += s.link.lateness
	}
	s.after(travel, func() { s.arrive(number, prompt) })
}

// arrive is the receiver's side of a packet.
func (s *sim) arrive(number uint64, prompt bool) {
	s.got++
	inOrder := len(s.received) == 0 || number == s.received[0].High+1
	i := 0
	for i < len(s.received) && s.received[i].Low > number {
		i++
	}
	s.received = slices.Insert(s.received, i, wire.AckRange{Low: number, High: number})
	if i+1 < len(s.received) && s.received[i+1].High+1 == number {
		s.received[i].Low = s.received[i+1].Low
		s.received = slices.Delete(s.received, i+1, i+2)
	}
	if i > 0 && s.received[i-1].Low == number+1 {
		s.received[i-1].Low = s.received[i].Low
		s.received = slices.Delete(s.received, i, i+1)
	}
	s.received = s.received[:min(len(s.received), 32)]
	if s.unacked++; s.unacked == 1 {
		s.after(defaultAckWait, func() { s.sendAck(defaultAckWait) })
	}
	if s.unacked >= max(s.link.ackEvery, 2) || !inOrder || prompt {
		s.sendAck(0)
	}
}

func (s *sim) sendAck(waited time.Duration) {
	if s.unacked == 0 {
		return
	}
	s.unacked = 0
	if s.rng.Float64() < s.link.loss || s.link.down {
		return
	}
	ranges := slices.Clone(s.received)
	s.after(s.link.delay, func() {
		if err := s.Acked(s.now, wire.SpaceApp, ranges, waited, s); err != nil {
			s.err = err
		}
	})
}

// utilisation is the share of the link that arrived since a moment at which before packets had.
func (s *sim) utilisation(before uint64, d time.Duration) float64 {
	return float64(s.got-before) * float64(s.link.size) / (s.link.rate * d.Seconds())
}

const mbit = 1e6 / 8

func TestBottleneckIsUsed(t *testing.T) {
	tests := []struct {
		name string
		link bottleneck
		want float64 // least utilisation after the warm-up
		both bool    // with NewReno too
	}{
		{"100 Mbit/s, 50 ms", bottleneck{rate: 100 * mbit, delay: 25 * ms, queue: 625_000, size: 1200}, 0.90, true},
		{"100 Mbit/s, 50 ms, jumbo", bottleneck{rate: 100 * mbit, delay: 25 * ms, queue: 625_000, size: 8900}, 0.90, false},
		{"25 Mbit/s, 50 ms, shallow queue", bottleneck{rate: 25 * mbit, delay: 25 * ms, queue: 30_000, size: 1200}, 0.75, false},
		{"1 Gbit/s, 10 ms, 64 KiB packets", bottleneck{rate: 1000 * mbit, delay: 5 * ms, queue: 4 << 20, size: 65000}, 0.90, false},
		{"10 Mbit/s, 200 ms", bottleneck{rate: 10 * mbit, delay: 100 * ms, queue: 250_000, size: 1200}, 0.90, false},
		{"25 Mbit/s, 50 ms, 2 % late by 3 ms", bottleneck{rate: 25 * mbit, delay: 25 * ms, queue: 156_000, size: 1200, reorder: 0.02, lateness: 3 * ms}, 0.85, false},
		{"1 % lost", bottleneck{rate: 100 * mbit, delay: 25 * ms, queue: 625_000, size: 1200, loss: 0.01}, 0.01, true},
	}
	for _, tt := range tests {
		for name, newController := range controllers {
			if name == "NewReno" && !tt.both {
				continue
			}
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				const warmUp, measured = 3 * time.Second, 3 * time.Second
				s := newSim(Config{NewController: newController}, tt.link, -1)
				s.run(epoch.Add(warmUp))
				warm := s.got
				s.run(epoch.Add(warmUp + measured))
				if s.err != nil {
					t.Fatal(s.err)
				}
				got := s.utilisation(warm, measured)
				t.Logf("%.1f %% used (%.1f %% while warming up), srtt %v, window %d kB, %+v", 100*got,
					100*s.utilisation(s.got-warm, warmUp), s.SmoothedRTT().Round(ms), s.Window()/1000, s.Stats())
				if got < tt.want {
					t.Errorf("%.1f %% of the link used, want %.0f %%", 100*got, 100*tt.want)
				}
				if got > 1.01 {
					t.Errorf("%.1f %% of the link used, the simulation is wrong", 100*got)
				}
			})
		}
	}
}

func TestHeavyLossNeverDeadlocks(t *testing.T) {
	for seed := range uint64(10) {
		for _, size := range []int{1200, 65000} {
			t.Run(fmt.Sprintf("seed %d, %d bytes", seed, size), func(t *testing.T) {
				s := newSim(Config{}, bottleneck{
					rate: 100 * mbit, delay: 10 * ms, queue: 1 << 20, size: size, loss: 0.2, seed: seed,
				}, 300)
				s.run(epoch.Add(10 * time.Minute))
				s.checkDone(t)
				if took := s.now.Sub(epoch); took > 2*time.Minute {
					t.Errorf("300 packets took %v", took)
				}
			})
		}
	}
}

// checkDone checks that every packet had exactly one fate.
func (s *sim) checkDone(t *testing.T) {
	t.Helper()
	if s.err != nil {
		t.Fatal(s.err)
	}
	if s.backlog != 0 || s.resend != 0 {
		t.Errorf("%d packets were never sent, %d not sent again", s.backlog, s.resend)
	}
	for number, n := range s.fates {
		if n != 1 {
			t.Fatalf("packet %d was acknowledged or lost %d times, want once", number, n)
		}
	}
	if s.InFlight() != 0 {
		t.Errorf("%d bytes in flight at the end", s.InFlight())
	}
	if d := s.Deadline(); !d.IsZero() {
		t.Errorf("a deadline is left in %v", d.Sub(s.now))
	}
}
