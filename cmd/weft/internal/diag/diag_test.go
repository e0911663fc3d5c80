package diag

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/cmd/weft/internal/localapi"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

const latency = 10 * time.Millisecond

// A world is a node that answers, and two others.
type world struct {
	lab          *overlaytest.Lab
	up           *overlay.Node
	one, another localapi.Node
	server       *Server
}

// inWorld runs a test in simulated time.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		lab := overlaytest.New(t, overlaytest.Config{Link: overlaytest.Impairment{Latency: latency, Bandwidth: 10e6}})
		lab.Relay("relay")
		w := &world{lab: lab, up: lab.Node("up", overlay.Config{Name: "up"})}
		w.one, w.another = localapi.Own(lab.Node("one", overlay.Config{})), localapi.Own(lab.Node("another", overlay.Config{}))
		log := logrus.New()
		log.SetOutput(t.Output())
		var err error
		w.server, err = Serve(t.Context(), Config{Node: w.up, Version: "v1", Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		defer w.server.Close()
		test(t, w)
	})
}

func TestView(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		v, err := AskView(t.Context(), w.one, "up")
		if err != nil {
			t.Fatal(err)
		}
		if v.Node != w.up.ID().String() || v.Name != "up" || v.Version != "v1" || !v.Now.Equal(v.Now.Truncate(0)) || len(v.Relays) != 1 || !v.Relays[0].Home ||
			!strings.HasPrefix(v.Path, "relay ") || len(v.Paths) == 0 || !v.Paths[0].Active {
			t.Errorf("got %+v", v)
		}
	})
}

func TestBench(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var told atomic.Int64
		begun := time.Now()
		r, err := Bench(t.Context(), w.one, "up", Options{Time: 2 * time.Second, Streams: 3, Progress: func(_ string, n int) { told.Add(int64(n)) }})
		if err != nil {
			t.Fatal(err)
		}
		if r.Node != w.up.ID().String() || !strings.HasPrefix(r.Path, "relay ") || r.Streams != 3 {
			t.Errorf("got %+v", r)
		}
		if r.Trips.Count < 30 || r.Trips.P50 < 40 || r.Trips.P50 > 45 || r.Trips.P99 < r.Trips.P50 || r.Trips.Max < r.Trips.P99 || r.Trips.Min > r.Trips.P50 {
			t.Errorf("round trips: %+v", r.Trips)
		}
		if r.Packets != (Packets{packets, packets, packets}) {
			t.Errorf("packets: %+v", r.Packets)
		}
		for _, d := range []Direction{r.Send, r.Receive} {
			if mb := d.PerSecond() / 1e6; mb < 0.5 || mb > 11 || d.Seconds < 1 {
				t.Errorf("%+v is %.2f MB/s, on a wire of 10", d, mb)
			}
		}
		if uint64(told.Load()) < r.Receive.Bytes {
			t.Errorf("told of %d bytes", told.Load())
		}
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
		if _, err := Bench(t.Context(), w.another, "up", Options{Time: 100 * time.Millisecond, Streams: 1, Rate: 1e5}); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestARateIsKept(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r, err := Bench(t.Context(), w.one, "up", Options{Time: 5 * time.Second, Streams: 2, Rate: 1e6})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []Direction{r.Send, r.Receive} {
			if mb := d.PerSecond() / 1e6; mb < 0.8 || mb > 1.2 {
				t.Errorf("%.2f MB/s instead of 1", mb)
			}
		}
	})
}

func TestLossIsMeasured(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		v, err := AskView(t.Context(), w.one, "up") // there is a session
		if err != nil || v.Path == "" {
			t.Fatal(err)
		}
		m := &measurement{node: w.one, host: "up", opt: Options{Progress: func(string, int) {}}, token: strings.Repeat("x", TokenSize)}
		var r Result
		if err := m.packets(t.Context(), &r); err != nil || r.Packets.Sent != packets || r.Packets.Returned != 0 {
			t.Errorf("with a token of nobody: %+v, %v", r.Packets, err)
		}
	})
}

