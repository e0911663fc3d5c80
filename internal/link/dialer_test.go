package link

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errDial = errors.New("nobody there")

func TestBackoffDoublesWithJitterUpToItsLimit(t *testing.T) {
	for _, tt := range []struct {
		err   error
		limit time.Duration
	}{
		{errDial, 2 * time.Second},
		{&RefusedError{Status: StatusBusy}, 10 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) { testBackoff(t, tt.err, tt.limit) })
	}
}

func testBackoff(t *testing.T, err error, limit time.Duration) {
	var attempts []time.Time
	d := NewDialer(DialerConfig{
		Addr: "a:1",
		Dial: func(context.Context, string) (FrameConn, error) {
			attempts = append(attempts, time.Now())
			return nil, err
		},
		Attach: func(FrameConn) Attached { panic("nothing to attach") },
	})
	<-time.After(time.Minute)
	if s := d.State(); s.Phase != PhaseWaiting || !errors.Is(s.Err, err) || s.Failures != len(attempts) || s.Next.Before(time.Now()) {
		t.Errorf("state is %+v after %d attempts", s, len(attempts))
	}
	_ = d.Close()
	if s := d.State(); s.Phase != PhaseClosed {
		t.Errorf("phase after Close is %v", s.Phase)
	}
	want := 100 * time.Millisecond
	for i := 1; i < len(attempts); i++ {
		if got := attempts[i].Sub(attempts[i-1]); got < want/2 || got > want {
			t.Errorf("pause %d took %v, want %v to %v", i, got, want/2, want)
		}
		want = min(2*want, limit)
	}
	if len(attempts) < 10 {
		t.Errorf("only %d attempts in a minute", len(attempts))
	}
}

// dialled makes links to acceptors that a test holds the other ends of.
type dialled struct {
	ends   []*memConn
	phases []Phase
}

func (d *dialled) config() DialerConfig {
	return DialerConfig{
		Addr: "a:1",
		Dial: func(context.Context, string) (FrameConn, error) {
			a, b := memPipe(1000)
			d.ends = append(d.ends, b)
			return NewStreamConn(a), nil
		},
		Attach: func(fc FrameConn) Attached {
			l := New(fc, Config{OnFrame: newInbox().onFrame, KeepAlive: time.Hour, DeadAfter: 10 * time.Hour})
			l.Start()
			return l
		},
		OnState: func(s DialerState) { d.phases = append(d.phases, s.Phase) },
	}
}

func TestDialerReplacesLinksThatEnd(t *testing.T) { synctest.Test(t, testDialerReplaces) }
func testDialerReplaces(t *testing.T) {
	var ends dialled
	d := NewDialer(ends.config())
	synctest.Wait()
	if s := d.State(); s.Phase != PhaseUp || s.Link == nil {
		t.Fatalf("state is %+v, want up", s)
	}
	<-time.After(time.Minute)
	_ = ends.ends[0].Close()
	synctest.Wait()
	if s := d.State(); s.Phase != PhaseWaiting || s.Failures != 1 || s.Err == nil {
		t.Errorf("state after the link's end is %+v, want waiting after one failure", s)
	}
	<-time.After(100 * time.Millisecond)
	synctest.Wait()
	if s := d.State(); s.Phase != PhaseUp {
		t.Errorf("state is %+v, want up again", s)
	}
	_ = d.Close()
	want := []Phase{PhaseDialing, PhaseUp, PhaseWaiting, PhaseDialing, PhaseUp, PhaseClosed}
	if !slices.Equal(ends.phases, want) {
		t.Errorf("phases were %v, want %v", ends.phases, want)
	}
}

func TestLinksThatEndAtOnceBackOff(t *testing.T) { synctest.Test(t, testFlapping) }
func testFlapping(t *testing.T) {
	var ends dialled
	cfg := ends.config()
	dial := cfg.Dial
	cfg.Dial = func(ctx context.Context, addr string) (FrameConn, error) {
		fc, err := dial(ctx, addr)
		_ = ends.ends[len(ends.ends)-1].Close()
		return fc, err
	}
	d := NewDialer(cfg)
	<-time.After(time.Minute)
	_ = d.Close()
	if n := len(ends.ends); n > 66 { // at least a second each, from the fifth on
		t.Errorf("%d links in a minute, want a pause that grows", n)
	}
}

func TestKickEndsAPause(t *testing.T) { synctest.Test(t, testKick) }
func testKick(t *testing.T) {
	n := 0
	d := NewDialer(DialerConfig{
		Dial: func(context.Context, string) (FrameConn, error) {
			n++
			return nil, errDial
		},
		MinBackoff: time.Hour, MaxBackoff: time.Hour,
	})
	defer d.Close()
	synctest.Wait()
	d.Kick()
	synctest.Wait()
	if n != 2 {
		t.Errorf("%d attempts, want a second one at once", n)
	}
}

func TestAttemptIsGivenUp(t *testing.T) { synctest.Test(t, testAttemptTimeout) }
func testAttemptTimeout(t *testing.T) {
	d := NewDialer(DialerConfig{
		Addr: "192.0.2.1:1",
		Dial: func(ctx context.Context, _ string) (FrameConn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	})
	defer d.Close()
	<-time.After(DefaultAttemptTimeout + time.Nanosecond)
	synctest.Wait()
	if s := d.State(); s.Err == nil || !strings.Contains(s.Err.Error(), "192.0.2.1:1 after 4s") {
		t.Errorf("state is %+v, want an error that says how long was waited for whom", s)
	}
}
