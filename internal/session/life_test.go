package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/simnet"
)

var ten = simnet.Impairment{Delay: 10 * time.Millisecond}

// restart replaces p.b by a new endpoint with the same key.
func (p *pair) restart(t *testing.T) {
	t.Helper()
	cfg := p.b.cfg
	old := p.b
	p.bOut.wire.Set(simnet.Impairment{Down: true}) // it dies without a word
	_ = old.Close()
	p.bOut.wire.Set(ten)
	var err error
	if p.b, err = NewEndpoint(cfg); err != nil {
		t.Fatal(err)
	}
	p.live.Store(p.b)
}

func TestRestartedPeerEndsOldSessionsWithItsFirstAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		x, _ := open(t, a, b)
		p.restart(t)
		begun := time.Now()
		if _, err := x.Write([]byte("anybody there?")); err != nil {
			t.Fatal(err)
		}
		_, err := x.Read(make([]byte, 1))
		if !errors.Is(err, ErrPeerRestarted) || errors.Is(err, net.ErrClosed) || err == io.EOF {
			t.Errorf("read from a restarted peer: %v", err)
		}
		if d := time.Since(begun); d != 20*time.Millisecond {
			t.Errorf("noticed after %v, want one round trip", d)
		}
	})
}

func TestRestartedPeerThatDialsEndsOldSessions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		x, _ := open(t, a, b)
		p.restart(t)
		if _, err := p.b.Dial(t.Context(), identity.Target{ID: p.a.self}); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Read(make([]byte, 1)); !errors.Is(err, ErrPeerRestarted) {
			t.Errorf("read from a restarted peer: %v", err)
		}
	})
}

func TestForgedStatelessResetIsIgnored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		x, y := open(t, a, b)
		p.b.resetKey[0]++ // what it sends now is not what it promised
		p.b.sendReset(p.a.self, p.bOut, a.remoteID)
		time.Sleep(time.Second)
		transfer(t, x, y, 1000, 1)
	})
}

func TestSimultaneousDialsShareOneSession(t *testing.T) {
	for _, skew := range []time.Duration{0, time.Millisecond, 9 * time.Millisecond, 11 * time.Millisecond} {
		t.Run(skew.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var wg sync.WaitGroup
				serve := func(s *Session) {
					wg.Go(func() {
						for {
							st, err := s.AcceptStream(t.Context())
							if err != nil {
								return
							}
							_, _ = io.Copy(io.Discard, st)
							_ = st.Close()
						}
					})
				}
				p := newPairWith(t, ten, ten, 1, 1200, Config{OnSession: serve})
				defer wg.Wait()
				defer p.close()
				var dials sync.WaitGroup
				dial := func(from, to *Endpoint, wait time.Duration) {
					dials.Go(func() {
						time.Sleep(wait)
						s, err := from.Dial(t.Context(), identity.Target{ID: to.self})
						if err != nil {
							t.Errorf("dial: %v", err)
							return
						}
						st, err := s.OpenStream(t.Context(), 7)
						if err != nil {
							t.Errorf("open: %v", err)
							return
						}
						if _, err := st.Write([]byte("hi")); err != nil {
							t.Errorf("write: %v", err)
						}
						if err := st.Close(); err != nil {
							t.Error(err)
						}
					})
				}
				dial(p.a, p.b, 0)
				dial(p.b, p.a, skew)
				dials.Wait()
				time.Sleep(time.Minute)
				as, bs := p.a.Sessions(), p.b.Sessions()
				if len(as) != 1 || len(bs) != 1 {
					t.Fatalf("%d and %d sessions are left, want one", len(as), len(bs))
				}
				if as[0].localID != bs[0].remoteID {
					t.Error("the two sides kept different sessions")
				}
			})
		})
	}
}

func TestResetCarriesItsCode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		x, y := open(t, a, b)
		if _, err := x.Write(make([]byte, 10_000)); err != nil {
			t.Fatal(err)
		}
		if err := x.Reset(0x123); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		var reset *ResetError
		if _, err := y.Read(make([]byte, 1)); !errors.As(err, &reset) || !reset.Remote || reset.Code != 0x123 {
			t.Errorf("read: %v", err)
		}
		if _, err := y.Write([]byte("x")); !errors.As(err, &reset) || !reset.Remote || reset.Code != 0x123 {
			t.Errorf("write: %v", err)
		}
		if _, err := x.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("local read: %v", err)
		}
		_ = y.Close()
		time.Sleep(time.Second)
		if n := a.Stats().Streams + b.Stats().Streams; n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

