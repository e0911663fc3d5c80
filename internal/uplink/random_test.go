package uplink

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/control"
)

// Whatever happens to relays, a while later the node is registered at one that
// lives, with the newest of all its registrations there, and has one spare.
func TestRandomFatesOfRelays(t *testing.T) {
	seeds := 30
	if n, err := strconv.Atoi(os.Getenv("WEFT_SEEDS")); err == nil {
		seeds = n
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFates(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func testFates(t *testing.T, rnd *rand.Rand) {
	const relayCount = 6
	cfg, relays := fleet(relayCount)
	cfg.Relays = cfg.Relays[:1+rnd.IntN(3)]
	cfg.Memory = new(memory)
	all := make([]*fakeRelay, relayCount)
	for i := range all {
		all[i] = relays[relayAddr(i+1)]
		all[i].delay = upTo(rnd, 100*time.Millisecond)
	}
	s, _ := newTestSet(t, cfg, relays)
	mustReady(t, s)
	tellAll(all)
	for range 30 {
		for range 1 + rnd.IntN(8) {
			strike(rnd, all)
			time.Sleep(upTo(rnd, 2*time.Second))
		}
		revive(all[rnd.IntN(len(cfg.Relays))]) // one of those that are always known
		time.Sleep(30 * time.Second)
		synctest.Wait()
		tellAll(all)
		time.Sleep(90 * time.Second)
		synctest.Wait()
		checkFleet(t, s, all)
	}
}

// strike does something to one of the relays.
func strike(rnd *rand.Rand, all []*fakeRelay) {
	r := all[rnd.IntN(len(all))]
	switch rnd.IntN(6) {
	case 0, 1:
		r.crash()
	case 2:
		revive(r)
	case 3:
		r.set(func(r *fakeRelay) { r.delay = upTo(rnd, 100*time.Millisecond) })
	case 4:
		r.set(func(r *fakeRelay) { r.failures = append(r.failures, errors.New("not now")) })
	case 5:
		var server *control.Server
		r.set(func(r *fakeRelay) {
			if n := len(r.servers); n > 0 && r.down == nil {
				server = r.servers[n-1]
			}
		})
		if server != nil {
			server.Push(&control.GoingAway{})
		}
	}
}

func revive(r *fakeRelay) { r.set(func(r *fakeRelay) { r.down, r.failures = nil, nil }) }

// tellAll has all relays that live tell of all others.
func tellAll(all []*fakeRelay) {
	for _, r := range all {
		if r.alive() && r.linked() > 0 {
			r.tell(all...)
		}
	}
}

func (r *fakeRelay) alive() (yes bool) {
	r.set(func(r *fakeRelay) { yes = r.down == nil })
	return yes
}

func checkFleet(t *testing.T, s *Set, all []*fakeRelay) {
	t.Helper()
	alive, linked := 0, 0
	var newest uint64
	var at *fakeRelay
	for _, r := range all {
		if r.alive() {
			alive++
		}
		linked += r.linked()
		if _, seq := r.listings(); seq > newest {
			newest, at = seq, r
		}
	}
	home, up := s.Home()
	if !up || home.Relay.ID != at.id() || !at.alive() {
		t.Fatalf("home is %+v, up %v; the newest registration is at %v, alive %v", home, up, at.id(), at.alive())
	}
	if want := min(alive, wanted); linked != want {
		t.Fatalf("%d links, want %d with %d relays alive: %+v", linked, want, alive, s.Status())
	}
}

func upTo(rnd *rand.Rand, d time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(d))) }
