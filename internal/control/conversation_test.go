package control

import (
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// A fakeHandler answers from its fields.
type fakeHandler struct {
	registered Register
	records    []Record
	err        error
	revoked    [][]byte
	block      chan struct{} // Observe waits for it to close, unless nil
}

func (h *fakeHandler) Register(_ context.Context, m *Register) (*Registered, error) {
	h.registered = *m
	return &Registered{ObservedAddr: "192.0.2.7:4000", RelayName: "r1"}, h.err
}

func (h *fakeHandler) Lookup(context.Context, *Lookup) ([]Record, error) { return h.records, h.err }

func (h *fakeHandler) Observe(ctx context.Context) (string, error) {
	if h.block != nil {
		select {
		case <-h.block:
		case <-ctx.Done():
		}
	}
	return "192.0.2.7:4000", h.err
}

func (h *fakeHandler) Revoke(_ context.Context, list [][]byte) error {
	h.revoked = list
	return h.err
}

// A conversation is a client and a server on one pipe.
type conversation struct {
	client *Client
	server *Server
	relay  *fakeStream
	served chan error // what Serve returned
	cancel context.CancelFunc
}

func converse(t *testing.T, h Handler, onPush func(Message)) *conversation {
	node, relay := streamPair()
	ctx, cancel := context.WithCancel(t.Context())
	c := &conversation{
		client: NewClient(node, onPush),
		server: NewServer(relay, h),
		relay:  relay,
		served: make(chan error, 1),
		cancel: cancel,
	}
	go func() { c.served <- c.server.Serve(ctx) }()
	return c
}

// end closes the client and checks what the server makes of it.
func (c *conversation) end(t *testing.T) {
	t.Helper()
	_ = c.client.Close()
	if err := <-c.served; err != nil {
		t.Errorf("Serve returned %v after the node closed the stream", err)
	}
	c.cancel()
}

func TestRequestsAreAnswered(t *testing.T) {
	record := Record{ID: testKey.ID(), Key: Key(testKey), Names: []string{"kv-1"}}
	h := &fakeHandler{records: []Record{record}}
	c := converse(t, h, nil)
	defer c.end(t)

	want := Register{Names: []string{"a"}, Epoch: 2, Seq: 1}
	got, err := c.client.Register(t.Context(), want)
	if err != nil || got.ObservedAddr != "192.0.2.7:4000" || got.RelayName != "r1" {
		t.Errorf("Register: %+v, %v", got, err)
	}
	if !reflect.DeepEqual(h.registered, want) {
		t.Errorf("the relay read %+v", h.registered)
	}
	records, err := c.client.Lookup(t.Context(), identity.Target{Name: "kv-1"})
	if err != nil || !reflect.DeepEqual(records, h.records) {
		t.Errorf("Lookup: %+v, %v", records, err)
	}
	if addr, err := c.client.Observe(t.Context()); err != nil || addr != "192.0.2.7:4000" {
		t.Errorf("Observe: %q, %v", addr, err)
	}
}

func TestRefusalsReachTheCaller(t *testing.T) {
	h := &fakeHandler{}
	c := converse(t, h, nil)
	defer c.end(t)

	if _, err := c.client.Lookup(t.Context(), identity.Target{ID: 1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown node: got %v", err)
	}
	h.err = &Failed{Code: FailureStale, Reason: "older", Epoch: 7}
	_, err := c.client.Register(t.Context(), Register{})
	if failed, ok := errors.AsType[*Failed](err); !ok || failed.Code != FailureStale || failed.Epoch != 7 {
		t.Errorf("stale: got %v", err)
	}
	h.err = errors.New(strings.Repeat("x", 2*MaxReason))
	_, err = c.client.Observe(t.Context())
	if failed, ok := errors.AsType[*Failed](err); !ok || failed.Code != FailureInternal {
		t.Errorf("internal: got %v", err)
	}
	h.err = nil
	h.records = []Record{{ID: 1}} // an ID that is not its key's: cannot be sent
	_, err = c.client.Lookup(t.Context(), identity.Target{ID: 1})
	if failed, ok := errors.AsType[*Failed](err); !ok || failed.Code != FailureInternal {
		t.Errorf("unsendable answer: got %v", err)
	}
}

func TestRelayAnswersUnknownRequestsWithUnsupported(t *testing.T) {
	node, relay := streamPair()
	done := make(chan error, 1)
	go func() { done <- NewServer(relay, &fakeHandler{}).Serve(t.Context()) }()
	push := bodyOf(t, 777, "a0")
	push[7] = 0 // nobody asked: ignored
	_, _ = node.Write(push)
	_, _ = node.Write(bodyOf(t, 777, "a0"))
	e, err := read(node)
	if failed, ok := e.message.(*Failed); err != nil || !ok || failed.Code != FailureUnsupported || e.request != 1 {
		t.Errorf("got %+v, %v", e, err)
	}
	_ = node.Close()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestMalformedRequestsResetTheStream(t *testing.T) {
	node, relay := streamPair()
	done := make(chan error, 1)
	go func() { done <- NewServer(relay, &fakeHandler{}).Serve(t.Context()) }()
	_, _ = node.Write(bodyOf(t, KindRegister, "80"))
	if err := <-done; !errors.Is(err, ErrMalformed) {
		t.Errorf("Serve: %v", err)
	}
	if got := relay.code.Load(); got != CodeMalformed {
		t.Errorf("reset with code %#x", got)
	}
}

func TestMalformedAnswersEndTheClient(t *testing.T) {
	node, relay := streamPair()
	client := NewClient(node, nil)
	defer client.Close()
	_, _ = relay.Write(bodyOf(t, KindFound, "a0"))
	<-client.Done()
	if got := node.code.Load(); got != CodeMalformed {
		t.Errorf("reset with code %#x", got)
	}
	if _, err := client.Observe(t.Context()); !errors.Is(err, ErrMalformed) {
		t.Errorf("a later request failed with %v", err)
	}
}

func TestAnswersNobodyWaitsForAreIgnored(t *testing.T) {
	node, relay := streamPair()
	client := NewClient(node, nil)
	defer client.Close()
	for _, b := range [][]byte{bodyOf(t, KindObserved, "a0"), bodyOf(t, 999, "")} {
		if _, err := relay.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		e, _ := read(relay)
		b, _ := encode(e.request, &Found{Records: []Record{{ID: testKey.ID(), Key: Key(testKey)}}})
		_, _ = relay.Write(b)
	}()
	if _, err := client.Observe(t.Context()); err == nil || !strings.Contains(err.Error(), "kind 6") {
		t.Errorf("an answer of the wrong kind gave %v", err)
	}
}

func TestPushesReachTheNode(t *testing.T) {
	got := make(chan Message, 2)
	c := converse(t, &fakeHandler{}, func(m Message) { got <- m })
	defer c.end(t)
	c.server.Push(&GoingAway{GraceMillis: 10})
	c.server.Push(&Throttled{Dropped: 1})
	if m := <-got; !reflect.DeepEqual(m, &GoingAway{GraceMillis: 10}) {
		t.Errorf("first push: %+v", m)
	}
	if m := <-got; !reflect.DeepEqual(m, &Throttled{Dropped: 1}) {
		t.Errorf("second push: %+v", m)
	}
}

func TestManyRequestsAtOnceEachGetTheirOwnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := converse(t, &fakeHandler{}, nil)
		results := make(chan error)
		const n = 3 * maxPending
		for range n {
			go func() {
				_, err := c.client.Observe(t.Context())
				results <- err
			}()
		}
		for range n {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		c.end(t)
	})
}

func TestRequestsAreServedAtALimitedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := converse(t, &fakeHandler{}, nil)
		start := time.Now()
		const seconds = 4
		for range RequestBurst + seconds*RequestsPerSecond + 1 {
			if _, err := c.client.Observe(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < (seconds-1)*time.Second || took > (seconds+1)*time.Second {
			t.Errorf("took %v, want about %d s", took, seconds)
		}
		c.end(t)
	})
}