// Whoever holds the bench holds it alone, and nobody else uses its token.
func TestOneBenchAtATime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		held, a, err := ask(t.Context(), w.one, "up", request{Do: doBegin})
		if err != nil || len(a.Token) != TokenSize {
			t.Fatal(a, err)
		}
		_, err = Bench(t.Context(), w.another, "up", Options{Time: time.Second, Streams: 1})
		if _, ok := errors.AsType[*RefusedError](err); !ok || !strings.Contains(err.Error(), "busy") {
			t.Errorf("a second one: %v", err)
		}
		if _, _, err := ask(t.Context(), w.another, "up", request{Do: doSource, Token: a.Token, Millis: 1000}); err == nil || !strings.Contains(err.Error(), "no such bench") {
			t.Errorf("with another's token: %v", err)
		}
		var streams []*asked
		for range MaxStreams {
			c, _, err := ask(t.Context(), w.one, "up", request{Do: doSink, Token: a.Token})
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, c)
		}
		if _, _, err := ask(t.Context(), w.one, "up", request{Do: doSink, Token: a.Token}); err == nil || !strings.Contains(err.Error(), "at most 16") {
			t.Errorf("a stream too many: %v", err)
		}
		for _, c := range streams {
			_ = c.Close()
		}
		// Who goes on and on is cut off.
		time.Sleep(maxBench + time.Second)
		if b, _ := io.ReadAll(held); len(b) > 0 {
			t.Errorf("it has ended well: %s", b)
		}
		_ = held.Close()
		if _, err := Bench(t.Context(), w.another, "up", Options{Time: time.Second, Streams: 1, Rate: 1e5}); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestBadRequests(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for name, line := range map[string]string{
			"nonsense":   "nonsense\n",
			"a pigeon":   `{"do":"pigeon"}` + "\n",
			"too long":   strings.Repeat(" ", maxLine) + "\n",
			"for hours":  `{"do":"source","time_ms":3600000}` + "\n",
			"too fast":   `{"do":"source","rate":99999999999}` + "\n",
			"backwards":  `{"do":"source","time_ms":-1}` + "\n",
			"long token": `{"do":"sink","token":"` + strings.Repeat("x", 99) + `"}` + "\n",
			"no bench":   `{"do":"echo","token":"x"}` + "\n",
		} {
			conn, err := w.one.Dial(t.Context(), "up:49151")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, line); err != nil {
				t.Fatal(err)
			}
			var a answer
			if err := readLine(newReader(conn), &a); err != nil || a.Error == "" {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
			_ = conn.Close()
		}
		// Who says nothing is not waited for.
		conn, err := w.one.Dial(t.Context(), "up:49151")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		begun := time.Now()
		_, _ = io.ReadAll(conn)
		if took := time.Since(begun); took > requestTimeout+time.Second {
			t.Errorf("silence is waited for %v", took)
		}
	})
}

func TestConnsAreBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for range maxConns {
			conn, err := w.one.Dial(t.Context(), "up:49151")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		synctest.Wait()
		if _, err := AskView(t.Context(), w.another, "up"); err == nil {
			t.Error("one more is answered")
		}
	})
}

func TestABenchEndsWithItsContext(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		why := errors.New("told to stop")
		for _, after := range []time.Duration{0, 50 * time.Millisecond, 500 * time.Millisecond, 3 * time.Second, 5 * time.Second, 15 * time.Second} {
			ctx, cancel := context.WithTimeoutCause(t.Context(), after, why)
			_, err := Bench(ctx, w.one, "up", Options{Time: MaxTime, Streams: 2, Rate: 1e5})
			cancel()
			if !errors.Is(err, why) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("after %v: %v", after, err)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestAServerThatClosesCutsOff(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		done := make(chan error, 1)
		go func() {
			_, err := Bench(t.Context(), w.one, "up", Options{Time: MaxTime, Streams: 2, Rate: 1e5})
			done <- err
		}()
		time.Sleep(5 * time.Second)
		_ = w.server.Close()
		if err := <-done; err == nil {
			t.Error("the bench goes on")
		}
		if _, err := AskView(t.Context(), w.one, "up"); !errors.Is(err, overlay.ErrRefused) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {Time: time.Second}, {Time: MaxTime + 1, Streams: 1}, {Time: 1, Streams: MaxStreams + 1}, {Time: 1, Streams: 1, Rate: -1}} {
		if _, err := Bench(t.Context(), nil, "", o); err == nil {
			t.Errorf("%+v are allowed", o)
		}
	}
}

// Timers fire a millisecond late now and then, which must not slow down what is fast.
func TestLimitsAreNotOfTimers(t *testing.T) {
	t.Parallel()
	if l := limiter(1e9); l.Burst() < 1e7 {
		t.Errorf("%d bytes at once are less than 10 ms of 1 GB/s", l.Burst())
	}
	if l := limiter(1); l.Burst() != blockSize {
		t.Errorf("%d bytes at once", l.Burst())
	}
	for _, tt := range []struct {
		o    Options
		want int64
	}{{Options{Streams: 4}, 0}, {Options{Streams: 4, Rate: 3}, 1}, {Options{Streams: 4, Rate: 8}, 2}} {
		if got := tt.o.perStream(); got != tt.want {
			t.Errorf("%+v: %d bytes a second", tt.o, got)
		}
	}
	if limiter(0) != nil {
		t.Error("no limit is one")
	}
}

func TestTrips(t *testing.T) {
	t.Parallel()
	var all []time.Duration
	for i := range 101 {
		all = append(all, time.Duration(100-i)*time.Millisecond)
	}
	if got, want := tripsOf(all), (Trips{101, 0, 50, 99, 100}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if (Direction{Bytes: 5}).PerSecond() != 0 {
		t.Error("nothing in no time is something")
	}
}

// What a stranger says is read, or refused, and never more than a line of it.
func FuzzLine(f *testing.F) {
	f.Add([]byte(`{"do":"source","token":"x","time_ms":5,"rate":7}` + "\n"))
	f.Add([]byte(`{"view":{"now":"2026-01-01T00:00:00Z","relays":[{}]},"error":"\u001b"}` + "\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var req request
		if readLine(bufio.NewReader(strings.NewReader(string(b))), &req) == nil && req.check() == nil {
			if req.time() < 0 || req.time() > MaxTime || req.Rate < 0 {
				t.Errorf("%+v is allowed", req)
			}
		}
		var a answer
		if readLine(newReader(strings.NewReader(string(b))), &a) == nil {
			if _, err := json.Marshal(a); err != nil {
				t.Error(err)
			}
			for _, r := range (&RefusedError{a.Error}).Error() {
				if r < ' ' {
					t.Errorf("%q goes to the terminal", r)
				}
			}
		}
		_, _ = numberOf(b, strings.Repeat("x", TokenSize))
	})
}