func TestRefuseTellsTheOpener(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		begun := time.Now()
		x, err := a.OpenStream(t.Context(), 80)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			y, err := b.AcceptStream(t.Context())
			if err == nil {
				err = y.Refuse(2)
			}
			if err != nil {
				t.Error(err)
			}
		}()
		var reset *ResetError
		if err := x.Accepted(t.Context()); !errors.As(err, &reset) || reset.Code != 2 {
			t.Errorf("accepted: %v", err)
		}
		if d := time.Since(begun); d != 20*time.Millisecond {
			t.Errorf("took %v, want one round trip", d)
		}
	})
}

func TestHalfCloseSurvivesAnHourOfSilence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		x, y := open(t, a, b)
		if err := x.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n, err := y.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("read %d, %v", n, err)
		}
		time.Sleep(time.Hour)
		if _, err := y.Write([]byte("still here")); err != nil {
			t.Fatal(err)
		}
		if err := y.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(x)
		if string(got) != "still here" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
	})
}

func TestDeadlineLeavesTheStreamUsable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		x, y := open(t, a, b)
		if err := x.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		if err := x.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		transfer(t, x, y, 1000, 1)
	})
}

func TestBackPressureBoundsWhatAWriterMayQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		x, _ := open(t, a, b)
		if err := x.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := x.Write(make([]byte, 64<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("write: %v", err)
		}
		if most := int(b.ep.cfg.StreamWindow) + sendQueue; n > most {
			t.Errorf("%d bytes were taken although nobody reads, want at most %d", n, most)
		}
	})
}

func TestPeerThatDiesIsNoticed(t *testing.T) {
	tests := map[string]struct {
		notice   frame.Notice
		min, max time.Duration
	}{
		"in silence":                           {frame.Notice{}, time.Minute, 70 * time.Second}, // keepalive and timeout
		"as its relay says":                    {frame.Notice{Code: frame.NoticeGone, Arg: frame.GoneHungUp}, 0, 18 * time.Second},
		"behind a link that went silent":       {frame.Notice{Code: frame.NoticeGone}, time.Minute, time.Minute},
		"at a relay that forgot all its nodes": {frame.Notice{Code: frame.NoticeUnknown}, time.Minute, time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := newPair(t, ten, ten, 1, 1200)
				defer p.close()
				a, b := p.dial(t)
				x, _ := open(t, a, b)
				time.Sleep(time.Second)
				p.bOut.wire.Set(simnet.Impairment{Down: true})
				begun := time.Now()
				test.notice.Node = p.b.self
				p.a.Notice(test.notice)
				_, err := x.Read(make([]byte, 1))
				if !errors.Is(err, ErrPeerLost) {
					t.Errorf("read: %v", err)
				}
				if d := time.Since(begun); d < test.min || d > test.max {
					t.Errorf("noticed after %v, want %v to %v", d, test.min, test.max)
				}
			})
		})
	}
}

func TestIdleSessionWithoutStreamsEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		time.Sleep(6 * time.Minute)
		if a.Err() == nil || b.Err() == nil {
			t.Errorf("after six idle minutes: %v and %v", a.Err(), b.Err())
		}
	})
}

func TestIdleStreamsCostNothingButKeepAlives(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		for range 10 {
			open(t, a, b)
		}
		time.Sleep(time.Minute)
		before, turns := p.aOut.sent.Load()+p.bOut.sent.Load(), a.Stats().Turns+b.Stats().Turns
		time.Sleep(time.Hour)
		const (
			keepAlives = 3600 / 10
			leftOut    = 2 * 4 // numbers, each of which brings an acknowledgement forward: of 64, 128, 256 and 512 packets
		)
		if n := p.aOut.sent.Load() + p.bOut.sent.Load() - before; n > 2*keepAlives+2*leftOut {
			t.Errorf("%d packets in an idle hour, want at most a keepalive and its answer each ten seconds", n)
		}
		if n := a.Stats().Turns + b.Stats().Turns - turns; n > 8*keepAlives {
			t.Errorf("woke up %d times in an idle hour", n)
		}
	})
}

