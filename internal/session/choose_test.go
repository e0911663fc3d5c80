package session

import (
	"testing"
	"time"
)

func TestChoiceOfAPath(t *testing.T) {
	const ms = time.Millisecond
	now := time.Unix(1000, 0)
	path := func(rtt time.Duration, state PathState) *pathEntry {
		d := &pathEntry{state: state}
		if rtt > 0 {
			d.sample(rtt)
		}
		return d
	}
	ok := func(rtt time.Duration) *pathEntry { return path(rtt, PathValidated) }
	held := ok(5 * ms)
	held.held = now.Add(time.Second)
	for _, test := range []struct {
		name   string
		list   []*pathEntry
		active int // index in list; -1: the route
		moved  time.Duration
		route  time.Duration
		ready  bool
		want   int
	}{
		{name: "nothing but the route", active: -1, route: 40 * ms, ready: true, want: -1},
		{name: "the first validated one", list: []*pathEntry{path(0, PathProbing), ok(10 * ms)}, active: -1, route: 40 * ms, ready: true, want: 1},
		{name: "the fastest", list: []*pathEntry{ok(20 * ms), ok(10 * ms)}, active: -1, route: 40 * ms, ready: true, want: 1},
		{name: "a little slower than the route", list: []*pathEntry{ok(70 * ms)}, active: -1, route: 40 * ms, ready: true, want: 0},
		{name: "much slower than the route", list: []*pathEntry{ok(71 * ms)}, active: -1, route: 40 * ms, ready: true, want: -1},
		{name: "a route of which nothing is known", list: []*pathEntry{ok(time.Second)}, active: -1, ready: true, want: 0},
		{name: "much slower than a route that takes nothing", list: []*pathEntry{ok(time.Second)}, active: -1, route: 40 * ms, want: 0},
		{name: "one that was bad lately", list: []*pathEntry{held}, active: -1, route: 40 * ms, ready: true, want: -1},
		{name: "a faster one", list: []*pathEntry{ok(20 * ms), ok(10 * ms)}, active: 0, moved: time.Minute, ready: true, want: 1},
		{name: "a faster one too soon", list: []*pathEntry{ok(20 * ms), ok(10 * ms)}, active: 0, moved: time.Second, ready: true, want: 0},
		{name: "one that is a little faster", list: []*pathEntry{ok(20 * ms), ok(17 * ms)}, active: 0, moved: time.Minute, ready: true, want: 0},
		{name: "faster by less than it is worth", list: []*pathEntry{ok(3 * ms), ok(2 * ms)}, active: 0, moved: time.Minute, ready: true, want: 0},
		{name: "suspect, another", list: []*pathEntry{path(5*ms, PathSuspect), ok(50 * ms)}, active: 0, ready: true, want: 1},
		{name: "suspect, the route", list: []*pathEntry{path(5*ms, PathSuspect), path(0, PathProbing)}, active: 0, ready: true, want: -1},
		{name: "suspect, nothing else", list: []*pathEntry{path(5*ms, PathSuspect)}, active: 0, want: 0},
		{name: "suspect, the route rather than one that was bad", list: []*pathEntry{path(5*ms, PathSuspect), held}, active: 0, ready: true, want: -1},
		{name: "suspect, no route, one that was bad", list: []*pathEntry{path(5*ms, PathSuspect), held}, active: 0, want: 1},
	} {
		c := choice{list: test.list, moved: now.Add(-test.moved), rtt: test.route, ready: func() bool { return test.ready }}
		at := func(i int) *pathEntry {
			if i < 0 {
				return nil
			}
			return test.list[i]
		}
		c.active = at(test.active)
		if got := c.best(now); got != at(test.want) {
			t.Errorf("%s: %+v, want index %d", test.name, got, test.want)
		}
	}
}
