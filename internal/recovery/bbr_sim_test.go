package recovery

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// seededBBR is NewBBR without chance.
func seededBBR(seed uint64) func(int) Controller {
	return func(maxPacket int) Controller {
		c := NewBBR(maxPacket).(*bbr)
		c.rng.Seed(seed, 1)
		return c
	}
}

// far is 100 Mbit/s and 50 ms with a queue of one bandwidth-delay product, and
// a receiver that acknowledges as a session does.
func far(seed uint64) bottleneck {
	return bottleneck{rate: 100 * mbit, delay: 25 * ms, queue: 625_000, size: 1400, ackEvery: 8, seed: seed}
}

// rtt is the round trip of an empty path.
func (b bottleneck) rtt() time.Duration { return 2 * b.delay }

// bdp is the bandwidth-delay product in bytes.
func (b bottleneck) bdp() float64 { return b.rate * b.rtt().Seconds() }

func median(waits []time.Duration) time.Duration {
	w := slices.Clone(waits)
	slices.Sort(w)
	return w[len(w)/2]
}

// bbrOf returns the controller of a flow.
func bbrOf(s *sim) *bbr { return s.cc.(*bbr) }

func TestBBRUsesThePath(t *testing.T) {
	with := func(change func(*bottleneck)) func(uint64) bottleneck {
		return func(seed uint64) bottleneck {
			b := far(seed)
			change(&b)
			return b
		}
	}
	large := func(seed uint64) bottleneck {
		return bottleneck{rate: 500 * mbit, delay: 50 * ms, queue: 6_250_000, size: 1400, ackEvery: 8, loss: 0.001, seed: seed}
	}
	slow := func(seed uint64) bottleneck {
		return bottleneck{rate: 8000, delay: 100 * ms, queue: 16_000, size: 1200, ackEvery: 8, seed: seed}
	}
	tests := []struct {
		name   string
		link   func(seed uint64) bottleneck
		from   time.Duration
		length time.Duration
		want   float64       // least share of the link that is used
		wait   time.Duration // longest median wait in the queue
		lost   float64       // highest share that finds the queue full
	}{
		{"from the start", far, 0, 10 * time.Second, 0.95, 25 * ms, 0.01},
		{"1 % lost", with(func(b *bottleneck) { b.loss = 0.01 }), 3 * time.Second, 10 * time.Second, 0.9, 25 * ms, 0.01},
		{"0.1 % of 500 Mbit/s lost, 100 ms", large, 2 * time.Second, 3 * time.Second, 0.95, 50 * ms, 0.01},
		{"queue of a tenth", with(func(b *bottleneck) { b.queue /= 10 }), 3 * time.Second, 10 * time.Second, 0.85, 2 * ms, 0.03},
		{"queue of ten times", with(func(b *bottleneck) { b.queue *= 10 }), 3 * time.Second, 5 * time.Second, 0.95, 25 * ms, 0.001},
		{"2 % late by 10 ms", with(func(b *bottleneck) { b.reorder, b.lateness = 0.02, 10*ms }), 3 * time.Second, 10 * time.Second, 0.9, 25 * ms, 0.01},
		{"jumbo packets", with(func(b *bottleneck) { b.size = 9000 }), 3 * time.Second, 10 * time.Second, 0.95, 25 * ms, 0.01},
		{"64 kbit/s, 200 ms", slow, 5 * time.Second, time.Minute, 0.98, time.Second, 0.03}, // four packets take 600 ms
	}
	for _, tt := range tests {
		for seed := range uint64(seeds(1)) {
			t.Run(fmt.Sprintf("%s/%d", tt.name, seed), func(t *testing.T) {
				link := tt.link(seed)
				s := newSim(Config{NewController: seededBBR(seed)}, link, -1)
				s.run(epoch.Add(tt.from))
				got, waits, dropped, sent := s.got, len(s.waits), s.dropped, s.next
				s.run(epoch.Add(tt.from + tt.length))
				if s.err != nil {
					t.Fatal(s.err)
				}
				used, wait := s.utilisation(got, tt.length), median(s.waits[waits:])
				lost := float64(s.dropped-dropped) / float64(s.next-sent)
				t.Logf("%.3f used, median wait %v, %.2f %% dropped, %+v", used, wait, 100*lost, s.Stats())
				if usable := 1 - link.loss; used < tt.want*usable {
					t.Errorf("%.3f of the link used, want %.2f", used, tt.want*usable)
				}
				if wait > tt.wait {
					t.Errorf("packets wait %v, want at most %v", wait, tt.wait)
				}
				if lost > tt.lost {
					t.Errorf("%.2f %% found the queue full, want at most %.2f", 100*lost, 100*tt.lost)
				}
			})
		}
	}
}

