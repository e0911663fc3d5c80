package tunnel

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

// A packet comes from somebody, or goes there.
type packet struct {
	from int
	text string
}

// A wire is what flows listen on and dial, in memory.
type wire struct {
	in, out chan packet
	dials   int
	fails   error
}

// testFlows returns flows between a wire and targets that send everything back, which
// end with the test.
func testFlows(t *testing.T, cfg Config) (*wire, *flows[int]) {
	log := logrus.New()
	log.SetOutput(t.Output())
	cfg.Logger = log
	w := &wire{in: make(chan packet), out: make(chan packet, 100)}
	f := &forward{cfg: &cfg, log: log}
	table := &flows[int]{
		f: f,
		read: func(b []byte) (int, int, error) {
			p, ok := <-w.in
			if !ok {
				return 0, 0, net.ErrClosed
			}
			return copy(b, p.text), p.from, nil
		},
		reply: func(b []byte, to int) error { w.out <- packet{to, string(b)}; return nil },
		dial: func(context.Context) (net.Conn, error) {
			w.dials++
			if w.fails != nil {
				return nil, w.fails
			}
			here, there := net.Pipe()
			go func() {
				b := make([]byte, 100)
				for {
					n, err := there.Read(b)
					if err != nil {
						return
					}
					_, _ = there.Write(b[:n])
				}
			}()
			return here, nil
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = table.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		close(w.in)
		<-done
	})
	return w, table
}

var flowConfig = Config{MaxFlows: 2, FlowIdle: time.Minute, DialTimeout: time.Second}

func TestAFlowEndsAfterASilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, table := testFlows(t, flowConfig)
		w.in <- packet{1, "a"}
		if got := <-w.out; got != (packet{1, "a"}) {
			t.Errorf("got %v", got)
		}
		time.Sleep(50 * time.Second)
		w.in <- packet{1, "b"}
		<-w.out
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if st := table.f.count.snapshot(); st.Open != 1 || st.Total != 1 || w.dials != 1 {
			t.Errorf("a flow that is in use: %+v", st)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if st := table.f.count.snapshot(); st.Open != 0 || st.Sent != 2 || st.Received != 2 {
			t.Errorf("a flow that is silent: %+v", st)
		}
		w.in <- packet{1, "c"}
		<-w.out
		if w.dials != 2 {
			t.Error("the next packet is no new flow")
		}
	})
}

func TestThereAreOnlySoManyFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, table := testFlows(t, flowConfig)
		for from := range 3 {
			w.in <- packet{from, "x"}
		}
		synctest.Wait()
		if st := table.f.count.snapshot(); len(w.out) != 2 || st.Refused != 1 || st.Dropped != 1 || st.Open != 2 {
			t.Errorf("%d answers, %+v", len(w.out), st)
		}
		time.Sleep(flowConfig.FlowIdle + time.Second)
		w.in <- packet{3, "x"}
		synctest.Wait()
		if len(w.out) != 3 {
			t.Error("no room although all flows have ended")
		}
	})
}

func TestATargetThatCannotBeReachedIsNotDialledForEachPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, table := testFlows(t, flowConfig)
		w.fails = errors.New("nobody there")
		for range 2 * flowQueue {
			w.in <- packet{1, "x"}
		}
		synctest.Wait()
		if st := table.f.count.snapshot(); w.dials != 1 || st.Failed != 1 || st.Dropped != flowQueue {
			t.Errorf("%d dials, %+v", w.dials, st)
		}
		time.Sleep(2 * time.Second)
		w.in <- packet{1, "x"}
		synctest.Wait()
		if w.dials != 2 {
			t.Errorf("%d dials, want another one a second later", w.dials)
		}
	})
}

func TestPacketsOfStrangersAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, table := testFlows(t, flowConfig)
		table.admits = func(from int) bool { return from == 1 }
		w.in <- packet{2, "x"}
		w.in <- packet{1, "y"}
		if got := <-w.out; got != (packet{1, "y"}) {
			t.Errorf("got %v", got)
		}
		if st := table.f.count.snapshot(); st.Dropped != 1 || st.Total != 1 {
			t.Errorf("%+v", st)
		}
	})
}
