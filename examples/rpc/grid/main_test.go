package grid

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1) // see overlaytest
	goleak.VerifyTestMain(m)
}

const port = 7000

// The handlers of all grids in tests.
const (
	echo HandlerID = iota
	fail
	panics
	waits
	secret
	grows
	put
	pipe
	deaf
	counts
	high = 65535
)

// A member is a node with a grid, in a lab.
type member struct {
	*Grid
	node *overlay.Node

	mu     sync.Mutex
	states []error // what OnState was told, of all peers
	ended  []error // why the contexts of waits ended
	read   chan struct{}
}

func (m *member) told() []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]error(nil), m.states...)
}

func (m *member) handlers(t *testing.T) *Handlers {
	h := new(Handlers)
	for _, err := range []error{
		h.Handle(echo, "echo", nil, func(_ context.Context, req *Request) ([]byte, error) { return req.Payload, nil }),
		h.Handle(high, "high", nil, func(_ context.Context, req *Request) ([]byte, error) { return []byte(req.From.ID.String()), nil }),
		h.Handle(fail, "fail", nil, func(context.Context, *Request) ([]byte, error) { return nil, errors.New("no such volume") }),
		h.Handle(panics, "panics", nil, func(context.Context, *Request) ([]byte, error) { panic("on purpose") }),
		h.Handle(waits, "waits", nil, func(ctx context.Context, _ *Request) ([]byte, error) {
			<-ctx.Done()
			m.mu.Lock()
			defer m.mu.Unlock()
			m.ended = append(m.ended, ctx.Err())
			return nil, ctx.Err()
		}),
		h.Handle(secret, "secret", Token("open sesame"), func(_ context.Context, req *Request) ([]byte, error) { return req.Payload, nil }),
		h.Handle(put, "put", nil, func(context.Context, *Request) ([]byte, error) { return nil, nil }),
		h.Handle(grows, "grows", nil, func(_ context.Context, req *Request) ([]byte, error) { return make([]byte, 1<<20), nil }),
		h.HandleStream(pipe, "pipe", nil, func(_ context.Context, _ *Request, s *Stream) error {
			for {
				b, err := s.Recv()
				if err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
				if err := s.Send(b); err != nil {
					return err
				}
			}
		}),
		h.HandleStream(deaf, "deaf", nil, func(ctx context.Context, _ *Request, s *Stream) error {
			select {
			case <-m.read:
			case <-ctx.Done():
				return ctx.Err()
			}
			for n := 0; ; n++ {
				b, err := s.Recv()
				if err != nil {
					return fmt.Errorf("read %d", n)
				}
				if string(b) != fmt.Sprint(n) {
					return fmt.Errorf("message %d is %q", n, b)
				}
			}
		}),
		h.HandleStream(counts, "counts", nil, func(_ context.Context, _ *Request, s *Stream) error {
			for n := 0; ; n++ {
				if err := s.Send(fmt.Append(nil, n)); err != nil {
					return err
				}
			}
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// join makes a node of a lab a member.
func join(t *testing.T, node *overlay.Node, change func(*Config)) *member {
	t.Helper()
	m := &member{node: node, read: make(chan struct{})}
	cfg, err := OnNode(node, port)
	if err != nil {
		t.Fatal(err)
	}
	cfg.OnState = func(_ overlay.NodeID, err error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.states = append(m.states, err)
	}
	if change != nil {
		change(&cfg)
	}
	m.Grid = New(cfg, m.handlers(t))
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// to returns the peer that another member is, connected.
func (m *member) to(t *testing.T, other *member) *Peer {
	t.Helper()
	p, err := m.Peer(other.node.ID())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.WaitForConnect(ctx); err != nil {
		t.Fatal(err)
	}
	return p
}

// inLab runs a test with two members in simulated time.
func inLab(t *testing.T, test func(t *testing.T, lab *overlaytest.Lab, a, b *member)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		lab := overlaytest.New(t, overlaytest.Config{Seed: 1, Link: overlaytest.Impairment{Latency: 5 * time.Millisecond}})
		lab.Relay("relay")
		a, b := join(t, lab.Node("a", overlay.Config{}), nil), join(t, lab.Node("b", overlay.Config{}), nil)
		test(t, lab, a, b)
	})
}

// ok calls echo and wants the answer.
func ok(t *testing.T, p *Peer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if b, err := p.Call(ctx, &Request{Handler: echo, Payload: []byte("hello")}); string(b) != "hello" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}
