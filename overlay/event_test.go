package overlay

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/uplink"
)

func TestEventsAreToldInOrder(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		var told []Event
		n := l.ready("n", Config{OnEvent: func(e Event) { told = append(told, e) }})
		time.Sleep(time.Second)
		synctest.Wait()
		var kinds []EventKind
		for _, e := range told {
			kinds = append(kinds, e.Kind)
			if e.Relay != relayAddr || e.RelayID != l.host.ID() || e.Time.IsZero() {
				t.Errorf("told %+v", e)
			}
		}
		if !slices.Equal(kinds, []EventKind{EventRelayUp, EventRelayMoved}) {
			t.Errorf("told %v", told)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if len(told) != 2 {
			t.Errorf("told of the node's own end: %v", told[2:])
		}
	})
}

func TestSlowListenerForEventsHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		calls := 0
		e := newTeller(func(Event) {
			calls++
			<-release
		})
		e.start()
		const more = 7
		for range 1 + eventQueue + more {
			e.told(uplink.Event{Kind: uplink.EventUp})
			synctest.Wait()
		}
		if n := e.dropped.Load(); n != more || calls != 1 {
			t.Errorf("%d dropped, %d calls; want %d and 1", n, calls, more)
		}
		close(release)
		synctest.Wait()
		if calls != 1+eventQueue {
			t.Errorf("%d calls in the end", calls)
		}
		e.close()
	})
}

func TestEventsSayWhatHappened(t *testing.T) {
	for want, e := range map[string]Event{
		"relay up: a:1":                               {Kind: EventRelayUp, Relay: "a:1"},
		"relay down: a:1: it was cut":                 {Kind: EventRelayDown, Relay: "a:1", Err: errors.New("it was cut")},
		"home relay moved: a:1, from b:1":             {Kind: EventRelayMoved, Relay: "a:1", From: "b:1"},
		"relay going away: a:1, in 5s":                {Kind: EventRelayGoingAway, Relay: "a:1", Grace: 5 * time.Second},
		"throttled by relay: a:1, 3 frames dropped":   {Kind: EventThrottled, Relay: "a:1", Dropped: 3},
		"node ID conflict: a:1: another key has this": {Kind: EventIDConflict, Relay: "a:1", Err: errors.New("another key has this")},
		"event 99: a:1":                               {Kind: 99, Relay: "a:1"},
	} {
		if got := e.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
