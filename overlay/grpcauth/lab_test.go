package grpcauth_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlay/grpcauth"
	"github.com/weftnet/weft/relay"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// patience is how long a step of a test may take.
const patience = 30 * time.Second

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// newNetwork starts a relay on loopback, and returns the config of its nodes.
func newNetwork(t *testing.T) overlay.Config {
	t.Helper()
	cfg := overlay.Config{Secret: overlay.NewSecret(), NoLAN: true}
	server, ln, served := &relay.Server{Host: newNode(t, cfg)}, listen(t), make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, relay.ErrServerClosed) {
			t.Error(err)
		}
	})
	cfg.Relays = []string{ln.Addr().String()}
	return cfg
}

func newNode(t *testing.T, cfg overlay.Config) *overlay.Node {
	t.Helper()
	node, err := overlay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := node.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return node
}

type message = wrapperspb.StringValue

// The service is written by hand: it has one call and one stream, which do the
// same with each message.
const (
	callMethod   = "/weft.Test/Call"
	streamMethod = "/weft.Test/Stream"
)

type handler func(ctx context.Context, in string) (string, error)

var streamDesc = grpc.StreamDesc{
	StreamName: "Stream", ClientStreams: true, ServerStreams: true,
	Handler: func(srv any, s grpc.ServerStream) error {
		for {
			in := new(message)
			if err := s.RecvMsg(in); err != nil {
				return nil // the client has ended it
			}
			out, err := srv.(handler)(s.Context(), in.Value)
			if err != nil {
				return err
			}
			if err := s.SendMsg(&message{Value: out}); err != nil {
				return err
			}
		}
	},
}

var serviceDesc = grpc.ServiceDesc{
	ServiceName: "weft.Test",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Call", Handler: func(srv any, ctx context.Context, decode func(any) error, by grpc.UnaryServerInterceptor) (any, error) {
		in := new(message)
		if err := decode(in); err != nil {
			return nil, err
		}
		call := func(ctx context.Context, in any) (any, error) {
			out, err := srv.(handler)(ctx, in.(*message).Value)
			return &message{Value: out}, err
		}
		if by == nil {
			return call(ctx, in)
		}
		return by(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: callMethod}, call)
	}}},
	Streams: []grpc.StreamDesc{streamDesc},
}

// serve runs a server until the test ends.
func serve(t *testing.T, ln net.Listener, h handler, opts ...grpc.ServerOption) {
	t.Helper()
	server, served := grpc.NewServer(append(opts, grpc.Creds(grpcauth.New()))...), make(chan error, 1)
	server.RegisterService(&serviceDesc, h)
	go func() { served <- server.Serve(ln) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// A client of the service.
type client struct{ *grpc.ClientConn }

func newClient(t *testing.T, target string, opts ...grpc.DialOption) client {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+target, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return client{c}
}

// call makes a call.
func (c client) call(ctx context.Context, in string, opts ...grpc.CallOption) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out := new(message)
	err := c.Invoke(ctx, callMethod, &message{Value: in}, out, opts...)
	return out.Value, err
}

// converse sends messages over a stream and returns the last answer.
func (c client) converse(ctx context.Context, texts ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := c.NewStream(ctx, &streamDesc, streamMethod)
	if err != nil {
		return "", err
	}
	out := new(message)
	for _, text := range texts {
		if err := errors.Join(s.SendMsg(&message{Value: text}), s.RecvMsg(out)); err != nil {
			return "", err
		}
	}
	return out.Value, s.CloseSend()
}
