package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/weftnet/weft/examples/kvstore/kvv1"
	"github.com/weftnet/weft/examples/kvstore/kvv1/kvv1connect"
	"github.com/weftnet/weft/overlay"
)

// A simnet carries calls between nodes in memory, late, sometimes twice, and not at all to
// and from those that are elsewhere.
type simnet struct {
	mu     sync.Mutex
	random *rand.Rand
	nodes  map[overlay.NodeID]*Node // that run
	island map[overlay.NodeID]int   // those on different ones do not reach each other
	slow   time.Duration            // at most
}

func (s *simnet) delay() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.random.IntN(50) == 0 {
		return time.Duration(s.random.Int64N(int64(3 * time.Second)))
	}
	return time.Duration(s.random.Int64N(int64(s.slow)))
}

// reaches returns a node as another one sees it: nil if it cannot be reached.
func (s *simnet) reaches(from, to overlay.NodeID) *Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.island[from] != s.island[to] {
		return nil
	}
	return s.nodes[to]
}

func (s *simnet) twice() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(30) == 0
}

// dialler is for Config.Peer of a node.
func (s *simnet) dialler(from overlay.NodeID) func(string) kvv1connect.NodeServiceClient {
	return func(address string) kvv1connect.NodeServiceClient {
		to, _ := overlay.ParseNodeID(address)
		return wire{s, from, to}
	}
}

// A wire is what a node has of another one.
type wire struct {
	net      *simnet
	from, to overlay.NodeID
}

// send makes a call over a wire. The callee works on even when the caller is gone.
func send[Req proto.Message, Resp any](ctx context.Context, w wire, req Req, call func(*Node, context.Context, Req) (Resp, error)) (Resp, error) {
	type answer struct {
		resp Resp
		err  error
	}
	answers := make(chan answer, 2)
	deliver := func() {
		time.Sleep(w.net.delay())
		n := w.net.reaches(w.from, w.to)
		if n == nil {
			return // lost
		}
		resp, err := call(n, context.Background(), proto.Clone(req).(Req))
		if err != nil {
			err = connect.NewWireError(connect.CodeOf(err), errors.New(err.Error()))
		}
		time.Sleep(w.net.delay())
		if w.net.reaches(w.to, w.from) != nil {
			answers <- answer{resp, err}
		}
	}
	go deliver()
	if w.net.twice() {
		go deliver()
	}
	select {
	case a := <-answers:
		return a.resp, a.err
	case <-ctx.Done():
		var none Resp
		return none, connect.NewError(connect.CodeDeadlineExceeded, context.Cause(ctx))
	}
}

func (w wire) Stabilize(ctx context.Context, req *kvv1.StabilizeRequest) (*kvv1.StabilizeResponse, error) {
	return send(ctx, w, req, (*Node).Stabilize)
}

func (w wire) FindSuccessor(ctx context.Context, req *kvv1.FindSuccessorRequest) (*kvv1.FindSuccessorResponse, error) {
	return send(ctx, w, req, (*Node).FindSuccessor)
}

func (w wire) Exchange(ctx context.Context, req *kvv1.ExchangeRequest) (*kvv1.ExchangeResponse, error) {
	return send(ctx, w, req, (*Node).Exchange)
}

func (w wire) Learn(ctx context.Context, req *kvv1.LearnRequest) (*kvv1.LearnResponse, error) {
	return send(ctx, w, req, (*Node).Learn)
}

func (w wire) Admit(ctx context.Context, req *kvv1.AdmitRequest) (*kvv1.AdmitResponse, error) {
	return send(ctx, w, req, func(n *Node, ctx context.Context, req *kvv1.AdmitRequest) (*kvv1.AdmitResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, joinTimeout)
		defer cancel()
		return n.Admit(ctx, req)
	})
}

func (w wire) Reach(ctx context.Context, req *kvv1.ReachRequest) (*kvv1.ReachResponse, error) {
	return send(ctx, w, req, (*Node).Reach)
}

func (w wire) Prepare(ctx context.Context, req *kvv1.PrepareRequest) (*kvv1.PrepareResponse, error) {
	return send(ctx, w, req, (*Node).Prepare)
}

func (w wire) Accept(ctx context.Context, req *kvv1.AcceptRequest) (*kvv1.AcceptResponse, error) {
	return send(ctx, w, req, (*Node).Accept)
}

func (w wire) Query(ctx context.Context, req *kvv1.QueryRequest) (*kvv1.QueryResponse, error) {
	return send(ctx, w, req, (*Node).Query)
}

func (w wire) Store(ctx context.Context, req *kvv1.StoreRequest) (*kvv1.StoreResponse, error) {
	return send(ctx, w, req, (*Node).Store)
}

func (w wire) List(ctx context.Context, req *kvv1.ListRequest) (*kvv1.ListResponse, error) {
	return send(ctx, w, req, (*Node).List)
}

func (w wire) Fetch(ctx context.Context, req *kvv1.FetchRequest) (*kvv1.FetchResponse, error) {
	return send(ctx, w, req, (*Node).Fetch)
}

// running lists the nodes that run, in order.
func (s *simnet) running() (nodes []*Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b *Node) int { return position(a.id).compare(position(b.id)) })
	return nodes
}
