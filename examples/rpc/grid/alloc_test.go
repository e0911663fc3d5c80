package grid

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// maxAllocs is how many allocations a call may cost, both ends together: the answer that the caller keeps, and what
// the handler's end knows of the call while it runs.
const maxAllocs = 3

// overTCP is a peer over bare TCP, whose handler echo can be called.
func overTCP(t testing.TB) *Peer {
	addrs := make(map[overlay.NodeID]string)
	var grids [2]*Grid
	for i := range grids {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h := new(Handlers)
		if err := h.Handle(echo, "echo", nil, func(_ context.Context, req *Request) ([]byte, error) { return req.Payload, nil }); err != nil {
			t.Fatal(err)
		}
		addrs[overlay.NodeID(i+1)] = ln.Addr().String()
		grids[i] = New(Config{
			ID: overlay.NodeID(i + 1), Listener: ln, Insecure: true,
			Dial: func(ctx context.Context, id overlay.NodeID) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", addrs[id])
			},
		}, h)
		t.Cleanup(func() { _ = grids[i].Close() })
	}
	p, err := grids[0].Peer(2)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.WaitForConnect(ctx); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAllocations(t *testing.T) {
	p := overTCP(t)
	req := &Request{Handler: echo, Payload: make([]byte, 512)}
	n := testing.AllocsPerRun(1000, func() {
		if _, err := p.Call(t.Context(), req); err != nil {
			t.Error(err)
		}
	})
	if n > maxAllocs {
		t.Errorf("%v allocations for a call", n)
	}
	t.Logf("%v allocations for a call", n)
}

func BenchmarkCall(b *testing.B) {
	p := overTCP(b)
	req := &Request{Handler: echo, Payload: make([]byte, 512)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Call(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}
