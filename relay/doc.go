// Package relay turns a node into a relay: other nodes keep a link to it, are
// found through it, and reach each other over it. A relay forwards sealed
// packets; it holds no keys and learns node IDs and sizes only.
//
// A [Server] is used like an http.Server:
//
//	server := &relay.Server{Host: node}
//	go server.Serve(listener) // until Shutdown or Close: ErrServerClosed
//	...
//	err := server.Shutdown(ctx)
//
// # Several relays
//
// Relays that know each other ([Server] field Peers) form a backbone: each keeps
// a link to the others and forwards frames for the nodes that are attached
// there. A link between two relays is trusted once a session has proven that
// both are members of the network with the role "relay", which a Server takes
// for its node. Whoever knows the network's secret can take it; in an open
// network everybody can.
//
// # What a relay does about bad neighbours
//
// A link is accepted after its first 22 bytes, which name the network, and
// within PrefaceTimeout. It forwards nothing until a session has proven which
// node is at its other end, and is closed when that takes longer than
// HandshakeTimeout. How many links there are, in all and from one address, and
// what each node may send are limited by fields of Server. A node ID belongs to
// the key that it was first seen with.
package relay
