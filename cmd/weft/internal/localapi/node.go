// Package localapi lets several commands use one node: `weft up` serves it on a Unix
// socket, on which it speaks HTTP, and the others are its clients. What both have in
// common is Node.
//
//	GET  /status                    what weft status shows, as JSON
//	GET  /ready                     answers when the node can be reached
//	GET  /ping?host=H               a round trip, as JSON
//	POST /dial?addr=H:P             a conn; with early=1, before the peer has accepted it
//	POST /listen?port=P&rule=R      a listener: each conn is announced, and fetched by
//	POST /take?conn=TOKEN           a conn
//	POST /dialpacket?addr=H:P       a conn for packets
//	POST /listenpacket?port=P       a port for packets
//
// The last five are upgrades, and the conn goes on in frames; see Conn. An answer that
// is no success has the error in the header Weft-Error.
package localapi

import (
	"context"
	"net"

	"github.com/weftnet/weft/overlay"
)

// A Node is what commands need of a node, their own one or that of another process. Its
// methods are those of overlay.Node, and may be called by many goroutines.
type Node interface {
	ID() overlay.NodeID
	Name() string
	WaitReady(ctx context.Context) error
	Ping(ctx context.Context, host string) (overlay.PingResult, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
	// DialEarly is Dial that does not wait until the peer has accepted the conn; see
	// EarlyData of overlay.Dialer.
	DialEarly(ctx context.Context, addr string) (net.Conn, error)
	DialPacket(ctx context.Context, addr string) (net.Conn, error)
	// ListenFor is Listen with a rule that says who may connect; nil is everybody.
	// The rule's Func is not for the socket.
	ListenFor(ctx context.Context, port uint16, rule *overlay.Rule) (net.Listener, error)
	// ListenPacket is that of overlay.Node; packets come from everybody.
	ListenPacket(ctx context.Context, port uint16) (net.PacketConn, error)
	// Close closes the node, or what this process has of it.
	Close() error
}

// Own makes a Node of the process's own.
func Own(n *overlay.Node) Node { return own{n} }

type own struct{ *overlay.Node }

func (o own) DialEarly(ctx context.Context, addr string) (net.Conn, error) {
	return overlay.Dialer{EarlyData: true}.Dial(ctx, o.Node, addr)
}

func (o own) ListenFor(_ context.Context, port uint16, rule *overlay.Rule) (net.Listener, error) {
	return overlay.ListenConfig{Allow: rule}.Listen(o.Node, port)
}

func (o own) ListenPacket(_ context.Context, port uint16) (net.PacketConn, error) {
	return o.Node.ListenPacket(port)
}

// PathOf is overlay.PathOf also for conns of other processes, which know the path that
// the conn took when it was new.
func PathOf(c net.Conn) (string, bool) {
	if mine, ok := c.(*Conn); ok {
		return mine.info.Path, mine.info.Path != ""
	}
	return overlay.PathOf(c)
}
