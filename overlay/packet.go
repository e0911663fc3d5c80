package overlay

import (
	"context"
	"errors"
	"net"
)

// ListenPacket returns a net.PacketConn on a port of this node.
func (n *Node) ListenPacket(port uint16) (net.PacketConn, error) { return nil, errors.ErrUnsupported }

// DialPacket returns a conn that exchanges packets with one port of one peer.
func (n *Node) DialPacket(ctx context.Context, addr string) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}

func (n *Node) receivePackets(ctx context.Context, ps *peerSession) {}
