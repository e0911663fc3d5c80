package overlay

import (
	"context"
	"net"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/listener"
)

// A Peer is another node whose identity was proven: its ID, its key, and the
// names in its certificate, which prove nothing in an open network.
type Peer = identity.Peer

// A Rule says which peers may do something: those with one of its IDs, Keys,
// Names or Roles, or for which its Func returns true. A nil *Rule allows everybody, one
// without any field nobody. It must not be modified once it is in use.
type Rule = listener.Rule

// PeerOf returns who is at the other end of a conn of this package, or of one
// that wraps such a conn and has a NetConn method, as *tls.Conn does. It reports
// false for other conns.
func PeerOf(c net.Conn) (Peer, bool) { return listener.PeerOf(c) }

// PathOf returns the way that a conn takes at the moment, in words such as
// "relay relay.example.org:9999" or "udp 192.0.2.7:4000". It reports false where
// PeerOf does.
func PathOf(c net.Conn) (string, bool) {
	for {
		switch w := c.(type) {
		case interface{ path() string }:
			return w.path(), true
		case interface{ NetConn() net.Conn }:
			c = w.NetConn()
		default:
			return "", false
		}
	}
}

// connKey is the key under which ConnContext keeps a conn.
type connKey struct{}

// ConnContext is for http.Server.ConnContext: it makes [PeerFrom] and
// [PathFrom] work in handlers.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// PeerFrom returns who is calling an HTTP handler whose server has
// [ConnContext]. It reports false for requests that did not come over the
// overlay.
func PeerFrom(ctx context.Context) (Peer, bool) {
	c, ok := ctx.Value(connKey{}).(net.Conn)
	if !ok {
		return Peer{}, false
	}
	return PeerOf(c)
}

// PathFrom is [PathOf] for an HTTP handler, as [PeerFrom] is PeerOf.
func PathFrom(ctx context.Context) (string, bool) {
	c, ok := ctx.Value(connKey{}).(net.Conn)
	if !ok {
		return "", false
	}
	return PathOf(c)
}
