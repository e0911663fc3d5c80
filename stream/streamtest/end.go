package streamtest

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/weftnet/weft/stream"
	"golang.org/x/net/nettest"
)

var endCases = []testCase{
	{name: "TheEndOfTheSessionReleasesEverything", run: testKill},
	{name: "DataThatCameBeforeTheEndIsRead", run: testKillKeepsData},
	{name: "CloseOfTheMuxReleasesEverything", run: testMuxClose},
	{name: "OpenedAndClosedStreamsLeaveNothing", alone: true, run: testChurn},
}

func testKill(l *lab) {
	if l.Kill == nil {
		l.Skip("the pair cannot lose its session")
	}
	a1, b1 := l.conns()
	a2, _ := l.conns()
	accepting := asyncErr(func() error { _, err := l.A.Accept(l.ctx()); return err })
	reading, writing := read(a1), l.held(a2)
	l.Kill()
	l.wantBroken("Accept", l.await("Accept", accepting).err)
	l.wantBroken("read", l.await("Read", reading).err)
	l.wantBroken("write", l.await("Write", writing).err)
	l.wantBroken("read", l.await("Read at the other side", read(b1)).err)
	l.wantBroken("write", l.await("Write at the other side", flood(b1)).err)
	for _, m := range []stream.Mux{l.A, l.B} {
		open := asyncErr(func() error {
			_, err := m.Open(l.ctx(), port, stream.OpenOptions{})
			return err
		})
		l.wantBroken("Open", l.await("Open", open).err)
	}
}

func testKillKeepsData(l *lab) {
	if l.Kill == nil {
		l.Skip("the pair cannot lose its session")
	}
	a, b := l.conns()
	l.send(a, "last words")
	l.expect(b, "last") // so the rest has come, too
	l.Kill()
	l.expect(b, " words")
	l.wantBroken("read", l.await("Read", read(b)).err)
}

func testMuxClose(l *lab) {
	a, b := l.conns()
	_, sender := l.conns()
	accepting := asyncErr(func() error { _, err := l.A.Accept(l.ctx()); return err })
	early, err := l.A.Open(l.ctx(), port, stream.OpenOptions{EarlyData: true})
	if err != nil {
		l.Fatal(err)
	}
	opening := asyncErr(func() error { _, err := l.A.Open(l.ctx(), port, stream.OpenOptions{}); return err })
	reading, writing := read(a), l.held(a)
	theirs, back := read(early), l.held(sender)
	closing := asyncErr(l.A.Close)

	if err := l.await("Mux.Close", closing).err; err != nil {
		l.Errorf("Mux.Close: %v", err)
	}
	l.wantClosed("read", a, l.await("own Read", reading).err)
	l.wantClosed("write", a, l.await("own Write", writing).err)
	l.wantClosed("read", early, l.await("own Read of a conn not accepted", theirs).err)
	for what, ch := range map[string]<-chan result{"Accept": accepting, "Open": opening} {
		if err := l.await(what, ch).err; !errors.Is(err, net.ErrClosed) {
			l.Errorf("%s: error is %v, want net.ErrClosed", what, err)
		}
	}
	l.wantBroken("write", l.await("the peer's Write", back).err)
	drained := asyncErr(func() error {
		buf := make([]byte, 64<<10)
		for {
			if _, err := b.Read(buf); err != nil {
				return err
			}
		}
	})
	l.wantBroken("read", l.await("the peer's Read", drained).err)
	l.A.Close()
}

// testChurn opens and closes many streams, and then looks for what is left.
func testChurn(l *lab) {
	churn := func(n int) {
		ctx := l.ctx()
		var wg sync.WaitGroup
		const workers = 20
		for range workers {
			wg.Go(func() {
				for range n / workers {
					r, err := l.B.Accept(ctx)
					if err != nil {
						l.Errorf("Accept: %v", err)
						return
					}
					c, err := r.Accept()
					if err != nil {
						l.Errorf("Request.Accept: %v", err)
						return
					}
					echo(l, c)
				}
			})
			wg.Go(func() {
				for range n / workers {
					c, err := l.A.Open(ctx, port, stream.OpenOptions{})
					if err != nil {
						l.Errorf("Open: %v", err)
						return
					}
					ask(l, c, "hello")
				}
			})
		}
		wg.Wait()
	}
	churn(100) // pools fill, goroutines of the layer are there
	goroutines, heap := runtime.NumGoroutine(), liveHeap()
	churn(l.cfg.Churn)
	const slack = 4 << 20
	l.eventually("goroutines and heap are back to where they were", func() bool {
		return runtime.NumGoroutine() <= goroutines+5 && liveHeap() <= heap+slack
	})
}

func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// testConn runs the suite that the conns of package net pass.
func testConn(t *testing.T, cfg Config) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		l := newLab(t, cfg)
		a, b := l.conns()
		return a, b, func() {
			a.Close()
			b.Close()
			l.stop()
		}, nil
	})
}
