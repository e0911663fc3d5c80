package grpcauth_test

import (
	"context"
	"fmt"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlay/grpcauth"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// allow makes a server refuse the calls of nodes that a rule does not allow.
func allow(rule *overlay.Rule) []grpc.ServerOption {
	check := func(ctx context.Context) error {
		if p, ok := grpcauth.FromContext(ctx); !ok || !rule.Allows(p) {
			return status.Error(codes.PermissionDenied, "this node may not call")
		}
		return nil
	}
	return []grpc.ServerOption{
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := check(ctx); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := check(s.Context()); err != nil {
				return err
			}
			return next(srv, s)
		}),
	}
}

// Interceptors decide who may call. Where one rule holds for all calls,
// overlay.ListenConfig.Allow does it before a conn is made.
func Example() {
	node, err := overlay.Default()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	ln, err := node.Listen(80)
	if err != nil {
		fmt.Println(err)
		return
	}
	rule := &overlay.Rule{Roles: []string{"backup"}}
	server := grpc.NewServer(append(allow(rule), grpc.Creds(grpcauth.New()))...)
	// ... register services, whose methods ask FromContext who is calling
	fmt.Println(server.Serve(ln))
}

// A client is told who has answered, too, by grpc.Peer.
func ExampleNew() {
	node, err := overlay.Default()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	client, err := grpc.NewClient("passthrough:///greeter:80",
		grpc.WithTransportCredentials(grpcauth.New()),
		grpc.WithContextDialer(node.Dial))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
}
