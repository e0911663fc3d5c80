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
// They tell each other who is attached where over weaveworks/mesh, inside their
// sessions. mesh cannot be stopped: after Close of a Server that has met another
// relay, five idle goroutines and one listening socket on loopback stay until
// the process ends. A server that never met one leaves nothing. Leak checks have
// to ignore functions of github.com/weaveworks/mesh.
//
// # One port
//
// A conn's first bytes say what it is: a link, or HTTP. Of HTTP the relay serves
//
//   - /healthz: 200 while the process is alive;
//   - /readyz: 200 while nodes are welcome, 503 from Shutdown on;
//   - /metrics: Server.Metrics, such as [Stats] for Prometheus by package
//     metrics, for those whom MetricsFrom names;
//   - /link: WebSockets that become links, for nodes with ws:// or wss://
//     addresses;
//
// and Handler all others. wss:// needs a web server with a certificate in front
// of the relay, which passes /link on, with its upgrade to a WebSocket;
// Server.Proxies names its address. Or Serve has a listener with TLS.
// ServePacket answers STUN on UDP.
//
// # What a relay does about bad neighbours
//
// A link is accepted after its first 22 bytes, which name the network, and
// within PrefaceTimeout. It forwards nothing until a session has proven which
// node is at its other end, and is closed when that takes longer than
// HandshakeTimeout. How many links, first bytes and HTTP conns there are, in all
// and from one address, and what each node may send are limited by fields of
// Server; those for unfinished handshakes are overlay.Config's.
//
// Look-ups and registrations have limits for each node, which waits, and for all
// nodes of one address together. The latter are told that the relay is busy, and
// ask again. All is counted in [Stats]. The defaults let as many nodes as one
// address may have, 256, come back in the same moment after the relay was away.
// A node ID belongs to the key that it was first seen with.
package relay
