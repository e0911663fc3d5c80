package uplink

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
)

// one is the address of the relay in tests with one.
const one = "tcp://192.0.2.1:9999"

// mustReady waits until a relay is up and everything is at rest.
func mustReady(t *testing.T, s *Set) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func phases(s *Set) []Phase {
	var all []Phase
	for _, status := range s.Status() {
		all = append(all, status.Phase)
	}
	return all
}

func TestUplinkComesUpAndRegisters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeRelay(1)
		s, c := newTestSet(t, Config{
			Relays:       []string{one},
			Registration: func() control.Register { return control.Register{Names: []string{"kv-1"}} },
		}, map[string]*fakeRelay{one: r})
		start := time.Now()
		mustReady(t, s)
		if took := time.Since(start); took != 0 {
			t.Errorf("waited %v for nothing", took)
		}
		status, up := s.Home()
		if !up || status.Relay.ID != r.id() || status.ObservedAddr != "192.0.2.7:4000" || status.RelayName != "fake" || status.Err != nil {
			t.Errorf("status %+v", status)
		}
		if m := r.registered[0]; m.Names[0] != "kv-1" || m.Epoch == 0 || m.Seq != 1 {
			t.Errorf("registered %+v", m)
		}
		if c.ups != 1 {
			t.Errorf("sessions were told %d times that the path is up", c.ups)
		}
	})
}

func TestBrokenLinkIsReplacedAndTheSessionStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeRelay(1)
		s, c := newTestSet(t, Config{Relays: []string{one}}, map[string]*fakeRelay{one: r})
		mustReady(t, s)
		r.cut()
		synctest.Wait()
		if got := s.Status()[0]; got.Phase != PhaseWaiting || got.Err == nil || got.Next.IsZero() {
			t.Errorf("after the cut: %+v", got)
		}
		if _, err := s.Lookup(t.Context(), identity.Target{Name: "x"}); err == nil || !strings.Contains(err.Error(), "cut") {
			t.Errorf("lookup while down: %v", err)
		}
		mustReady(t, s)
		if len(r.sessions) != 1 || len(r.registered) != 2 || c.ups != 2 {
			t.Errorf("%d sessions, %d registrations, %d times up; want 1, 2, 2", len(r.sessions), len(r.registered), c.ups)
		}
		if a, b := r.registered[0], r.registered[1]; a.Epoch != b.Epoch || a.Seq >= b.Seq {
			t.Errorf("versions %+v, %+v", a, b)
		}
	})
}

func TestSessionThatEndsIsReplacedOnTheSameLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeRelay(1)
		s, _ := newTestSet(t, Config{Relays: []string{one}}, map[string]*fakeRelay{one: r})
		mustReady(t, s)
		r.sessions[0].fail(errors.New("peer restarted"))
		synctest.Wait()
		if got := s.Status()[0]; got.Phase != PhaseJoining || !strings.Contains(got.Err.Error(), "peer restarted") {
			t.Errorf("status %+v", got)
		}
		mustReady(t, s)
		if len(r.links) != 1 || len(r.sessions) != 2 {
			t.Errorf("%d links, %d sessions; want 1, 2", len(r.links), len(r.sessions))
		}
	})
}

func TestFailedRegistrationsAreTriedAgainWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeRelay(1)
		full := &control.Failed{Code: control.FailureFull, Reason: "full"}
		r.failures = []error{full, full, full, full}
		s, _ := newTestSet(t, Config{Relays: []string{one}, MinBackoff: time.Second, MaxBackoff: 2 * time.Second},
			map[string]*fakeRelay{one: r})
		start := time.Now()
		synctest.Wait()
		if got := s.Status()[0]; got.Phase != PhaseJoining || !strings.Contains(got.Err.Error(), "full") {
			t.Errorf("status %+v", got)
		}
		mustReady(t, s)
		if took := time.Since(start); took < 3500*time.Millisecond || took > 7*time.Second {
			t.Errorf("took %v for pauses of 1, 2, 2 and 2 s, each from half of that", took)
		}
		if len(r.links) != 1 {
			t.Errorf("%d links, want 1", len(r.links))
		}
	})
}

