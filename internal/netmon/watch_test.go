package netmon

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A fake is a watcher on a network that the test changes.
type fake struct {
	mu      sync.Mutex
	now     Change
	news    func()
	skipped time.Duration // that only the wall clock knows of
	changes []Change
	looks   int
}

func (f *fake) with(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// start runs a watcher until the test ends.
func (f *fake) start(t *testing.T, refused bool) (stop func()) {
	w := &watcher{
		look: func() (now Change) {
			f.with(func() { f.looks++; now = f.now })
			return now
		},
		subscribe: func(news func()) (func(), error) {
			f.news = news
			if refused {
				return nil, errors.New("refused")
			}
			return func() { f.news = nil }, nil
		},
		wall: func() (now time.Time) {
			f.with(func() { now = time.Now().Add(f.skipped) })
			return now
		},
		changed: func(c Change) { f.with(func() { f.changes = append(f.changes, c) }) },
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	done := make(chan error)
	go func() { done <- w.run(ctx) }()
	synctest.Wait()
	return func() {
		cancel(why)
		if err := <-done; err != why {
			t.Errorf("Watch: %v", err)
		}
		if !refused && f.news != nil {
			t.Error("still subscribed")
		}
	}
}

func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, ip(a))
	}
	return out
}

func TestNewsAreCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{now: Change{Addrs: addrs("10.0.0.1")}}
		defer f.start(t, false)()
		elapse(time.Hour)
		if len(f.changes) != 0 || f.looks != 1 {
			t.Fatalf("%d changes, %d looks, and nothing happened", len(f.changes), f.looks)
		}
		f.with(func() { f.now.Addrs = addrs("10.0.0.2") })
		began := time.Now()
		for range 100 {
			f.news()
			elapse(10 * time.Millisecond)
		}
		if took := time.Since(began); len(f.changes) != 1 || f.looks > 1+int(took/settle) {
			t.Errorf("%d changes, %d looks in %v", len(f.changes), f.looks, took)
		}
		elapse(time.Second)
		f.with(func() { f.changes = nil })
		f.news() // of something that does not matter
		elapse(time.Second)
		if len(f.changes) != 0 {
			t.Errorf("%d changes of nothing", len(f.changes))
		}
		f.with(func() { f.now.Routes = []Route{{Gateway: ip("10.0.0.254"), Interface: 2}} })
		f.news()
		elapse(settle)
		if len(f.changes) != 1 || f.changes[0].Slept || !slices.Equal(f.changes[0].Addrs, f.now.Addrs) {
			t.Errorf("%+v", f.changes)
		}
	})
}

func TestPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{now: Change{Addrs: addrs("10.0.0.1")}}
		defer f.start(t, true)()
		f.with(func() { f.now.Addrs = nil })
		elapse(pollEvery)
		f.with(func() { f.now.Addrs = addrs("10.0.0.1", "2001:db8::1") })
		elapse(pollEvery)
		if len(f.changes) != 2 || len(f.changes[0].Addrs) != 0 || len(f.changes[1].Addrs) != 2 {
			t.Errorf("%+v", f.changes)
		}
	})
}

func TestSleep(t *testing.T) {
	for _, refused := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{}
			defer f.start(t, refused)()
			f.with(func() { f.skipped = time.Minute })
			elapse(clockEvery)
			if len(f.changes) != 1 || !f.changes[0].Slept {
				t.Errorf("after a minute of sleep: %+v", f.changes)
			}
			elapse(time.Minute)
			f.with(func() { f.skipped -= time.Hour }) // the clock is set back
			elapse(time.Minute)
			f.with(func() { f.skipped += asleep - time.Second }) // and forward a little
			elapse(time.Minute)
			if len(f.changes) != 1 {
				t.Errorf("then %+v", f.changes[1:])
			}
		})
	}
}
