package grid

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

func TestBothCallAtOnceOverOneSession(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab, a, b *member) {
		var wg sync.WaitGroup
		for _, pair := range [][2]*member{{a, b}, {b, a}} {
			wg.Go(func() { // both dial in the same moment
				p := pair[0].to(t, pair[1])
				var calls sync.WaitGroup
				for range 100 {
					calls.Go(func() { ok(t, p) })
				}
				calls.Wait()
				if who, err := p.Call(t.Context(), &Request{Handler: high}); string(who) != pair[0].node.ID().String() || err != nil {
					t.Errorf("%q, %v", who, err)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute) // nobody dials again
		for _, m := range []*member{a, b} {
			if told := m.told(); len(told) != 1 || told[0] != nil {
				t.Errorf("the sessions: %v", told)
			}
			for p := range m.node.Peers() {
				if p.ID != a.node.ID() && p.ID != b.node.ID() {
					continue
				}
				if p.Conns != 1 {
					t.Errorf("%d conns", p.Conns)
				}
			}
		}
	})
}

func TestErrors(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab, a, b *member) {
		p := a.to(t, b)
		for _, tt := range []struct {
			name   string
			req    Request
			want   error
			text   string
			remote bool
		}{
			{"unknown", Request{Handler: 4711}, ErrUnknownHandler, "unknown handler: 4711", true},
			{"a stream's", Request{Handler: pipe}, ErrUnknownHandler, "unknown handler", true},
			{"its own", Request{Handler: fail}, nil, "no such volume", true},
			{"panic", Request{Handler: panics}, ErrPanic, "panics", true},
			{"no token", Request{Handler: secret}, ErrNotAllowed, "secret: wrong token", true},
			{"wrong token", Request{Handler: secret, Token: []byte("open")}, ErrNotAllowed, "wrong token", true},
			{"payload", Request{Handler: echo, Payload: make([]byte, 16<<20+1)}, ErrTooLarge, "16777217 bytes, where 16777216 is the limit", false},
			{"token", Request{Handler: echo, Token: make([]byte, maxToken+1)}, ErrTooLarge, "1025 bytes", false},
		} {
			_, err := p.Call(t.Context(), &tt.req)
			_, remote := errors.AsType[*RemoteError](err)
			if tt.want != nil && !errors.Is(err, tt.want) || err == nil || !strings.Contains(err.Error(), tt.text) || remote != tt.remote {
				t.Errorf("%s: %v, from the peer: %t", tt.name, err, remote)
			}
		}
		if got, err := p.Call(t.Context(), &Request{Handler: secret, Token: []byte("open sesame"), Payload: []byte("x")}); string(got) != "x" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if err := new(Handlers).Handle(echo, "echo", nil, nil); err != nil {
			t.Error(err)
		}
		if err := b.handlers(t).HandleStream(echo, "again", nil, nil); !errors.Is(err, ErrDuplicate) || !strings.Contains(err.Error(), "0 is echo, and cannot be again") {
			t.Error(err)
		}
		if _, err := a.Peer(a.node.ID()); err == nil {
			t.Error("a node called itself")
		}
		ok(t, p)
	})
}

func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := overlaytest.New(t, overlaytest.Config{})
		lab.Relay("relay")
		a := join(t, lab.Node("a", overlay.Config{}), nil)
		b := join(t, lab.Node("b", overlay.Config{}), func(c *Config) { c.MaxHandlers, c.MaxStreams, c.MaxPayload = 3, 1, 1<<19 })
		p := a.to(t, b)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := p.Call(ctx, &Request{Handler: waits}); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if _, err := p.Call(t.Context(), &Request{Handler: echo}); !errors.Is(err, ErrOverloaded) {
			t.Error(err)
		}
		cancel()
		wg.Wait()
		synctest.Wait()
		ok(t, p)
		if _, err := p.Call(t.Context(), &Request{Handler: grows}); !errors.Is(err, ErrTooLarge) {
			t.Error(err)
		}
		if _, err := p.Call(t.Context(), &Request{Handler: echo, Payload: make([]byte, 1<<19+1)}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("more than the peer takes: %v", err)
		}
		if _, err := p.Open(t.Context(), &Request{Handler: deaf}); err != nil {
			t.Error(err)
		}
		st, err := p.Open(t.Context(), &Request{Handler: deaf})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Recv(); !errors.Is(err, ErrOverloaded) {
			t.Errorf("a second stream: %v", err)
		}
		ok(t, p)
	})
}

func TestDeadlinesAndCancelsTravel(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab, a, b *member) {
		p := a.to(t, b)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := p.Call(ctx, &Request{Handler: waits}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 310*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := p.Call(ctx, &Request{Handler: waits}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		time.Sleep(100 * time.Millisecond)
		b.mu.Lock()
		if len(b.ended) != 2 || !errors.Is(b.ended[0], context.DeadlineExceeded) || !errors.Is(b.ended[1], context.Canceled) {
			t.Errorf("the handlers saw %v", b.ended)
		}
		b.mu.Unlock()
		if _, err := p.Call(ctx, &Request{Handler: echo}); !errors.Is(err, context.Canceled) {
			t.Errorf("with a dead context: %v", err)
		}
	})
}