func TestAClockSetBackIsMadeUpForByAHigherEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeRelay(1)
		const known = math.MaxUint64 - 10
		r.failures = []error{&control.Failed{Code: control.FailureStale, Epoch: known}}
		s, _ := newTestSet(t, Config{Relays: []string{one}}, map[string]*fakeRelay{one: r})
		mustReady(t, s)
		if m := r.registered[0]; m.Epoch != known+1 || m.Seq != 1 {
			t.Errorf("registered %+v", m)
		}
	})
}

func TestAnEpochThatCannotBeExceededIsAFailure(t *testing.T) {
	v := newVersions()
	before, _ := v.next()
	if v.raise(math.MaxUint64) {
		t.Error("raised beyond the largest epoch")
	}
	if !v.raise(1) {
		t.Error("an older epoch is in the way")
	}
	if after, _ := v.next(); after != before {
		t.Errorf("epoch went from %d to %d", before, after)
	}
}

func TestErrorsSayWhyNoRelayIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const two = "tcp://192.0.2.2:9999"
		a, b := newFakeRelay(1), newFakeRelay(2)
		a.down = errors.New("connection refused")
		b.refuse = errors.New("certificate is of another network")
		s, _ := newTestSet(t, Config{Relays: []string{one, two}}, map[string]*fakeRelay{one: a, two: b})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := s.WaitReady(ctx)
		none, ok := errors.AsType[*NoRelayError](err)
		if !ok || len(none.Relays) != 2 || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		for _, want := range []string{one, two, "connection refused", "another network"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error does not say %q: %v", want, err)
			}
		}
		if _, ok := s.Home(); ok {
			t.Error("a relay that is not up is the home relay")
		}
	})
}

func TestWithoutRelaysNothingIsWaitedFor(t *testing.T) {
	s, _ := newTestSet(t, Config{}, nil)
	if _, ok := errors.AsType[*NoRelayError](s.WaitReady(t.Context())); !ok {
		t.Error("WaitReady returned something else than a NoRelayError")
	}
	if _, err := s.Lookup(t.Context(), identity.Target{ID: 1}); err == nil || err.Error() != "no relay is configured" {
		t.Errorf("Lookup: %v", err)
	}
}

func TestLookupAsksTheOtherRelayToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const two = "tcp://192.0.2.2:9999"
		a, b := newFakeRelay(1), newFakeRelay(2)
		b.known["kv-1"] = control.Record{ID: b.id(), Key: control.Key(b.key)}
		s, _ := newTestSet(t, Config{Relays: []string{one, two}}, map[string]*fakeRelay{one: a, two: b})
		mustReady(t, s)
		synctest.Wait()
		records, err := s.Lookup(t.Context(), identity.Target{Name: "kv-1"})
		if err != nil || len(records) != 1 || records[0].ID != b.id() {
			t.Errorf("got %+v, %v", records, err)
		}
		if _, err := s.Lookup(t.Context(), identity.Target{Name: "nobody"}); !errors.Is(err, control.ErrNotFound) {
			t.Errorf("unknown name: %v", err)
		}
	})
}

