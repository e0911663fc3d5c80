package netmon

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// settle is how long to wait after the first news for more: a new address
	// comes with a link, a route and others.
	settle = 200 * time.Millisecond
	// pollEvery is how often is looked where the kernel tells nothing.
	pollEvery = 2 * time.Second
	// clockEvery is how often the clock is looked at, and asleep by how much
	// more time has to go by for the machine to have slept, or the program to
	// have been stopped. A clock that is set forward looks the same, and does
	// no harm.
	clockEvery = 5 * time.Second
	asleep     = 5 * time.Second
)

// A Change is how the network is now.
type Change struct {
	Addrs  []netip.Addr // as LocalAddrs
	Routes []Route      // as Routes
	// Slept means that the machine slept, or that the program was stopped, for
	// some seconds at least, so that other ends may have given it up. Then
	// nothing else need have changed.
	Slept bool
}

// Watch calls changed when addresses or routes have changed, at most five times
// a second, and after sleep, until ctx ends, whose cause it returns. changed is
// called from Watch's goroutine and may take its time: what happens meanwhile is
// one more change. Logger is told if the kernel gives no news; nil is silent.
func Watch(ctx context.Context, log logrus.FieldLogger, changed func(Change)) error {
	w := watcher{
		look:      look,
		subscribe: subscribe,
		wall:      func() time.Time { return time.Now().Round(0) }, // without the monotonic clock, which sleeps too
		log:       log,
		changed:   changed,
	}
	return w.run(ctx)
}

func look() Change { return Change{Addrs: LocalAddrs(), Routes: Routes()} }

// A watcher is Watch with what tests replace.
type watcher struct {
	look      func() Change
	subscribe func(news func()) (stop func(), err error)
	wall      func() time.Time
	log       logrus.FieldLogger
	changed   func(Change)

	last Change
}

func (w *watcher) run(ctx context.Context) error {
	news := make(chan struct{}, 1)
	every := clockEvery
	stop, err := w.subscribe(func() {
		select {
		case news <- struct{}{}:
		default:
		}
	})
	if err != nil {
		every = pollEvery
		if w.log != nil {
			w.log.WithError(err).Debugf("netmon: the system tells of no changes; looking every %v", every)
		}
	} else {
		defer stop()
	}
	w.last = w.look() // after subscribing, so that no change is missed
	tick := time.NewTicker(every)
	defer tick.Stop()
	settled := time.NewTimer(0)
	<-settled.C
	defer settled.Stop()
	waiting := false
	before := w.wall()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-news:
			if !waiting {
				waiting = true
				settled.Reset(settle)
			}
		case <-settled.C:
			waiting = false
			w.compare(false)
		case <-tick.C:
			now := w.wall()
			slept := now.Sub(before) > every+asleep
			before = now
			if slept || every == pollEvery {
				w.compare(slept)
			}
		}
	}
}

// compare looks, and tells of what is new.
func (w *watcher) compare(slept bool) {
	now := w.look()
	same := slices.Equal(now.Addrs, w.last.Addrs) && slices.Equal(now.Routes, w.last.Routes)
	w.last = now
	if same && !slept {
		return
	}
	now.Slept = slept
	w.changed(now)
}
