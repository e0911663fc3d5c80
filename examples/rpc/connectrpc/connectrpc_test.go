package connectrpc

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/examples/rpc/connectrpc/clusterpb"
	"github.com/weftnet/weft/overlay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "open sesame"

// serveOn serves on a node until the test ends.
func serveOn(t *testing.T, node *overlay.Node) (stop func()) {
	t.Helper()
	ln, err := node.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, NewServer(token, t.Logf), ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

var protocols = map[string][]connect.ClientOption{"connect": nil, "grpc": {connect.WithGRPC()}, "grpcweb": {connect.WithGRPCWeb()}}

func data(s string) *connect.Request[clusterpb.Data] {
	return connect.NewRequest(&clusterpb.Data{Payload: []byte(s)})
}

func TestCallsInAllProtocols(t *testing.T) {
	cfg := testnet.Start(t)
	serveOn(t, testnet.Named(t, cfg, "kv-1"))
	node := testnet.Node(t, cfg)
	for name, options := range protocols {
		t.Run(name, func(t *testing.T) {
			ctx := testnet.Context(t)
			c := NewClient(node.HTTPTransport(), nil, options...)
			defer c.Close()
			cluster := c.Node("kv-1", token)
			if answer, err := cluster.Secret(ctx, data("hello")); err != nil || string(answer.Msg.Payload) != "hello" {
				t.Error(answer, err)
			}
			_, refused := c.Node("kv-1", "guess").Secret(ctx, data(""))
			_, failed := cluster.Fail(ctx, data(""))
			_, panicked := cluster.Fail(ctx, data("panic"))
			_, large := cluster.Echo(ctx, data(strings.Repeat("x", MaxPayload)))
			late, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			_, waited := cluster.Wait(late, data(""))
			for _, tt := range []struct {
				err  error
				code connect.Code
			}{
				{refused, connect.CodePermissionDenied}, {failed, connect.CodeFailedPrecondition}, {panicked, connect.CodeInternal},
				{large, connect.CodeResourceExhausted}, {waited, connect.CodeDeadlineExceeded},
			} {
				if connect.CodeOf(tt.err) != tt.code {
					t.Errorf("%v, not %v", tt.err, tt.code)
				}
			}
			var unknown http.Client
			unknown.Transport = node.HTTPTransport()
			defer unknown.CloseIdleConnections()
			missing := connect.NewClient[clusterpb.Data, clusterpb.Data](&unknown, "http://kv-1/weft.example.rpc.v1.Cluster/Missing", options...)
			if _, err := missing.CallUnary(ctx, data("")); connect.CodeOf(err) != connect.CodeUnimplemented {
				t.Error(err)
			}
		})
	}
}

func TestStreamsInBothProtocols(t *testing.T) {
	cfg := testnet.Start(t)
	serveOn(t, testnet.Named(t, cfg, "kv-1"))
	node := testnet.Node(t, cfg)
	for _, name := range []string{"connect", "grpc"} {
		t.Run(name, func(t *testing.T) {
			c := NewClient(node.HTTPTransport(), nil, protocols[name]...)
			defer c.Close()
			stream := c.Node("kv-1", "").Pipe(testnet.Context(t))
			for n := range 100 {
				if err := stream.Send(data(strings.Repeat("x", n)).Msg); err != nil {
					t.Fatal(err)
				}
				if got, err := stream.Receive(); err != nil || len(got.Payload) != n {
					t.Fatal(got, err)
				}
			}
			if err := stream.CloseRequest(); err != nil {
				t.Error(err)
			}
			if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			_ = stream.CloseResponse()
		})
	}
}

// Who sends to somebody who does not read waits, and others go on.
func TestBackPressure(t *testing.T) {
	cfg := testnet.Start(t)
	serveOn(t, testnet.Named(t, cfg, "kv-1"))
	node := testnet.Node(t, cfg)
	c := NewClient(node.HTTPTransport(), nil)
	defer c.Close()
	ctx, cancel := context.WithCancel(testnet.Context(t))
	cluster := c.Node("kv-1", "")
	stream := cluster.Pipe(ctx)
	stuck := make(chan int, 1<<16)
	var wg sync.WaitGroup
	wg.Go(func() { // what comes back is not read
		for n := 0; stream.Send(data(strings.Repeat("x", 32<<10)).Msg) == nil; n++ {
			stuck <- n
		}
	})
	for last := -1; last != len(stuck); { // until nothing moves while a hundred calls take place
		last = len(stuck)
		for range 100 {
			if _, err := cluster.Echo(ctx, data("hello")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(stuck) * 32 << 10; n > 16<<20 {
		t.Errorf("%d bytes went to nobody", n)
	}
	cancel()
	_ = stream.CloseResponse() // net/http does not notice the cancel while it waits for the other side's window
	wg.Wait()
}

func TestOneSessionAndRestart(t *testing.T) {
	cfg := testnet.Start(t)
	server := testnet.Named(t, cfg, "kv-1")
	stop := serveOn(t, server)
	node := testnet.Node(t, cfg)
	restarts := make(chan string, 1)
	c := NewClient(node.HTTPTransport(), func(host string) { restarts <- host })
	defer c.Close()
	cluster := c.Node("kv-1", "")
	ctx := testnet.Context(t)
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			if _, err := cluster.Echo(ctx, data("hello")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := server.Status().Accepted; n != 1 {
		t.Errorf("%d conns for 500 calls", n)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := cluster.Wait(ctx, data(""))
		failed <- err
	}()
	for server.Status().Accepted != 1 { // the call is on that conn, or there will be another
		t.Fatal("a second conn")
	}
	if _, err := cluster.Echo(ctx, data("")); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-failed; connect.CodeOf(err) != connect.CodeUnavailable && connect.CodeOf(err) != connect.CodeCanceled && connect.CodeOf(err) != connect.CodeUnknown && connect.CodeOf(err) != connect.CodeInternal {
		t.Errorf("%v: %v", connect.CodeOf(err), err)
	}
	instance += " anew"
	serveOn(t, server)
	if _, err := cluster.Echo(ctx, data("again")); err != nil {
		t.Error(err)
	}
	if host := <-restarts; host != "kv-1" {
		t.Error(host)
	}
}

func TestNobodyElse(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, NewServer(token, t.Logf), ln) }()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	c := NewClient(transport, nil)
	defer c.Close()
	if _, err := c.Node(ln.Addr().String(), token).Echo(t.Context(), data("")); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Error(err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
