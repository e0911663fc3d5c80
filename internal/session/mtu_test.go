package session

import (
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

func TestMTUSearchFindsTheLargestSize(t *testing.T) {
	for limit := wire.MinPacket; limit <= 65487; limit += 61 {
		now := time.Unix(0, 0)
		var m mtuSearch
		m.start(now)
		sent := 0
		for m.next.Before(time.Unix(60, 0)) {
			now = m.next
			size := m.step(now, time.Second)
			if size == 0 {
				continue
			}
			sent++
			if size <= limit {
				m.answered(now.Add(time.Millisecond), size)
			}
		}
		if m.good > limit || limit-m.good > max(mtuGrain, limit/mtuGrain) && limit > 1400 || sent > 40 {
			t.Fatalf("found %d of %d with %d packets", m.good, limit, sent)
		}
	}
}

func TestMTUSearchTriesAgain(t *testing.T) {
	now := time.Unix(0, 0)
	var m mtuSearch
	m.start(now)
	run := func(limit int, until time.Duration) {
		for end := now.Add(until); m.next.Before(end); {
			now = m.next
			if size := m.step(now, time.Second); size > 0 && size <= limit {
				m.answered(now, size)
			}
		}
		now = now.Add(until)
	}
	run(1452, time.Minute)
	if m.good < 1452 || m.good > 1452+mtuGrain {
		t.Fatalf("found %d, want 1452", m.good)
	}
	run(65487, mtuRaise+time.Minute)
	if m.good != 65487 {
		t.Errorf("found %d after the path has grown, want all", m.good)
	}
	for _, want := range []time.Duration{minMTUWait, 2 * minMTUWait, 4 * minMTUWait} {
		m.blackHole(now)
		if m.good != wire.MinPacket || m.next.Sub(now) != want {
			t.Errorf("%d bytes, next try in %v, want %v", m.good, m.next.Sub(now), want)
		}
	}
}

func TestPacketsOfADirectPathGrowAndShrink(t *testing.T) {
	for _, limit := range []int{1200, 1300, 1420, 1452, 9000, 0} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { growAndShrink(t, limit) })
		})
	}
}

func growAndShrink(t *testing.T, limit int) {
	imp := straight
	imp.MaxPacket = limit
	l := newPathLab(t, relayed, 1, imp)
	defer l.close()
	a, b := l.dial(t)
	l.upTo(a, b)
	x, y := open(t, a, b)
	want := limit
	if limit == 0 {
		want = 65487
	}
	time.Sleep(20 * time.Second)
	grain := max(mtuGrain, want/mtuGrain)
	got := l.ways[0].a.MaxPacket()
	if got > want || want-got > grain {
		t.Errorf("found %d, want %d", got, want)
	}
	if m := a.MaxDatagram(); m != got-datagramOverhead {
		t.Errorf("datagrams of %d bytes with packets of %d", m, got)
	}
	transfer(t, x, y, 1<<20, 1)
	imp.MaxPacket = 1250 // something on the way changes
	l.ways[0].set(imp)
	x, y = open(t, a, b)
	begun := time.Now()
	transfer(t, x, y, 1<<20, 2)
	d := time.Since(begun)
	if d > 10*time.Second {
		t.Errorf("the transfer over the black hole took %v", d)
	}
	time.Sleep(30 * time.Second)
	if got := l.ways[0].a.MaxPacket(); got > 1250 || got < wire.MinPacket {
		t.Errorf("packets of %d bytes, want at most 1250", got)
	}
	t.Logf("over the black hole: %v; then %+v", d, a.Paths())
	if n := l.countEvents(0, PathDied); n != 0 {
		t.Errorf("the path died %d times", n)
	}
}

// A path that takes no packet of 1200 bytes is never used, whatever smaller
// ones say.
func TestPathForSmallPacketsOnlyIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		imp := straight
		imp.MaxPacket = 1100
		l := newPathLab(t, relayed, 1, imp)
		defer l.close()
		a, b := l.dial(t)
		x, y := open(t, a, b)
		for range 20 {
			a.Challenge(l.ways[0].a)
			b.Challenge(l.ways[0].b)
			send(t, x, y, 10_000)
			time.Sleep(100 * time.Millisecond)
		}
		if a.Path() != l.aOut || b.Path() != l.bOut {
			t.Errorf("on %v and %v", a.Path(), b.Path())
		}
		time.Sleep(20 * time.Second)
		wantPath(t, a, l.ways[0].a, false, PathFailed)
		imp.MaxPacket = 0
		l.ways[0].set(imp)
		a.Challenge(l.ways[0].a)
		l.moved(a, l.ways[0].a, time.Second)
		imp.MaxPacket = 1100 // it becomes such a path while it is used
		l.ways[0].set(imp)
		var wg sync.WaitGroup
		wg.Go(func() { send(t, x, y, 100_000) })
		l.moved(a, l.aOut, 5*time.Second)
		wg.Wait()
	})
}

// send writes n bytes to x and reads them at y.
func send(t *testing.T, x, y *Stream, n int) {
	t.Helper()
	if _, err := x.Write(make([]byte, n)); err != nil {
		t.Errorf("write: %v", err)
	}
	if _, err := io.ReadFull(y, make([]byte, n)); err != nil {
		t.Errorf("read: %v", err)
	}
}