func TestBBRSharesALink(t *testing.T) {
	tests := []struct {
		name          string
		first, second func(seed uint64) func(int) Controller
		queue         float64 // bandwidth-delay products
		low, high     float64 // share of the first
	}{
		{"two", seededBBR, seededBBR, 1, 0.35, 0.65},
		{"CUBIC comes", seededBBR, seededCUBIC, 1, 0.25, 0.75},
		{"CUBIC is there", seededCUBIC, seededBBR, 1, 0.25, 0.75},
		{"CUBIC comes, deep queue", seededBBR, seededCUBIC, 4, 0.25, 0.75},
	}
	for _, tt := range tests {
		if tt.queue > 1 && testing.Short() {
			continue
		}
		for seed := range uint64(seeds(1)) {
			t.Run(fmt.Sprintf("%s/%d", tt.name, seed), func(t *testing.T) {
				const settled, measured = 20 * time.Second, 10 * time.Second
				link := far(seed)
				link.queue = int(tt.queue * link.bdp())
				w := newWorld(link)
				a := newFlow(w, Config{NewController: tt.first(seed)}, -1)
				w.run(epoch.Add(2 * time.Second))
				b := newFlow(w, Config{NewController: tt.second(seed + 100)}, -1)
				w.run(epoch.Add(settled))
				gotA, gotB := a.got, b.got
				w.run(epoch.Add(settled + measured))
				x, y := a.utilisation(gotA, measured), b.utilisation(gotB, measured)
				t.Logf("%.2f and %.2f of the link", x, y)
				if share := x / (x + y); share < tt.low || share > tt.high {
					t.Errorf("the first has %.2f, want %.2f to %.2f", share, tt.low, tt.high)
				}
				if x+y < 0.9 {
					t.Errorf("both use %.2f of the link", x+y)
				}
			})
		}
	}
}

func seededCUBIC(uint64) func(int) Controller { return NewCUBIC }

func TestBBRFollowsTheRate(t *testing.T) {
	for seed := range uint64(seeds(1)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newSim(Config{NewController: seededBBR(seed)}, far(seed), -1)
			now := epoch
			measure := func(wait time.Duration, rate, want float64) {
				t.Helper()
				s.setRate(rate)
				now = now.Add(wait)
				s.run(now)
				got, dropped, sent := s.got, s.dropped, s.next
				now = now.Add(5 * time.Second)
				s.run(now)
				used := s.utilisation(got, 5*time.Second)
				lost := float64(s.dropped-dropped) / float64(s.next-sent)
				t.Logf("%.0f Mbit/s: %.3f used, %.2f %% dropped", rate/mbit, used, 100*lost)
				if used < want || lost > 0.03 {
					t.Errorf("%.3f used and %.2f %% dropped %v after the change, want %.2f", used, 100*lost, wait, want)
				}
			}
			measure(3*time.Second, 100*mbit, 0.95)
			measure(20*time.Second, 10*mbit, 0.9) // the estimate lasts for two probes
			measure(10*time.Second, 100*mbit, 0.9)
		})
	}
}

func TestBBRComesBackAfterAnOutage(t *testing.T) {
	s := newSim(Config{NewController: seededBBR(1)}, far(1), -1)
	s.run(epoch.Add(3 * time.Second))
	s.link.down = true
	s.run(epoch.Add(13 * time.Second))
	s.link.down = false
	s.run(epoch.Add(20 * time.Second)) // probes come every five seconds
	got := s.got
	s.run(epoch.Add(25 * time.Second))
	if used := s.utilisation(got, 5*time.Second); used < 0.9 {
		t.Errorf("%.3f of the link used after the outage", used)
	}
}

// Requests of 200 kB, two a second, use a thirtieth of the link.
func TestBBRKeepsItsEstimateWhileTheApplicationIdles(t *testing.T) {
	s := newSim(Config{NewController: seededBBR(1)}, far(1), -1)
	s.run(epoch.Add(3 * time.Second))
	s.backlog = 0
	var ask func()
	ask = func() {
		if s.backlog == 0 {
			s.backlog = 143
			s.after(500*ms, ask)
		}
	}
	s.after(time.Second, ask)
	s.run(epoch.Add(time.Minute))
	c := bbrOf(s)
	if c.maxBW < 0.95*s.link.rate {
		t.Errorf("the estimate fell to %.2f of the link", c.maxBW/s.link.rate)
	}
	got := s.got
	s.backlog = -1
	s.run(epoch.Add(time.Minute + time.Second))
	if used := s.utilisation(got, time.Second); used < 0.85 {
		t.Errorf("%.3f of the link used in the first second with enough to send", used)
	}
}
