package uplink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
)

// relayAddr is the address of the n-th relay in tests with several, each on a
// host of its own.
func relayAddr(n int) string { return fmt.Sprintf("tcp://192.0.2.%d:9999", n) }

// fleet makes relays 1 to n, and the config of a node that has their addresses.
// delays are their round trips.
func fleet(n int, delays ...time.Duration) (Config, map[string]*fakeRelay) {
	var cfg Config
	relays := make(map[string]*fakeRelay)
	for i := 1; i <= n; i++ {
		r := newFakeRelay(byte(i))
		if i <= len(delays) {
			r.delay = delays[i-1]
		}
		relays[relayAddr(i)] = r
		cfg.Relays = append(cfg.Relays, relayAddr(i))
	}
	return cfg, relays
}

// linked counts the relay's links that are up.
func (r *fakeRelay) linked() (n int) {
	r.set(func(r *fakeRelay) {
		for _, p := range r.links {
			if p.Err() == nil {
				n++
			}
		}
	})
	return n
}

// listings returns how often the node registered, and the version of the last.
func (r *fakeRelay) listings() (n int, seq uint64) {
	r.set(func(r *fakeRelay) {
		if n = len(r.registered); n > 0 {
			seq = r.registered[n-1].Seq
		}
	})
	return n, seq
}

// crash makes the relay unreachable and breaks its links.
func (r *fakeRelay) crash() {
	var links []*fakePort
	r.set(func(r *fakeRelay) {
		r.down = errors.New("connection refused")
		links = slices.Clone(r.links)
	})
	for _, p := range links {
		p.fail(errors.New("reset by peer"))
	}
}

// wantHome checks where the node is registered.
func wantHome(t *testing.T, s *Set, addr string) {
	t.Helper()
	synctest.Wait()
	if st, up := s.Home(); !up || st.Addr != addr || !st.Registered || !st.Home {
		t.Errorf("home is %+v, want %s", st, addr)
	}
}

// spareOf returns the one relay that is up besides home.
func spareOf(t *testing.T, s *Set) string {
	t.Helper()
	var spares []string
	for _, st := range s.Status() {
		if st.Phase == PhaseUp && !st.Home {
			spares = append(spares, st.Addr)
			if st.Registered || st.Err != nil {
				t.Errorf("spare is %+v", st)
			}
		}
	}
	if len(spares) != 1 {
		t.Fatalf("spares %v of %+v, want one", spares, s.Status())
	}
	return spares[0]
}

func TestNodeIsRegisteredAtOneRelayAndHasASpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays := fleet(6)
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		time.Sleep(time.Hour)
		synctest.Wait()
		linked, listed := 0, 0
		for _, r := range relays {
			n, _ := r.listings()
			linked, listed = linked+r.linked(), listed+n
		}
		if linked != 2 || listed != 1 {
			t.Errorf("%d links and %d registrations, want 2 and 1", linked, listed)
		}
		spareOf(t, s)
		unused := 0
		for _, st := range s.Status() {
			if st.Phase == PhaseUnused {
				unused++
			}
		}
		if unused != 4 {
			t.Errorf("%d relays are not in use, want 4: %+v", unused, s.Status())
		}
	})
}

func TestSpareTakesOverAtOnceWhenHomeDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays := fleet(3)
		s, c := newTestSet(t, cfg, relays)
		mustReady(t, s)
		time.Sleep(time.Minute)
		synctest.Wait()
		home, _ := s.Home()
		spare := spareOf(t, s)
		_, before := relays[home.Addr].listings()
		ups := c.ups
		relays[home.Addr].crash()
		wantHome(t, s, spare) // in no time
		if n, seq := relays[spare].listings(); n != 1 || seq <= before {
			t.Errorf("registered %d times at the spare, with sequence %d after %d", n, seq, before)
		}
		if c.preferred[len(c.preferred)-1] != relays[spare].id() || c.ups == ups {
			t.Errorf("frames go to %v, and sessions were told %d times", c.preferred, c.ups-ups)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if next := spareOf(t, s); next == home.Addr || next == spare {
			t.Errorf("the new spare is %s", next)
		}
	})
}

func TestRelayThatDrainsIsLeftOnceAnotherIsHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays := fleet(2)
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		time.Sleep(time.Minute)
		synctest.Wait()
		home, _ := s.Home()
		spare := spareOf(t, s)
		relays[spare].set(func(r *fakeRelay) { r.failures = []error{errors.New("not yet")} })
		relays[home.Addr].last().Push(&control.GoingAway{GraceMillis: 5000})
		synctest.Wait()
		if relays[home.Addr].linked() != 1 {
			t.Error("the relay was left before the node was registered elsewhere")
		}
		relays[home.Addr].set(func(r *fakeRelay) { r.down = errors.New("gone") })
		time.Sleep(time.Second)
		synctest.Wait()
		wantHome(t, s, spare)
		if relays[home.Addr].linked() != 0 || relays[home.Addr].pings == 0 {
			t.Error("the relay was not left with a word")
		}
	})
}

func TestNearerRelayBecomesHome(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name   string
		delays []time.Duration // 2 is there first
		want   int
	}{
		{"much nearer", []time.Duration{20 * ms, 100 * ms}, 1},
		{"a little", []time.Duration{90 * ms, 100 * ms}, 2},
		{"by a half, which is little", []time.Duration{4 * ms, 8 * ms}, 2},
		{"farther", []time.Duration{200 * ms, 100 * ms}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg, relays := fleet(2, test.delays...)
				first, second := relays[relayAddr(1)], relays[relayAddr(2)]
				first.down = errors.New("later")
				s, _ := newTestSet(t, cfg, relays)
				mustReady(t, s)
				wantHome(t, s, relayAddr(2))
				first.set(func(r *fakeRelay) { r.down = nil })
				time.Sleep(settleTime)
				synctest.Wait()
				wantHome(t, s, relayAddr(test.want))
				if first.linked() != 1 || second.linked() != 1 {
					t.Error("one of the relays is not in use any more")
				}
			})
		})
	}
}

func TestMovesToNearerRelaysAreRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays := fleet(2, 10*time.Millisecond, 20*time.Millisecond)
		var moves []time.Time
		cfg.OnEvent = func(e Event) {
			if e.Kind == EventMoved {
				moves = append(moves, e.Time)
			}
		}
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		for i := range 40 { // the other one is nearer, again and again
			near, far := relays[relayAddr(1+i%2)], relays[relayAddr(2-i%2)]
			near.set(func(r *fakeRelay) { r.delay = 10 * time.Millisecond })
			far.set(func(r *fakeRelay) { r.delay = time.Second })
			time.Sleep(3 * time.Minute) // until the better times before are forgotten
			synctest.Wait()
		}
		for i := range moves[1:] {
			if d := moves[i+1].Sub(moves[i]); i > 0 && d < moveEvery {
				t.Errorf("a move %v after the one before", d)
			}
		}
		if len(moves) < 30 {
			t.Errorf("%d moves, though the distances changed 40 times", len(moves))
		}
		for _, r := range relays {
			if r.pings > 2*3*60*40/30 {
				t.Errorf("%d pings in 2 hours, want one in 30 s at most", r.pings)
			}
		}
	})
}

func TestRegistrationIsRepeatedBeforeItsCertificateExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays := fleet(1)
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		time.Sleep(49 * time.Hour)
		synctest.Wait()
		if n, _ := relays[relayAddr(1)].listings(); n != 9 {
			t.Errorf("registered %d times in two days, want once in 6 h", n)
		}
	})
}

func TestLiveRelayAmongDeadOnesIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays := fleet(30)
		for i := 1; i < 30; i++ {
			relays[relayAddr(i)].down = errors.New("connection refused")
		}
		s, _ := newTestSet(t, cfg, relays)
		began := time.Now()
		mustReady(t, s)
		wantHome(t, s, relayAddr(30))
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("took %v", d)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		for addr, r := range relays {
			if n := len(r.dials); n > 3600 {
				t.Errorf("%s was dialled %d times in an hour", addr, n)
			}
		}
	})
}

func TestEventsTellWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays := fleet(2)
		var told []string
		var mu sync.Mutex
		cfg.OnEvent = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf("%d %s %s %v %d", e.Kind, e.Addr, e.From, e.Err, e.Dropped))
		}
		relays[relayAddr(2)].down = errors.New("later")
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		relays[relayAddr(2)].set(func(r *fakeRelay) { r.down = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		relays[relayAddr(1)].last().Push(&control.Throttled{Dropped: 3})
		synctest.Wait()
		relays[relayAddr(1)].last().Push(&control.Throttled{Dropped: 4})
		synctest.Wait()
		if st := s.Status()[0]; st.Throttled != 2 || st.Dropped != 4 {
			t.Errorf("throttled %d times, %d dropped", st.Throttled, st.Dropped)
		}
		relays[relayAddr(1)].crash()
		synctest.Wait()
		want := []string{
			"1 " + relayAddr(1) + "  <nil> 0",
			"3 " + relayAddr(1) + "  <nil> 0",
			"1 " + relayAddr(2) + "  <nil> 0",
			"5 " + relayAddr(1) + "  <nil> 3",
			"5 " + relayAddr(1) + "  <nil> 1",
			"2 " + relayAddr(1) + "  reset by peer 0",
			"3 " + relayAddr(2) + " " + relayAddr(1) + " <nil> 0",
		}
		slices.Sort(told) // the link's end and the move are told by different goroutines
		slices.Sort(want)
		if !slices.Equal(told, want) {
			t.Errorf("told\n%q, want\n%q", told, want)
		}
	})
}

func TestNodeIsToldThatAnotherKeyHasItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays := fleet(1)
		conflicts := 0
		cfg.OnEvent = func(e Event) {
			if failed, ok := errors.AsType[*control.Failed](e.Err); ok && e.Kind == EventConflict && failed.Code == control.FailureConflict {
				conflicts++
			}
		}
		relays[relayAddr(1)].failures = []error{&control.Failed{Code: control.FailureConflict}}
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		if conflicts != 1 {
			t.Errorf("told %d times", conflicts)
		}
	})
}

func TestRegistrationsAreSignedForTheirRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays := fleet(1)
		cfg.Sign = func(m *control.Register, relay identity.NodeID) error {
			if m.Epoch == 0 || relay != relays[relayAddr(1)].id() {
				return fmt.Errorf("asked to sign %+v for %v", m, relay)
			}
			m.Signature = make([]byte, identity.SignatureSize)
			return nil
		}
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		if m := relays[relayAddr(1)].registered[0]; len(m.Signature) == 0 {
			t.Error("the registration is not signed")
		}
	})
}

func TestCloseWhileAllKindsOfThingsHappen(t *testing.T) {
	for after := range 30 {
		synctest.Test(t, func(t *testing.T) {
			cfg, relays := fleet(8, 50*time.Millisecond, 10*time.Millisecond)
			s, _ := newTestSet(t, cfg, relays)
			for i := range 4 {
				go func() {
					time.Sleep(time.Duration(i) * time.Second)
					relays[relayAddr(1+i)].crash()
				}()
			}
			time.Sleep(time.Duration(after) * 333 * time.Millisecond)
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_ = s.WaitReady(ctx)
			began := time.Now()
			_ = s.Close()
			if d := time.Since(began); d > 0 {
				t.Errorf("closing took %v", d)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
		})
	}
}
