package grpcauth_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlay/grpcauth"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// whoami says who calls, and with which token.
func whoami(ctx context.Context, _ string) (string, error) {
	p, ok := grpcauth.FromContext(ctx)
	if !ok {
		return "", status.Error(codes.Unauthenticated, "no node")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	return describe(p) + strings.Join(md.Get("token"), ""), nil
}

func describe(p overlay.Peer) string {
	return fmt.Sprint(p.ID, p.Key, p.Names, slices.Sorted(slices.Values(p.Roles)))
}

// over dials with a node.
func over(node *overlay.Node) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithTransportCredentials(grpcauth.New()), grpc.WithContextDialer(node.Dial)}
}

// start starts two nodes, of which the first serves on port 80.
func start(t *testing.T, h handler, opts ...grpc.ServerOption) (server, caller *overlay.Node) {
	t.Helper()
	cfg := newNetwork(t)
	of := cfg
	of.Name = "greeter"
	server = newNode(t, of)
	ln, err := server.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, ln, h, opts...)
	of = cfg
	of.Name, of.Roles = "caller", []string{"backup", "metrics"}
	return server, newNode(t, of)
}

func TestBothEndsKnowWhoIsThere(t *testing.T) {
	server, caller := start(t, whoami)
	c := newClient(t, "greeter:80", over(caller)...)
	want := describe(overlay.Peer{ID: caller.ID(), Key: caller.Key(), Names: []string{"caller"}, Roles: []string{"backup", "metrics"}})
	var of peer.Peer
	if got, err := c.call(t.Context(), "", grpc.Peer(&of)); err != nil || got != want {
		t.Errorf("unary: %q, %v; want %q", got, err, want)
	}
	if got, err := c.converse(t.Context(), "one", "two"); err != nil || got != want {
		t.Errorf("stream: %q, %v; want %q", got, err, want)
	}
	info, ok := of.AuthInfo.(grpcauth.AuthInfo)
	if !ok || info.Peer.ID != server.ID() || info.Peer.Key != server.Key() || !slices.Equal(info.Peer.Names, []string{"greeter"}) {
		t.Errorf("the server is %+v", of.AuthInfo)
	}
	if info.AuthType() != "weft" || credentials.CheckSecurityLevel(info, credentials.PrivacyAndIntegrity) != nil {
		t.Errorf("the conn is %v", info)
	}
}

// A token must not travel in the clear.
type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"token": string(t)}, nil
}
func (token) RequireTransportSecurity() bool { return true }

func TestTokensThatNeedASecureConn(t *testing.T) {
	_, caller := start(t, whoami)
	c := newClient(t, "greeter:80", append(over(caller), grpc.WithPerRPCCredentials(token("of the caller")))...)
	if got, err := c.call(t.Context(), ""); err != nil || !strings.HasSuffix(got, "]of the caller") {
		t.Errorf("%q, %v", got, err)
	}
}

// A conn of TCP is refused by a client and by a server.
func TestOtherConnsAreRefused(t *testing.T) {
	ln := listen(t)
	addr := ln.Addr().String()
	serve(t, ln, whoami)
	for name, tt := range map[string]struct {
		creds credentials.TransportCredentials
		want  string
	}{
		"by the client": {grpcauth.New(), "none of the overlay"},
		"by the server": {insecure.NewCredentials(), ""},
	} {
		c := newClient(t, addr, grpc.WithTransportCredentials(tt.creds))
		_, err := c.call(t.Context(), "")
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A wrapped conn says what it wraps.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

func TestHandshake(t *testing.T) {
	server, caller := start(t, whoami)
	conn, err := caller.Dial(t.Context(), "greeter:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	creds := grpcauth.New().Clone()
	if err := creds.OverrideServerName("other"); err != nil || creds.Info().SecurityProtocol != "weft" { //nolint:staticcheck // it is part of the interface
		t.Errorf("%v, %+v", err, creds.Info())
	}
	for name, tt := range map[string]struct {
		conn net.Conn
		want error
	}{
		"overlay": {conn, nil}, "wrapped": {wrapped{conn}, nil},
		"pipe": {here, grpcauth.ErrNotOverlay}, "wrapped pipe": {wrapped{here}, grpcauth.ErrNotOverlay},
	} {
		c, info, err := creds.ClientHandshake(t.Context(), "greeter", tt.conn)
		c2, info2, err2 := creds.ServerHandshake(tt.conn)
		if !errors.Is(err, tt.want) || !errors.Is(err2, tt.want) {
			t.Errorf("%s: %v, %v", name, err, err2)
			continue
		}
		if tt.want == nil && (c != tt.conn || c2 != tt.conn || info.(grpcauth.AuthInfo).Peer.ID != server.ID() || info2.(grpcauth.AuthInfo).Peer.ID != server.ID()) {
			t.Errorf("%s: %v, %v", name, info, info2)
		}
	}
	if _, ok := grpcauth.FromContext(t.Context()); ok {
		t.Error("a node outside of any call")
	}
	if _, ok := grpcauth.FromContext(peer.NewContext(t.Context(), &peer.Peer{})); ok {
		t.Error("a node on a conn with other credentials")
	}
}

func TestInterceptorsOfTheExample(t *testing.T) {
	_, caller := start(t, whoami, allow(&overlay.Rule{Roles: []string{"backup"}})...)
	c := newClient(t, "greeter:80", over(caller)...)
	if _, err := c.call(t.Context(), ""); err != nil {
		t.Error(err)
	}
	_, caller = start(t, whoami, allow(&overlay.Rule{Roles: []string{"admin"}})...)
	c = newClient(t, "greeter:80", over(caller)...)
	_, err := c.call(t.Context(), "")
	_, err2 := c.converse(t.Context(), "x")
	if status.Code(err) != codes.PermissionDenied || status.Code(err2) != codes.PermissionDenied {
		t.Errorf("%v, %v", err, err2)
	}
}
