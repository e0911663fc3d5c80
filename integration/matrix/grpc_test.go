package matrix

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftnet/weft/listener"
)

var grpcCells = []cell{
	{name: "unary", run: testUnary},
	{name: "server-streaming", run: testServerStreaming},
	{name: "client-streaming", run: testClientStreaming},
	{name: "bidirectional", run: testBidirectional},
	{name: "deadline", run: testRPCDeadline},
	{name: "cancellation", run: testRPCCancellation},
	{name: "graceful-stop", run: testGracefulStop},
}

type message = wrapperspb.BytesValue

// An rpcService is what the server of a cell does. What is nil is not served.
type rpcService struct {
	unary  func(context.Context, *message) (*message, error)
	stream func(grpc.ServerStream) error
}

// The methods of the service, which is written by hand: nothing is generated.
const (
	service      = "weft.Matrix"
	methodUnary  = "/" + service + "/Unary"
	methodStream = "/" + service + "/Stream"
)

var streamDesc = grpc.StreamDesc{
	StreamName: "Stream", ClientStreams: true, ServerStreams: true,
	Handler: func(srv any, s grpc.ServerStream) error { return srv.(*rpcService).stream(s) },
}

var serviceDesc = grpc.ServiceDesc{
	ServiceName: service,
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Unary",
		Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(message)
			if err := decode(in); err != nil {
				return nil, err
			}
			return srv.(*rpcService).unary(ctx, in)
		},
	}},
	Streams: []grpc.StreamDesc{streamDesc},
}

// An rpc is a gRPC server on B and a client on A.
type rpc struct {
	*lab
	server *grpc.Server
	client *grpc.ClientConn
	served chan error
}

func newRPC(l *lab, s rpcService) *rpc {
	l.Helper()
	ln := l.listen(l.b, 80, listener.ListenConfig{})
	r := &rpc{lab: l, server: grpc.NewServer(), served: make(chan error, 1)}
	r.server.RegisterService(&serviceDesc, &s)
	go func() {
		r.served <- r.server.Serve(ln)
		close(r.served)
	}()
	var err error
	r.client, err = grpc.NewClient("passthrough:///"+l.b.host()+":80",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return l.a.Dial(ctx, addr) }))
	l.must(err)
	l.Cleanup(func() {
		r.client.Close()
		r.server.Stop()
		for range r.served {
		}
	})
	return r
}

// call makes a unary call.
func (r *rpc) call(ctx context.Context, payload []byte) ([]byte, error) {
	out := new(message)
	err := r.client.Invoke(ctx, methodUnary, &message{Value: payload}, out)
	return out.Value, err
}

// open begins a streaming call.
func (r *rpc) open(ctx context.Context) grpc.ClientStream {
	r.Helper()
	s, err := r.client.NewStream(ctx, &streamDesc, methodStream)
	r.must(err)
	return s
}

// wantStatus checks how a call failed.
func (l *lab) wantStatus(err error, want codes.Code) {
	l.Helper()
	if status.Code(err) != want {
		l.Errorf("call: error is %v, want %v", err, want)
	}
}

// payload is the i-th message of a stream.
func payload(i int) []byte { return bytes.Repeat([]byte{byte(i)}, i*100) }

func testUnary(l *lab) {
	r := newRPC(l, rpcService{unary: func(_ context.Context, in *message) (*message, error) {
		if len(in.Value) == 0 {
			return nil, status.Error(codes.InvalidArgument, "empty")
		}
		return in, nil
	}})
	all(50, func(i int) {
		sent := payload(i + 1)
		if got, err := r.call(l.ctx, sent); err != nil || !bytes.Equal(got, sent) {
			l.Errorf("call: %d bytes of %d, or others; %v", len(got), len(sent), err)
		}
	})
	large, _ := io.ReadAll(body(1, min(l.big(), 3<<20))) // gRPC takes 4 MiB
	if got, err := r.call(l.ctx, large); err != nil || !bytes.Equal(got, large) {
		l.Errorf("large call: %d bytes of %d, or others; %v", len(got), len(large), err)
	}
	_, err := r.call(l.ctx, nil)
	l.wantStatus(err, codes.InvalidArgument)
}

// messages is how long streams are.
const messages = 100

func testServerStreaming(l *lab) {
	r := newRPC(l, rpcService{stream: func(s grpc.ServerStream) error {
		if err := s.RecvMsg(new(message)); err != nil {
			return err
		}
		for i := range messages {
			if err := s.SendMsg(&message{Value: payload(i)}); err != nil {
				return err
			}
		}
		return nil
	}})
	s := r.open(l.ctx)
	l.must(s.SendMsg(new(message)))
	l.must(s.CloseSend())
	r.wantStream(s)
}

// receiver is what both ends of a streaming call have.
type receiver interface{ RecvMsg(any) error }

// wantStream reads all messages and the clean end.
func (l *lab) wantStream(s receiver) {
	l.Helper()
	for i := range messages {
		in := new(message)
		if err := s.RecvMsg(in); err != nil || !bytes.Equal(in.Value, payload(i)) {
			l.Errorf("message %d: %d bytes, or others; %v", i, len(in.Value), err)
			return
		}
	}
	if err := s.RecvMsg(new(message)); err != io.EOF {
		l.Errorf("after all messages: %v, want EOF", err)
	}
}

