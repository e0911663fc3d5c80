// Package grpcauth tells gRPC who is at the other end of conns of the overlay.
//
// Such conns are encrypted, and both nodes have proven their keys, before gRPC
// sees them. [New] returns credentials that add nothing to that on the wire: they
// pass the conn on, and give gRPC the node at its other end as an [AuthInfo].
//
//	server := grpc.NewServer(grpc.Creds(grpcauth.New()))
//	go server.Serve(ln) // of Node.Listen
//
//	client, err := grpc.NewClient("passthrough:///greeter:80",
//		grpc.WithTransportCredentials(grpcauth.New()),
//		grpc.WithContextDialer(node.Dial))
//
// Handlers and interceptors get the node from [FromContext]. As gRPC takes the
// conns for what they are, private and intact, credentials for each call that
// insist on that, such as tokens of OAuth 2.0, work too.
//
// It is a module of its own, so that programs that do not use gRPC do not get it.
package grpcauth

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/weftnet/weft/overlay"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// protocol is what gRPC calls the credentials.
const protocol = "weft"

// ErrNotOverlay is how the handshake ends on a conn that is none of the overlay.
var ErrNotOverlay = errors.New("grpcauth: the conn is none of the overlay, so nobody has proven who is there; dial with Node.Dial and listen with Node.Listen, or use other credentials")

// An AuthInfo is what gRPC knows of the other end of a conn.
type AuthInfo struct {
	credentials.CommonAuthInfo // PrivacyAndIntegrity

	// Peer is the node, with its key, ID, names and roles, as it has proven them.
	Peer overlay.Peer
}

var _ credentials.AuthInfo = AuthInfo{}

// AuthType returns "weft".
func (AuthInfo) AuthType() string { return protocol }

// New returns credentials for a client or a server whose conns are all conns of
// package overlay, or wrap some and have a NetConn method; see [overlay.PeerOf].
// On other conns the handshake fails with [ErrNotOverlay], and calls with
// codes.Unavailable: a server closes them. The value has no state, and may be
// shared by any number of clients and servers.
func New() credentials.TransportCredentials { return transport{} }

// FromContext returns the node that makes the call that a handler or a server's
// interceptor serves. It reports false outside of calls, and for calls that came in
// on a server with other credentials.
func FromContext(ctx context.Context) (overlay.Peer, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return overlay.Peer{}, false
	}
	info, ok := p.AuthInfo.(AuthInfo)
	return info.Peer, ok
}

// transport implements credentials.TransportCredentials.
type transport struct{}

// ClientHandshake never waits. The authority is not looked at: whoever dialled
// the conn named the node, which has proven to be that.
func (transport) ClientHandshake(_ context.Context, _ string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return handshake(c)
}

func (transport) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return handshake(c)
}

func handshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	node, ok := overlay.PeerOf(c)
	if !ok {
		return nil, nil, fmt.Errorf("%w (it is a %T)", ErrNotOverlay, c)
	}
	return c, AuthInfo{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		Peer:           node,
	}, nil
}

func (transport) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: protocol}
}

func (t transport) Clone() credentials.TransportCredentials { return t }

// OverrideServerName does nothing: there are no names to check. gRPC deprecates it.
func (transport) OverrideServerName(string) error { return nil }
