package link

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// diesAfter waits for l to end and returns how long that took.
func diesAfter(l *Link) time.Duration {
	began := time.Now()
	<-l.Done()
	return time.Since(began)
}

func TestIdleLinkPingsAndLives(t *testing.T) { synctest.Test(t, testIdleLink) }
func testIdleLink(t *testing.T) {
	p := newPair(1000, Config{})
	defer p.close()
	<-time.After(time.Hour)
	synctest.Wait()
	if !p.a.Up() || !p.b.Up() {
		t.Fatalf("an idle link died: %v, %v", p.a.Err(), p.b.Err())
	}
	// A silence of 10 s is at most 360 pings an hour of both sides together.
	a, b := p.a.Counters(), p.b.Counters()
	if n := a.Pings + b.Pings; n < 300 || n > 720 {
		t.Errorf("%d pings in an hour, want one every 5 to 12 s", n)
	}
	if a.Pongs != a.Pings || b.Pongs != b.Pings {
		t.Errorf("%d of %d and %d of %d pings were answered", a.Pongs, a.Pings, b.Pongs, b.Pings)
	}
	if p.a.looks.Load() > 721 {
		t.Errorf("the timer fired %d times in an hour, want at most once every 5 s", p.a.looks.Load())
	}
}

func TestTrafficCostsNoTimerPerFrame(t *testing.T) { synctest.Test(t, testTrafficTimers) }
func testTrafficTimers(t *testing.T) {
	p := newPair(1000, Config{})
	defer p.close()
	for range 10000 { // ping-pong for 100 s
		_ = p.a.Send(newFrame("to b", 0))
		synctest.Wait()
		_ = p.b.Send(newFrame("to a", 0))
		<-time.After(10 * time.Millisecond)
		p.inA.all()
		p.inB.all()
	}
	if n := p.a.looks.Load(); n > 60 {
		t.Errorf("the timer fired %d times in 100 s of traffic, want about one every 2 s", n)
	}
	if n := p.a.Counters().Pings + p.b.Counters().Pings; n != 0 {
		t.Errorf("%d pings although frames came in all the time", n)
	}
}

func TestSilentLinkDiesInTime(t *testing.T) {
	for _, tt := range []struct {
		name    string
		traffic bool
		cfg     Config
		min     time.Duration
		max     time.Duration
	}{
		{"idle", false, Config{}, 4 * time.Second, 15 * time.Second}, // the next ping may be due at once
		{"sending", true, Config{}, 4 * time.Second, 5 * time.Second},
		{"idle, configured", false, Config{KeepAlive: time.Second, DeadAfter: 3 * time.Second}, 2 * time.Second, 3 * time.Second},
		{"sending, configured", true, Config{ProbeAfter: time.Second, ProbeTimeout: 2 * time.Second}, time.Second, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(1000, tt.cfg)
				defer p.close()
				<-time.After(time.Minute)
				p.connA.cut()
				if tt.traffic {
					_ = p.a.Send(newFrame("anybody there?", 0))
				}
				if d := diesAfter(p.a); d < tt.min || d > tt.max {
					t.Errorf("noticed after %v, want %v to %v", d, tt.min, tt.max)
				}
				if !errors.Is(p.a.Err(), ErrSilent) {
					t.Errorf("error is %v, want ErrSilent", p.a.Err())
				}
			})
		})
	}
}

func TestProbeFindsALivingLinkAlive(t *testing.T) { synctest.Test(t, testProbe) }
func testProbe(t *testing.T) {
	p := newPair(1000, Config{})
	defer p.close()
	_ = p.a.Send(newFrame("no answer to this", 0))
	<-time.After(2*time.Second + time.Millisecond)
	if c := p.a.Counters(); c.Pings != 1 || c.Pongs != 1 {
		t.Errorf("%d pings and %d answers, want one each 2 s after the frame", c.Pings, c.Pongs)
	}
	<-time.After(time.Minute)
	if !p.a.Up() {
		t.Errorf("the link died: %v", p.a.Err())
	}
}

func TestStalledWriteEndsTheLink(t *testing.T) { synctest.Test(t, testStalledWrite) }
func testStalledWrite(t *testing.T) {
	ca, cb := memPipe(0) // takes nothing
	cb.out.set(func() { cb.out.limit = 1000 })
	l := New(NewStreamConn(ca), Config{OnFrame: newInbox().onFrame, ProbeTimeout: time.Hour})
	l.Start()
	defer l.Close()
	_ = l.Send(newFrame("x", 1000))
	talk := newFrame("the other end keeps talking", 0)
	defer talk.Release()
	began := time.Now()
	for l.Up() {
		_, _ = cb.Write(talk.Bytes())
		<-time.After(time.Second)
		synctest.Wait()
	}
	if d := time.Since(began); d < 15*time.Second || d > 16*time.Second {
		t.Errorf("noticed after %v, want 15 s", d)
	}
	if !errors.Is(l.Err(), ErrStalled) {
		t.Errorf("error is %v, want ErrStalled", l.Err())
	}
}

func TestSlowLinkIsNotTakenForDead(t *testing.T) { synctest.Test(t, testSlowLink) }
func testSlowLink(t *testing.T) {
	p := newPair(1, Config{})
	defer p.close()
	// The other end takes 20 KB a second and says nothing by itself; our ping
	// waits behind a write of 256 KiB.
	p.connA.out.set(func() { p.connA.out.limit = 0 })
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				p.connA.out.set(func() { p.connA.out.limit = len(p.connA.out.buf) + 1000 })
			}
		}
	}()
	for range 20 {
		_ = p.a.Send(newFrame("bulk", 10000))
	}
	<-time.After(time.Minute)
	if !p.a.Up() {
		t.Errorf("the link died: %v", p.a.Err())
	}
}

func TestPingMeasuresTheRoundTrip(t *testing.T) { synctest.Test(t, testRTT) }
func testRTT(t *testing.T) {
	p := newPair(1000, Config{})
	defer p.close()
	p.connB.out.set(func() { p.connB.out.limit = 0 })
	time.AfterFunc(10*time.Second+30*time.Millisecond, func() {
		p.connB.out.set(func() { p.connB.out.limit = 1000 })
	})
	<-time.After(11 * time.Second)
	if d := p.a.Counters().RTT; d != 30*time.Millisecond {
		t.Errorf("round trip took %v, want 30 ms", d)
	}
}

func TestOneLostPingDoesNotEndALink(t *testing.T) { synctest.Test(t, testLostPing) }
func testLostPing(t *testing.T) {
	p := newPair(1000, Config{})
	defer p.close()
	lose := func(lost bool) { p.connA.out.set(func() { p.connA.out.lost = lost }) }
	lose(true)
	_ = p.a.Send(newFrame("no answer to this", 0))
	<-time.After(2*time.Second + time.Millisecond) // the ping got lost, too
	lose(false)
	<-time.After(time.Minute)
	if !p.a.Up() {
		t.Errorf("the link died: %v", p.a.Err())
	}
}