func TestContextEndsAWaitAndLeavesTheStreamUsable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHandler{block: make(chan struct{})}
		c := converse(t, h, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.client.Observe(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		close(h.block)
		if _, err := c.client.Observe(t.Context()); err != nil {
			t.Errorf("after a cancelled request: %v", err)
		}
		c.end(t)
	})
}

func TestContextEndsAWaitForARelayThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, _ := streamPair()
		client := NewClient(node, nil)
		defer client.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		results := make(chan error)
		const n = 2 * maxPending
		for range n {
			go func() {
				_, err := client.Observe(ctx)
				results <- err
			}()
		}
		for range n {
			if err := <-results; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestCloseEndsRequestsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := converse(t, &fakeHandler{block: make(chan struct{})}, nil)
		result := make(chan error)
		go func() {
			_, err := c.client.Observe(t.Context())
			result <- err
		}()
		synctest.Wait()
		_ = c.client.Close()
		if err := <-result; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
		c.cancel()
		<-c.served
	})
}

func TestANodeThatDoesNotReadIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, relay := streamPair()
		server := NewServer(relay, &fakeHandler{})
		done := make(chan error, 1)
		go func() { done <- server.Serve(t.Context()) }()
		request, err := encode(1, &Observe{})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				if _, err := node.Write(request); err != nil {
					return
				}
			}
		}()
		if err := <-done; err == nil {
			t.Error("Serve returned nil")
		}
		if got := relay.code.Load(); got != CodeTooSlow {
			t.Errorf("reset with code %#x", got)
		}
	})
}

func TestPushesToASlowNodeAreDroppedAndCounted(t *testing.T) {
	_, relay := streamPair()
	server := NewServer(relay, &fakeHandler{})
	for range queueLen + 3 {
		server.Push(&Throttled{})
	}
	if got := server.Dropped(); got != 3 {
		t.Errorf("dropped %d, want 3", got)
	}
}

func TestContextEndsServe(t *testing.T) {
	c := converse(t, &fakeHandler{}, nil)
	c.cancel()
	if err := <-c.served; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Serve: %v", err)
	}
	<-c.client.Done()
	_ = c.client.Close()
}
