package listener

import (
	"net"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/stream"
)

// A conn is a layer's conn that knows its peer.
type conn struct {
	stream.Conn
	peer *identity.Peer // shared by all conns of a session
}

// Peer returns who is at the other end, as its certificate proved.
func (c *conn) Peer() identity.Peer { return *c.peer }

// withPeer makes c a conn that PeerOf knows, if it is none already.
func withPeer(c stream.Conn, peer *identity.Peer) stream.Conn {
	if _, ok := c.(interface{ Peer() identity.Peer }); ok {
		return c
	}
	return &conn{c, peer}
}

// maxWrapped is how many wrappers PeerOf looks through.
const maxWrapped = 8

// PeerOf returns who is at the other end of a conn that a listener or a dialer
// of this package returned, or of one that wraps it and has a NetConn method,
// as *tls.Conn does.
func PeerOf(c net.Conn) (identity.Peer, bool) {
	for range maxWrapped {
		switch w := c.(type) {
		case interface{ Peer() identity.Peer }:
			return w.Peer(), true
		case interface{ NetConn() net.Conn }:
			c = w.NetConn()
		default:
			return identity.Peer{}, false
		}
	}
	return identity.Peer{}, false
}
