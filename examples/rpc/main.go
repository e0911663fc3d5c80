// Command rpc is calls and streams between the nodes of a cluster in two forms: package grid, made for the lowest latency,
// and package connectrpc, which is Connect and gRPC. With WEFT_SECRET and WEFT_RELAYS set on both machines:
//
//	WEFT_NAME=kv-1 go run ./rpc serve     # answers both forms
//	WEFT_NAME=kv-2 go run ./rpc call kv-1 # calls in both
//	go run ./rpc bench                    # measures both, against the same over TCP; needs no network
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"connectrpc.com/connect"
	"github.com/weftnet/weft/examples/rpc/connectrpc"
	"github.com/weftnet/weft/examples/rpc/connectrpc/clusterpb"
	"github.com/weftnet/weft/examples/rpc/grid"
	"github.com/weftnet/weft/overlay"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "rpc:", err)
		os.Exit(1)
	}
}

// run does what the arguments say.
func run(ctx context.Context, args []string, out io.Writer) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return withNode(func(node *overlay.Node) error { return serve(ctx, node, out) })
	case len(args) == 2 && args[0] == "call":
		return withNode(func(node *overlay.Node) error { return call(ctx, node, args[1], out) })
	case len(args) > 0 && args[0] == "bench":
		return bench(ctx, args[1:], out)
	}
	return errors.New("say serve, call NODE or bench")
}

func withNode(do func(*overlay.Node) error) error {
	node, err := overlay.Default() // what the environment says
	if err != nil {
		return err
	}
	return errors.Join(do(node), node.Close())
}

const (
	gridPort    = 7000
	connectPort = 80
	token       = "open sesame" // of a real cluster, from its configuration
)

// The numbers of the handlers. Each keeps its meaning for ever; 65536 are possible.
const (
	echoID grid.HandlerID = iota + 1
	putID
	secretID
	pipeID
)

// handlers are what each node of the cluster does for others.
func handlers() (*grid.Handlers, error) {
	h := new(grid.Handlers)
	echo := func(_ context.Context, req *grid.Request) ([]byte, error) { return req.Payload, nil }
	return h, errors.Join(
		h.Handle(echoID, "echo", nil, echo),
		h.Handle(putID, "put", nil, func(context.Context, *grid.Request) ([]byte, error) { return nil, nil }),
		h.Handle(secretID, "secret", grid.Token(token), echo),
		h.HandleStream(pipeID, "pipe", nil, pipe))
}

func pipe(_ context.Context, _ *grid.Request, s *grid.Stream) error {
	for {
		b, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = s.Send(b)
		}
		if err != nil {
			return err
		}
	}
}

// serve answers calls in both forms until ctx ends.
func serve(ctx context.Context, node *overlay.Node, out io.Writer) error {
	logf := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	cfg, err := grid.OnNode(node, gridPort)
	if err != nil {
		return err
	}
	cfg.Logf = logf
	cfg.OnState = func(peer overlay.NodeID, err error) {
		if err == nil {
			logf("%v is here", peer)
		} else {
			logf("%v: %v", peer, err)
		}
	}
	h, err := handlers()
	if err != nil {
		return err
	}
	g := grid.New(cfg, h)
	defer g.Close()
	ln, err := node.Listen(connectPort)
	if err != nil {
		return err
	}
	logf("%v serves", node.ID())
	return connectrpc.Serve(ctx, connectrpc.NewServer(token, logf), ln)
}

// call calls a node in both forms.
func call(ctx context.Context, node *overlay.Node, who string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	pong, err := node.Ping(ctx, who) // a grid calls nodes by ID
	if err != nil {
		return err
	}
	cfg, err := grid.OnNode(node, gridPort)
	if err != nil {
		return err
	}
	g := grid.New(cfg, new(grid.Handlers)) // this node has no handlers
	defer g.Close()
	peer, err := g.Peer(pong.Peer.ID)
	if err != nil {
		return err
	}
	if err := peer.WaitForConnect(ctx); err != nil {
		return err
	}
	for _, req := range []*grid.Request{
		{Handler: echoID, Payload: []byte("hello")},
		{Handler: secretID, Payload: []byte("hello"), Token: []byte(token)},
		{Handler: secretID, Payload: []byte("hello"), Token: []byte("guess")},
		{Handler: 4711},
	} {
		began := time.Now()
		answer, err := peer.Call(ctx, req)
		_, _ = fmt.Fprintf(out, "grid: handler %d: %q, %v, after %v\n", req.Handler, answer, err, time.Since(began).Round(time.Microsecond))
	}
	if err := callStream(ctx, peer, out); err != nil {
		return err
	}
	for _, options := range [][]connect.ClientOption{nil, {connect.WithGRPC()}} {
		if err := callConnect(ctx, node, who, out, options); err != nil {
			return err
		}
	}
	return nil
}

// callStream sends some messages and reads what comes back.
func callStream(ctx context.Context, peer *grid.Peer, out io.Writer) error {
	s, err := peer.Open(ctx, &grid.Request{Handler: pipeID})
	if err != nil {
		return err
	}
	for n := range 3 {
		if err := s.Send(fmt.Append(nil, n)); err != nil {
			return err
		}
	}
	s.CloseSend()
	for {
		b, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "grid: the stream says %s\n", b)
	}
}

// callConnect calls with Connect's own protocol or another one.
func callConnect(ctx context.Context, node *overlay.Node, who string, out io.Writer, options []connect.ClientOption) error {
	client := connectrpc.NewClient(node.HTTPTransport(), nil, options...)
	defer client.Close()
	for _, show := range []string{token, "guess"} {
		began := time.Now()
		answer, err := client.Node(who, show).Secret(ctx, connect.NewRequest(&clusterpb.Data{Payload: []byte("hello")}))
		var said []byte
		if err == nil {
			said = answer.Msg.Payload
		}
		_, _ = fmt.Fprintf(out, "connect: %q, %v, after %v\n", said, err, time.Since(began).Round(time.Microsecond))
	}
	return nil
}
