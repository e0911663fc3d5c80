// Command grpc is a gRPC server, which knows which node is calling, and its
// client, on conns of the overlay. With WEFT_SECRET and WEFT_RELAYS set on both
// machines:
//
//	WEFT_NAME=greeter go run ./grpc             # serves on port 80
//	WEFT_NAME=canyon go run ./grpc greeter:80   # calls, and prints hello, canyon
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlay/grpcauth"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
}

// run serves, or calls an address if there is one.
func run(ctx context.Context, args []string, out io.Writer) error {
	node, err := overlay.Default() // what the environment says
	if err != nil {
		return err
	}
	defer node.Close()
	if len(args) > 0 {
		return call(ctx, node, args[0], out)
	}
	ln, err := node.Listen(80)
	if err != nil {
		return err
	}
	return serve(ctx, ln)
}

// greet is the only method of the service. What protoc would make of a .proto file
// is written by hand, so that the example needs none.
const greet = "/weft.example.Greeter/Greet"

var greeter = grpc.ServiceDesc{
	ServiceName: "weft.example.Greeter",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Greet",
		Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			if err := decode(new(emptypb.Empty)); err != nil {
				return nil, err
			}
			return hello(ctx)
		},
	}},
}

// hello greets the node that calls.
func hello(ctx context.Context) (*wrapperspb.StringValue, error) {
	peer, ok := grpcauth.FromContext(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "this service is for nodes of the overlay")
	}
	name := peer.ID.String()
	if len(peer.Names) > 0 {
		name = peer.Names[0]
	}
	return wrapperspb.String("hello, " + name), nil
}

// serve answers calls until ctx ends, and finishes those that have begun.
func serve(ctx context.Context, ln net.Listener) error {
	server := grpc.NewServer(grpc.Creds(grpcauth.New()))
	server.RegisterService(&greeter, nil)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(stopped); server.GracefulStop() })
	err := server.Serve(ln)
	if !stop() {
		<-stopped
	}
	return err
}

// call calls an address and writes the answer.
func call(ctx context.Context, node *overlay.Node, addr string, out io.Writer) error {
	client, err := grpc.NewClient("passthrough:///"+addr, // the overlay finds nodes, not DNS
		grpc.WithTransportCredentials(grpcauth.New()),
		grpc.WithContextDialer(node.Dial))
	if err != nil {
		return err
	}
	defer client.Close()
	answer := new(wrapperspb.StringValue)
	if err := client.Invoke(ctx, greet, new(emptypb.Empty), answer); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, answer.Value)
	return err
}
