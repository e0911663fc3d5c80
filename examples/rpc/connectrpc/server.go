// Package connectrpc is calls and streams between the nodes of a cluster with connectrpc.com/connect: its own protocol,
// gRPC and gRPC-Web on one port, over HTTP/2 on conns of the overlay.
package connectrpc

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"github.com/weftnet/weft/examples/rpc/connectrpc/clusterpb"
	"github.com/weftnet/weft/examples/rpc/connectrpc/clusterpb/clusterpbconnect"
	"github.com/weftnet/weft/overlay"
)

const (
	// MaxPayload is how many bytes a message may have.
	MaxPayload = 16 << 20
	// maxStreams is how many calls one node may have under way.
	maxStreams = 4096
	// window is what may be sent ahead to one slow reader of a stream.
	window = 256 << 10
)

// instanceHeader names the process that answers, so that callers notice a restart.
const instanceHeader = "Weft-Instance"

var instance = rand.Text()

// NewServer returns a server for Serve. Callers of Secret have to show the token. It logs panics to where logf says.
func NewServer(token string, logf func(format string, args ...any)) *http.Server {
	mux := http.NewServeMux()
	mux.Handle(clusterpbconnect.NewClusterHandler(service{},
		connect.WithReadMaxBytes(MaxPayload), connect.WithInterceptors(guard{token}),
		connect.WithRecover(func(_ context.Context, spec connect.Spec, _ http.Header, p any) error {
			logf("connectrpc: %s panicked: %v", spec.Procedure, p)
			return connect.NewError(connect.CodeInternal, fmt.Errorf("%s panicked", spec.Procedure))
		})))
	server := &http.Server{
		Handler: mux, ConnContext: overlay.ConnContext, Protocols: new(http.Protocols), ReadHeaderTimeout: 10 * time.Second,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: 4 * window,
			SendPingTimeout: 5 * time.Second, PingTimeout: 10 * time.Second,
		},
	}
	server.Protocols.SetUnencryptedHTTP2(true)
	return server
}

// guard is asked before each call: who calls is proven, what he may do is for the token of the call to say.
type guard struct{ token string }

func (g guard) check(ctx context.Context, procedure string, header http.Header) error {
	if _, ok := overlay.PeerFrom(ctx); !ok && ctx.Value(Anybody{}) == nil {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("this service is for nodes of the overlay"))
	}
	if procedure != clusterpbconnect.ClusterSecretProcedure {
		return nil
	}
	if subtle.ConstantTimeCompare([]byte(header.Get("Authorization")), []byte("Bearer "+g.token)) != 1 {
		return connect.NewError(connect.CodePermissionDenied, errors.New("wrong token"))
	}
	return nil
}

// Anybody is the key of a context value that lets calls in which come over no overlay: for comparisons over TCP.
type Anybody struct{}

// WrapUnary is for calls.
func (g guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if err := g.check(ctx, req.Spec().Procedure, req.Header()); err != nil {
			return nil, err
		}
		resp, err := next(ctx, req)
		if err == nil {
			resp.Header().Set(instanceHeader, instance)
		}
		return resp, err
	}
}

// WrapStreamingHandler is for streams.
func (g guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := g.check(ctx, conn.Spec().Procedure, conn.RequestHeader()); err != nil {
			return err
		}
		conn.ResponseHeader().Set(instanceHeader, instance)
		return next(ctx, conn)
	}
}

// WrapStreamingClient does nothing: servers have a guard.
func (g guard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// service is what the nodes do for each other.
type service struct{}

func (service) Echo(_ context.Context, req *connect.Request[clusterpb.Data]) (*connect.Response[clusterpb.Data], error) {
	return connect.NewResponse(req.Msg), nil
}

func (service) Secret(_ context.Context, req *connect.Request[clusterpb.Data]) (*connect.Response[clusterpb.Data], error) {
	return connect.NewResponse(req.Msg), nil
}

func (service) Put(context.Context, *connect.Request[clusterpb.Data]) (*connect.Response[clusterpb.Data], error) {
	return connect.NewResponse(&clusterpb.Data{}), nil
}

func (service) Wait(ctx context.Context, _ *connect.Request[clusterpb.Data]) (*connect.Response[clusterpb.Data], error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (service) Fail(_ context.Context, req *connect.Request[clusterpb.Data]) (*connect.Response[clusterpb.Data], error) {
	if string(req.Msg.Payload) == "panic" {
		panic("asked to") //nolint:forbidigo // the example shows what becomes of it
	}
	return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("no such volume"))
}

func (service) Pipe(_ context.Context, stream *connect.BidiStream[clusterpb.Data, clusterpb.Data]) error {
	for {
		msg, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = stream.Send(msg)
		}
		if err != nil {
			return err
		}
	}
}

// Serve answers calls until ctx ends, and gives those that have begun a moment.
func Serve(ctx context.Context, server *http.Server, ln net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(late) != nil {
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