func TestLargePayloads(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab, a, b *member) {
		p := a.to(t, b)
		large := bytes.Repeat([]byte("weft"), 1<<18)
		var wg sync.WaitGroup
		for range 3 * maxBig {
			wg.Go(func() {
				got, err := p.Call(t.Context(), &Request{Handler: echo, Payload: large})
				if !bytes.Equal(got, large) || err != nil {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
		wg.Wait()
		if got, err := p.Call(t.Context(), &Request{Handler: grows}); len(got) != 1<<20 || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		lab.ImpairAll(overlaytest.Impairment{Bandwidth: 1 << 20}) // 16 MiB take 16 s
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Call(ctx, &Request{Handler: echo, Payload: make([]byte, 16<<20)}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		lab.ImpairAll(overlaytest.Impairment{})
		time.Sleep(10 * time.Second)
		ok(t, p)
		if got, err := p.Call(t.Context(), &Request{Handler: echo, Payload: large}); len(got) != 1<<20 || err != nil {
			t.Errorf("after one that was given up: %d bytes, %v", len(got), err)
		}
		if len(a.told()) != 1 {
			t.Errorf("the session did not last: %v", a.told())
		}
	})
}

func TestStreams(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab, a, b *member) {
		p := a.to(t, b)
		st, err := p.Open(t.Context(), &Request{Handler: pipe})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for n := range 1000 {
				if err := st.Send([]byte{byte(n), byte(n >> 8)}); err != nil {
					t.Error(err)
				}
			}
			st.CloseSend()
		})
		for n := range 1000 {
			if got, err := st.Recv(); err != nil || len(got) != 2 || got[0] != byte(n) || got[1] != byte(n>>8) {
				t.Fatalf("message %d: %v, %v", n, got, err)
			}
		}
		if _, err := st.Recv(); err != io.EOF {
			t.Error(err)
		}
		wg.Wait()
		if err := st.Send(nil); err == nil {
			t.Error("sent after the end")
		}
		if err := st.Send(make([]byte, MaxMessage+1)); !errors.Is(err, ErrTooLarge) {
			t.Error(err)
		}
		if _, err := p.Open(t.Context(), &Request{Handler: pipe, Payload: make([]byte, MaxMessage+1)}); !errors.Is(err, ErrTooLarge) {
			t.Error(err)
		}
		if st, err = p.Open(t.Context(), &Request{Handler: echo}); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Recv(); !errors.Is(err, ErrUnknownHandler) {
			t.Error(err)
		}
	})
}

func TestSlowReaderHoldsUpItsSenderAlone(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab, a, b *member) {
		p := a.to(t, b)
		st, err := p.Open(t.Context(), &Request{Handler: deaf})
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan int, 1000)
		var wg sync.WaitGroup
		wg.Go(func() {
			for n := range 1000 {
				if err := st.Send([]byte(strings.TrimLeft(string(rune('0'+n/100))+string(rune('0'+n/10%10))+string(rune('0'+n%10)), "0") + map[bool]string{true: "0"}[n == 0])); err != nil {
					t.Error(err)
				}
				sent <- n
			}
			st.CloseSend()
		})
		time.Sleep(time.Minute)
		if len(sent) != window {
			t.Errorf("%d messages were sent to somebody who does not read", len(sent))
		}
		ok(t, p) // others go on
		close(b.read)
		wg.Wait()
		if _, err := st.Recv(); err == nil || err.Error() != "read 1000" {
			t.Error(err)
		}

		// The other way: this side does not read, and then goes away.
		ctx, cancel := context.WithCancel(t.Context())
		if st, err = p.Open(ctx, &Request{Handler: counts}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := len(st.in); n != window {
			t.Errorf("%d messages came", n)
		}
		ok(t, p)
		cancel()
		time.Sleep(time.Second)
		s := b.session(a.node.ID())
		s.mu.Lock()
		if len(s.served) != 0 {
			t.Error("the handler goes on")
		}
		s.mu.Unlock()
		for range window {
			if _, err := st.Recv(); err != nil {
				t.Error(err) // what has come is read first
			}
		}
		if _, err := st.Recv(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// Four large calls at a time neither hold up small ones, nor does that make them slow on a long path.
func TestSmallCallsBesideLargeOnes(t *testing.T) {
	for _, tt := range []struct {
		latency time.Duration // of each of the two links
		wait    time.Duration // that small calls may have besides
		large   int           // bytes a second
	}{
		{100 * time.Microsecond, 10 * time.Millisecond, 20 << 20},
		{25 * time.Millisecond, 100 * time.Millisecond, 3 << 20}, // two chunks at a time were 1.3 MB/s
	} {
		inLab(t, func(t *testing.T, lab *overlaytest.Lab, a, b *member) {
			lab.ImpairAll(overlaytest.Impairment{Latency: tt.latency, Bandwidth: 100 << 20})
			p := a.to(t, b)
			var wg sync.WaitGroup
			began, slowest := time.Now(), time.Duration(0)
			const each, size = 4, 2 << 20
			for range 4 {
				wg.Go(func() {
					for range each {
						if _, err := p.Call(t.Context(), &Request{Handler: put, Payload: make([]byte, size)}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			done := make(chan struct{})
			go func() { wg.Wait(); close(done) }()
			for calls := 0; ; calls++ {
				select {
				case <-done:
					rate := float64(4*each*size) / time.Since(began).Seconds()
					t.Logf("%.0f MB/s; the slowest of %d small calls took %v", rate/1e6, calls, slowest)
					if slowest > 4*tt.latency+tt.wait || rate < float64(tt.large) {
						t.Error("that is too slow")
					}
					return
				case <-time.After(time.Millisecond):
				}
				call := time.Now()
				ok(t, p)
				slowest = max(slowest, time.Since(call))
			}
		})
	}
}