func testClientStreaming(l *lab) {
	r := newRPC(l, rpcService{stream: func(s grpc.ServerStream) error {
		l.wantStream(s)
		return s.SendMsg(&message{Value: []byte("got all")})
	}})
	s := r.open(l.ctx)
	for i := range messages {
		l.must(s.SendMsg(&message{Value: payload(i)}))
	}
	l.must(s.CloseSend())
	in := new(message)
	if err := s.RecvMsg(in); err != nil || string(in.Value) != "got all" {
		l.Errorf("answer is %q, %v", in.Value, err)
	}
}

// echoStream sends back what it gets.
func echoStream(s grpc.ServerStream) error {
	for {
		in := new(message)
		if err := s.RecvMsg(in); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := s.SendMsg(in); err != nil {
			return err
		}
	}
}

// testBidirectional talks in turns, and then in both directions at once.
func testBidirectional(l *lab) {
	r := newRPC(l, rpcService{stream: echoStream})
	s := r.open(l.ctx)
	for i := range 20 {
		l.must(s.SendMsg(&message{Value: payload(i)}))
		in := new(message)
		if err := s.RecvMsg(in); err != nil || !bytes.Equal(in.Value, payload(i)) {
			l.Fatalf("message %d: %d bytes, or others; %v", i, len(in.Value), err)
		}
	}
	sent := make(chan error, 1)
	go func() {
		for i := range messages {
			if err := s.SendMsg(&message{Value: payload(i)}); err != nil {
				sent <- err
				return
			}
		}
		sent <- s.CloseSend()
	}()
	l.wantStream(s)
	l.must(await(l, "sending", sent))
}

// testRPCDeadline has deadlines pass at the client and be known at the server.
func testRPCDeadline(l *lab) {
	ended := make(chan error, 2)
	wait := func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			l.Error("the server does not know the deadline")
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	r := newRPC(l, rpcService{
		unary: func(ctx context.Context, in *message) (*message, error) {
			if len(in.Value) > 0 {
				return in, nil
			}
			return nil, wait(ctx)
		},
		stream: func(s grpc.ServerStream) error { return wait(s.Context()) },
	})
	if _, err := r.call(l.ctx, []byte("warm")); err != nil {
		l.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(l.ctx, time.Second)
	defer cancel()
	s := r.open(ctx)
	_, err := r.call(ctx, nil)
	l.wantStatus(err, codes.DeadlineExceeded)
	l.wantStatus(s.RecvMsg(new(message)), codes.DeadlineExceeded)
	for range 2 {
		await(l, "the server's context ends", ended)
	}
	if _, err := r.call(l.ctx, []byte("well")); err != nil {
		l.Errorf("call after the deadline: %v", err)
	}
	if got := l.b.table.Stats().Accepted; got != 1 {
		l.Errorf("%d conns", got)
	}
}

func testRPCCancellation(l *lab) {
	entered, ended := make(chan struct{}, 2), make(chan error, 2)
	wait := func(ctx context.Context) error {
		entered <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	r := newRPC(l, rpcService{
		unary:  func(ctx context.Context, _ *message) (*message, error) { return nil, wait(ctx) },
		stream: func(s grpc.ServerStream) error { return wait(s.Context()) },
	})
	ctx, cancel := context.WithCancel(l.ctx)
	failed := make(chan error, 2)
	go func() {
		_, err := r.call(ctx, nil)
		failed <- err
	}()
	go func() {
		s, err := r.client.NewStream(ctx, &streamDesc, methodStream)
		if err == nil {
			err = s.RecvMsg(new(message))
		}
		failed <- err
	}()
	for range 2 {
		await(l, "the call", entered)
	}
	cancel()
	for range 2 {
		l.wantStatus(await(l, "the call's end", failed), codes.Canceled)
		if err := await(l, "the server's context ends", ended); !errors.Is(err, context.Canceled) {
			l.Errorf("server: context ended with %v", err)
		}
	}
}

// testGracefulStop stops the server while a stream is open.
func testGracefulStop(l *lab) {
	r := newRPC(l, rpcService{stream: echoStream})
	s := r.open(l.ctx)
	l.must(s.SendMsg(&message{Value: payload(0)}))
	l.must(s.RecvMsg(new(message)))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.server.GracefulStop()
	}()
	l.eventually("the server does not listen any more", func() bool { return len(l.b.table.Ports()) == 0 })
	l.must(s.SendMsg(&message{Value: payload(1)}))
	in := new(message)
	if err := s.RecvMsg(in); err != nil || !bytes.Equal(in.Value, payload(1)) {
		l.Errorf("message while the server stops: %d bytes, or others; %v", len(in.Value), err)
	}
	l.must(s.CloseSend())
	if err := s.RecvMsg(new(message)); err != io.EOF {
		l.Errorf("at the end: %v, want EOF", err)
	}
	await(l, "GracefulStop", stopped)
}