func TestHomeMovesWhenItsRelayGoesAwayOrBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const two = "tcp://192.0.2.2:9999"
		a, b := newFakeRelay(1), newFakeRelay(2)
		b.down = errors.New("later")
		told := make(chan string, 1)
		s, _ := newTestSet(t, Config{
			Relays: []string{one, two},
			OnEvent: func(e Event) {
				if e.Kind == EventGoingAway {
					told <- e.Addr + " in " + e.Grace.String()
				}
			},
		}, map[string]*fakeRelay{one: a, two: b})
		home := func(want *fakeRelay) {
			t.Helper()
			synctest.Wait()
			if status, up := s.Home(); !up || status.Relay.ID != want.id() {
				t.Errorf("home is %+v", status)
			}
		}
		mustReady(t, s)
		a.last().Push(&control.GoingAway{GraceMillis: 5000})
		home(a) // better than none
		if got := <-told; got != one+" in 5s" {
			t.Errorf("told %q", got)
		}
		b.set(func(r *fakeRelay) { r.down = nil })
		s.Kick()
		home(b)
		time.Sleep(time.Second) // until the first is dialled again
		home(b)
		if n := len(a.links); n != 2 || a.pings != 1 {
			t.Errorf("%d links to the relay that goes away, and %d farewells, want it left once", n, a.pings)
		}
		b.set(func(r *fakeRelay) { r.down = errors.New("gone") })
		b.cut()
		home(a)
	})
}

func TestALinkFromAnAddressThatIsGoneEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeRelay(1)
		s, _ := newTestSet(t, Config{Relays: []string{one}}, map[string]*fakeRelay{one: r})
		mustReady(t, s)
		other := netip.MustParseAddr("198.51.100.8")
		s.Readdress([]netip.Addr{other, fakeLocal})
		time.Sleep(time.Second)
		if n := len(r.dials); n != 1 {
			t.Errorf("dialled %d times though the address is still there", n)
		}
		s.Readdress([]netip.Addr{other})
		time.Sleep(time.Second)
		mustReady(t, s)
		if n := len(r.dials); n != 2 {
			t.Errorf("dialled %d times in all after the address went, want 2", n)
		}
	})
}

func TestTwoAddressesOfOneRelayAreUsedOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const alias = "tcp://relay.example.org:9999"
		r := newFakeRelay(1)
		s, _ := newTestSet(t, Config{Relays: []string{one, alias}}, map[string]*fakeRelay{one: r, alias: r})
		time.Sleep(time.Hour)
		synctest.Wait()
		got := phases(s)
		if got[0] == got[1] || got[0] != PhaseUp && got[1] != PhaseUp || got[0] != PhaseDuplicate && got[1] != PhaseDuplicate {
			t.Errorf("phases %v", got)
		}
		if n := len(r.dials); n != 2 {
			t.Errorf("dialled %d times in an hour, want 2", n)
		}
		r.set(func(r *fakeRelay) {
			r.links[len(r.links)-1].fail(errors.New("cut"))
			r.links[0].fail(errors.New("cut"))
		})
		mustReady(t, s)
	})
}

func TestRenewRegistersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeRelay(1)
		s, _ := newTestSet(t, Config{Relays: []string{one}}, map[string]*fakeRelay{one: r})
		mustReady(t, s)
		s.Renew()
		synctest.Wait()
		if n := len(r.registered); n != 2 {
			t.Errorf("registered %d times", n)
		}
		r.set(func(r *fakeRelay) { r.failures = []error{errors.New("no")} })
		s.Renew()
		synctest.Wait()
		if got := phases(s)[0]; got != PhaseJoining {
			t.Errorf("after a refused registration: %v", got)
		}
		mustReady(t, s)
	})
}

func TestChangesAreAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeRelay(1)
		changes := make(chan struct{}, 100)
		s, _ := newTestSet(t, Config{Relays: []string{one}, OnChange: func() { changes <- struct{}{} }},
			map[string]*fakeRelay{one: r})
		mustReady(t, s)
		if len(changes) == 0 {
			t.Error("nothing was announced")
		}
		r.last().Push(&control.Throttled{Dropped: 3})
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if got := phases(s)[0]; got != PhaseClosed {
			t.Errorf("after Close: %v", got)
		}
	})
}

func TestPhasesHaveNames(t *testing.T) {
	seen := make(map[string]bool)
	for p := PhaseUnused; p <= PhaseClosed; p++ {
		seen[p.String()] = true
	}
	if len(seen) != int(PhaseClosed)+1 {
		t.Errorf("names %v", seen)
	}
}
