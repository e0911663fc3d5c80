package overlaytest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// A journal is what a lab's nodes tell about their paths to peers.
type journal struct {
	mu     sync.Mutex
	events map[string][]overlay.Event // by host
	began  time.Time
}

func newJournal() *journal {
	return &journal{events: make(map[string][]overlay.Event), began: time.Now()}
}

// of returns cfg with OnEvent.
func (j *journal) of(host string, cfg overlay.Config) overlay.Config {
	cfg.OnEvent = func(e overlay.Event) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.events[host] = append(j.events[host], e)
	}
	return cfg
}

// moves returns when packets of a host to any peer changed their path since a
// moment.
func (j *journal) moves(host string, since time.Time) (at []time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.events[host] {
		switch e.Kind {
		case overlay.EventPathUp, overlay.EventPathMoved, overlay.EventPathDown:
		default:
			continue
		}
		if !e.Time.Before(since) {
			at = append(at, e.Time)
		}
	}
	return at
}

// String is for failures.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []string
	for host, events := range j.events {
		for _, e := range events {
			all = append(all, fmt.Sprintf("%12v %s: %v", e.Time.Sub(j.began), host, e))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// peerStatus returns what a node says about a peer, false if there is no session.
func peerStatus(n, peer *overlay.Node) (overlay.PeerStatus, bool) {
	for p := range n.Peers() {
		if p.ID == peer.ID() {
			return p, true
		}
	}
	return overlay.PeerStatus{}, false
}

// direct returns the path that packets of a node to a peer take, false if that is
// a relay.
func direct(n, peer *overlay.Node) (overlay.PathStatus, bool) {
	p, _ := peerStatus(n, peer)
	for _, path := range p.Paths {
		if path.Active {
			return path, path.Direct
		}
	}
	return overlay.PathStatus{}, false
}

// bothDirect reports whether packets between two nodes take direct paths in both
// directions.
func bothDirect(a, b *overlay.Node) bool {
	_, there := direct(a, b)
	_, back := direct(b, a)
	return there && back
}

// paths is for failures.
func paths(nodes ...*overlay.Node) string {
	var b strings.Builder
	for _, n := range nodes {
		for _, peer := range nodes {
			if p, ok := peerStatus(n, peer); ok {
				fmt.Fprintf(&b, "%s to %s: %s\n", n.Name(), peer.Name(), p.Path)
				for _, path := range p.Paths {
					fmt.Fprintf(&b, "  %+v\n", path)
				}
			}
		}
	}
	return b.String()
}

// A duo is two nodes, a and b, each behind a NAT, that know the relays "relay" and
// "relay-2".
type duo struct {
	*Lab
	t       *testing.T
	journal *journal
	nats    [2]NAT
	a, b    *overlay.Node
}

// homes are the NATs of the two hosts of a duo.
var homes = [2]string{"nat-a", "nat-b"}

// newDuo starts one. cfg is for both nodes.
func newDuo(t *testing.T, l *Lab, nats [2]NAT, cfg overlay.Config) *duo {
	t.Helper()
	d := &duo{Lab: l, t: t, journal: newJournal(), nats: nats}
	l.Relay("relay-2", l.Relay("relay"))
	for i, name := range homes {
		l.NAT(name, nats[i])
	}
	l.Place("a", homes[0])
	l.Place("b", homes[1])
	d.a = l.Node("a", d.journal.of("a", cfg))
	d.b = l.Node("b", d.journal.of("b", cfg))
	return d
}

// settle lets the nodes find out about their NATs.
func (d *duo) settle() { time.Sleep(5 * time.Second) }

// far returns the impairments of a random geography, in which the direct way is
// at most as long as the one over the relays.
func far(l *Lab, rng *rand.Rand) {
	ms := func(from, to int) time.Duration { return time.Duration(from+rng.IntN(to-from+1)) * time.Millisecond }
	a, b := ms(3, 60), ms(3, 60)
	for _, relay := range []string{"relay", "relay-2"} {
		l.Impair("a", relay, Impairment{Latency: a})
		l.Impair("b", relay, Impairment{Latency: b})
	}
	l.Impair("relay", "relay-2", Impairment{Latency: ms(1, 10)})
	l.Impair("a", "b", Impairment{Latency: ms(1, int((a+b)/time.Millisecond))})
}

// relayTrip returns the round trip over the relays, by the impairments.
func (d *duo) relayTrip() time.Duration {
	d.Lab.mu.Lock()
	defer d.Lab.mu.Unlock()
	return 2 * (d.pairs[[2]string{"a", "relay"}].Latency + d.pairs[[2]string{"b", "relay"}].Latency)
}

// wantDirect waits until packets take direct paths in both directions, and
// returns how long that took.
func (d *duo) wantDirect(limit time.Duration) time.Duration {
	d.t.Helper()
	began := time.Now()
	for !bothDirect(d.a, d.b) {
		if time.Since(began) > limit {
			d.t.Errorf("no direct path after %v:\n%s\n%v", limit, paths(d.a, d.b), d.journal)
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(began)
}

// wantRelayed waits until packets go over the relay in both directions.
func (d *duo) wantRelayed(limit time.Duration) time.Duration {
	d.t.Helper()
	began := time.Now()
	for {
		_, there := direct(d.a, d.b)
		_, back := direct(d.b, d.a)
		if !there && !back {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			d.t.Errorf("still direct after %v:\n%s\n%v", limit, paths(d.a, d.b), d.journal)
			return limit
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// transfer sends bytes from one node to the other over a conn of its own, in each
// direction, and checks them. It returns the flows; done is closed when all is
// over.
func transfer(t *testing.T, from, to *overlay.Node, total int) (there, back *flow, done chan struct{}) {
	t.Helper()
	x, y := connect(t, from, to)
	there, back, done = newFlow(), newFlow(), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { there.pace(x, 30_000, 0, total, nil) })
	wg.Go(func() { back.pace(y, 30_000, 0, total, nil) })
	wg.Go(func() { there.take(y) })
	wg.Go(func() { back.take(x) })
	go func() {
		wg.Wait()
		_, _ = x.Close(), y.Close()
		close(done)
	}()
	return there, back, done
}

// arrives checks that all of a transfer does, within limit.
func arrives(t *testing.T, limit time.Duration, there, back *flow, done chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(limit):
		t.Errorf("a transfer is not over after %v: there %v; back %v", limit, there, back)
		return
	}
	for _, f := range []*flow{there, back} {
		if err := f.complete(); err != nil {
			t.Error(err)
		}
	}
}