func TestALayerThatDoesNotGreetTakesNoDatagrams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		if err := a.SendLayerDatagram(t.Context(), []byte{1}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := b.Stats().DatagramsDropped; n != 1 {
			t.Errorf("%d dropped, want 1", n)
		}
	})
}

func TestAHeldSessionStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		releaseA, releaseB := a.Hold(), b.Hold()
		time.Sleep(time.Hour)
		if a.Err() != nil || b.Err() != nil {
			t.Fatalf("after an hour: %v and %v", a.Err(), b.Err())
		}
		releaseA()
		releaseB()
		time.Sleep(6 * time.Minute)
		if a.Err() == nil || b.Err() == nil {
			t.Errorf("six minutes after: %v and %v", a.Err(), b.Err())
		}
	})
}

func TestPingMeasuresOneRoundTrip(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, _ := p.dial(t)
		time.Sleep(time.Second)
		if rtt, err := a.Ping(t.Context()); err != nil || rtt != 20*time.Millisecond {
			t.Errorf("ping: %v, %v", rtt, err)
		}
	})
}

func TestShutdownDeliversTheLastBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		slow := simnet.Impairment{Delay: 10 * time.Millisecond, Rate: 100_000, Loss: 0.05}
		p := newPair(t, slow, slow, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		x, y := open(t, a, b)
		const size = 300_000
		var got []byte
		var err error
		var wg sync.WaitGroup
		wg.Go(func() { got, err = io.ReadAll(y) })
		if _, err := x.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.a.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		wg.Wait()
		if len(got) != size || err != nil {
			t.Errorf("read %d of %d bytes, %v", len(got), size, err)
		}
	})
}

func TestTenThousandStreamsLeaveNothingBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, simnet.Impairment{Delay: time.Millisecond}, simnet.Impairment{Delay: time.Millisecond}, 1, frame.MaxPacket)
		defer p.close()
		a, b := p.dial(t)
		var wg sync.WaitGroup
		const n, workers = 10_000, 50
		wg.Go(func() {
			for range n {
				y, err := b.AcceptStream(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				_ = y.Accept()
				_, _ = io.Copy(y, y)
				_ = y.Close()
			}
		})
		for w := range workers {
			wg.Go(func() {
				for i := range n / workers {
					x, err := a.OpenStream(t.Context(), 1)
					if err != nil {
						t.Error(err)
						return
					}
					msg := fmt.Sprint(w, i)
					_, _ = io.WriteString(x, msg)
					_ = x.CloseWrite()
					if got, err := io.ReadAll(x); string(got) != msg || err != nil {
						t.Errorf("echo %q, %v", got, err)
					}
					_ = x.Close()
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		if n := a.Stats().Streams + b.Stats().Streams; n != 0 {
			t.Errorf("%d streams are left", n)
		}
		synctest.Wait()
		if n := len(b.seen); n > 1 {
			t.Errorf("%d spans of stream numbers are kept", n)
		}
	})
}

func TestRandomPacketsChangeNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bad := simnet.Impairment{Delay: 10 * time.Millisecond, Corrupt: 0.2}
		p := newPair(t, bad, bad, 3, 1200)
		defer p.close()
		a, b := p.dial(t)
		x, y := open(t, a, b)
		transfer(t, x, y, 100_000, 3)
		if a.Stats().PacketsDropped+b.Stats().PacketsDropped == 0 {
			t.Error("damaged packets were not counted")
		}
	})
}

// Nobody acknowledges a CONNECTION_CLOSE, so on a bad path it goes out more
// than once.
func TestTheCloseIsRepeatedOnAPathThatLoses(t *testing.T) {
	for name, test := range map[string]struct {
		loss float64
		want int64
	}{
		"clean": {0, 1},
		"bad":   {0.1, closeCopies},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				wire := simnet.Impairment{Delay: time.Millisecond, Loss: test.loss}
				p := newPair(t, wire, wire, 1, 1200)
				defer p.close()
				a, b := p.dial(t)
				x, y := open(t, a, b)
				go func() { _, _ = x.Write(make([]byte, 100_000)) }()
				if _, err := io.ReadFull(y, make([]byte, 100_000)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second) // for the last acknowledgements
				before := p.aOut.sent.Load()
				_ = p.a.Close()
				if got := p.aOut.sent.Load() - before; got != test.want {
					t.Errorf("%d packets at the close, want %d", got, test.want)
				}
			})
		})
	}
}
