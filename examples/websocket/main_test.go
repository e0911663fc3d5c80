package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1) // see overlaytest
	goleak.VerifyTestMain(m)
}

// A counting lab is a simulated network with a counter.
type countingLab struct {
	*overlaytest.Lab
	t       *testing.T
	counter *counter
	stop    func()
}

func inLab(t *testing.T, test func(t *testing.T, lab *countingLab)) {
	synctest.Test(t, func(t *testing.T) {
		lab := &countingLab{t: t, Lab: overlaytest.New(t, overlaytest.Config{Link: overlaytest.Impairment{Latency: 10 * time.Millisecond}})}
		lab.Relay("relay")
		ln, err := lab.Node("counter", overlay.Config{}).Listen(80)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		served := make(chan error, 1)
		lab.counter = newCounter(ctx)
		go func() { served <- lab.counter.serve(ln) }()
		lab.stop = sync.OnceFunc(func() {
			cancel()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
		defer lab.stop()
		test(t, lab)
	})
}

// connect opens a WebSocket to the counter.
func (l *countingLab) connect(node *overlay.Node) *websocket.Conn {
	l.t.Helper()
	conn, err := connect(l.t.Context(), node, "counter")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func (l *countingLab) watchers() int {
	l.counter.mu.Lock()
	defer l.counter.mu.Unlock()
	return len(l.counter.watchers)
}

// next reads a state.
func next(t *testing.T, conn *websocket.Conn) state {
	t.Helper()
	_, data, err := conn.Read(t.Context())
	var s state
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAllSeeTheLastState(t *testing.T) {
	inLab(t, func(t *testing.T, lab *countingLab) {
		const adders, times = 4, 25
		watcher := lab.connect(lab.Node("watcher", overlay.Config{}))
		var adding sync.WaitGroup
		for i := range adders {
			node := lab.Node(fmt.Sprintf("adder-%d", i), overlay.Config{})
			adding.Go(func() {
				for range times {
					if err := watch(t.Context(), node, "counter", 2, io.Discard); err != nil { // until it is acknowledged
						t.Error(err)
					}
				}
			})
		}
		adding.Wait()
		for total, states := int64(-1), 0; total < 2*adders*times; states++ {
			s := next(t, watcher)
			if s.Total <= total || s.Yours != 0 || s.Total > 2*adders*times || states > 0 && !strings.HasPrefix(s.By, "adder-") {
				t.Fatalf("%+v after %d", s, total)
			}
			total = s.Total
		}
		_ = watcher.CloseNow()
	})
}

func TestBadMessages(t *testing.T) {
	for _, tt := range []struct {
		sent   string
		status websocket.StatusCode
		reason string
	}{
		{`{"add": 0}`, websocket.StatusPolicyViolation, `say {"add": N} with N from 1 to 1000`},
		{`{"add": 1001}`, websocket.StatusPolicyViolation, "say "},
		{`{"add": "many"}`, websocket.StatusPolicyViolation, "say "},
		{"hello", websocket.StatusPolicyViolation, "say "},
		{strings.Repeat(" ", maxMessage+1), websocket.StatusMessageTooBig, "read limited at 257 bytes"},
	} {
		inLab(t, func(t *testing.T, lab *countingLab) {
			conn := lab.connect(lab.Node("client", overlay.Config{}))
			next(t, conn)
			if err := conn.Write(t.Context(), websocket.MessageText, []byte(tt.sent)); err != nil {
				t.Fatal(err)
			}
			_, _, err := conn.Read(t.Context())
			closed, _ := errors.AsType[websocket.CloseError](err)
			if closed.Code != tt.status || !strings.HasPrefix(closed.Reason, tt.reason) {
				t.Errorf("%.20q: %v", tt.sent, err)
			}
		})
	}
}

func TestTooManyWatch(t *testing.T) {
	inLab(t, func(t *testing.T, lab *countingLab) {
		lab.ImpairAll(overlaytest.Impairment{}) // no time passes, and no heartbeat is missed by conns that nobody reads
		node := lab.Node("client", overlay.Config{})
		var conns []*websocket.Conn
		for range maxWatchers {
			conns = append(conns, lab.connect(node))
		}
		if err := watch(t.Context(), node, "counter", 1, nil); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable: 256 are watching") {
			t.Error(err)
		}
		if err := conns[0].Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := watch(t.Context(), node, "counter", 1, io.Discard); err != nil {
			t.Error(err)
		}
		for _, conn := range conns {
			_ = conn.CloseNow()
		}
	})
}

// Who is cut off is forgotten after a heartbeat or two, and counts on when it is back.
func TestWhoIsCutOff(t *testing.T) {
	inLab(t, func(t *testing.T, lab *countingLab) {
		node := lab.Node("client", overlay.Config{})
		watched := make(chan error, 1)
		go func() { watched <- watch(t.Context(), node, "counter", 0, io.Discard) }()
		time.Sleep(10 * heartbeat)
		if n := lab.watchers(); n != 1 {
			t.Fatalf("%d watchers: %v", n, <-watched)
		}
		lab.Cut("client")
		time.Sleep(3 * heartbeat)
		if n := lab.watchers(); n != 0 {
			t.Errorf("%d watchers", n)
		}
		if err := <-watched; !errors.Is(err, overlay.ErrPeerLost) {
			t.Error(err)
		}
		lab.Heal("client")
		if err := watch(t.Context(), node, "counter", 7, io.Discard); err != nil {
			t.Error(err)
		}
	})
}

func TestTheCounterLeaves(t *testing.T) {
	inLab(t, func(t *testing.T, lab *countingLab) {
		node := lab.Node("client", overlay.Config{})
		watched := make(chan error, 1)
		var out bytes.Buffer
		go func() { watched <- watch(t.Context(), node, "counter", 0, &out) }()
		if err := watch(t.Context(), node, "counter", 3, io.Discard); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		lab.stop()
		if err := <-watched; err == nil || err.Error() != "counter ended it: the counter is leaving" || !strings.HasSuffix(out.String(), "3 (client)\n") {
			t.Errorf("%q, %v", &out, err)
		}
		if err := watch(t.Context(), node, "counter", 1, nil); !errors.Is(err, overlay.ErrRefused) {
			t.Error(err)
		}
	})
}

func TestFromTheEnvironment(t *testing.T) {
	cfg := testnet.Start(t)
	ln, err := testnet.Named(t, cfg, "counter").Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- newCounter(ctx).serve(ln) }()
	testnet.Setenv(t, cfg)
	t.Setenv(overlay.EnvName, "canyon")
	for _, want := range []string{"5 (canyon)\n", "10 (canyon)\n"} {
		var out strings.Builder
		if err := run(testnet.Context(t), []string{"counter", "5"}, &out); err != nil || out.String() != want {
			t.Errorf("%q, %v", &out, err)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{"counter", "0"}, {"counter", "many"}, {"counter", "1001"}, {"counter", "1", "2"}} {
		if err := run(t.Context(), args, nil); err == nil || !strings.Contains(err.Error(), "say ") {
			t.Errorf("%q: %v", args, err)
		}
	}
}
