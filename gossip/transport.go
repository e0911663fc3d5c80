package gossip

import (
	"context"
	"net"

	"github.com/weftnet/weft/internal/identity"
)

// A Name is what a [Transport] knows a relay by: the low 48 bits of its node ID,
// which are what weaveworks/mesh carries. Zero is nobody.
type Name uint64

// NameOf returns the name of a relay.
func NameOf(id identity.NodeID) Name { return Name(id & (1<<48 - 1)) }

// A Transport carries messages among the relays of a backbone, also between
// those that have no conn with each other. Messages may be lost, reordered and
// repeated; who sent one is a claim. Multiple goroutines may invoke its methods
// simultaneously.
type Transport interface {
	// Start begins to carry messages; self is the own name. It is called once.
	Start(self Name, h Handler) error
	// Broadcast sends a message to all relays that can be reached. It does not
	// block for long, and keeps msg.
	Broadcast(msg []byte)
	// Gossip sends a digest to some or all neighbours. It does not block for
	// long, and keeps msg.
	Gossip(msg []byte)
	// Unicast sends a message to one relay. It may block as long as the way to
	// that relay is blocked, and keeps msg. An error says that it was not sent.
	Unicast(to Name, msg []byte) error
	// Serve lets the transport use conn, at whose other end is the relay that
	// peer names, as has been proven. It closes conn and returns when ctx or the
	// conn ends.
	Serve(ctx context.Context, conn net.Conn, peer identity.NodeID) error
	// Close ends all use of conns. No method of the handler is running or
	// called any more when it returns.
	Close() error
}

// A Handler takes what a [Transport] receives. Its methods may be called from
// several goroutines; they do not block, and keep msg.
type Handler interface {
	// Digest returns what the transport tells the neighbours from time to time,
	// each half minute or so, and at once those that are new; nil is nothing.
	Digest() []byte
	// OnDigest takes what another relay's Digest returned.
	OnDigest(msg []byte)
	// OnBroadcast takes a broadcast of another relay.
	OnBroadcast(from Name, msg []byte)
	// OnUnicast takes a message that is for this relay alone.
	OnUnicast(from Name, msg []byte)
	// OnPeers is told which other relays can be reached, when that has changed.
	OnPeers(all []Name)
}
