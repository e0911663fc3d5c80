// Package overlay makes a program a node of an overlay network, in which it
// listens and dials by node ID, key or name, from behind any NAT, and gets
// plain net.Listener and net.Conn values that net/http, gRPC, SSH and every
// other user of package net work with unmodified.
//
//	node, err := overlay.New(overlay.Config{
//		Secret: os.Getenv("WEFT_SECRET"),
//		Relays: []string{"relay.example.org:9999"},
//		Name:   "kv-1",
//	})
//	...
//	defer node.Close()
//	ln, err := node.Listen(80)              // on one node
//	conn, err := node.Dial(ctx, "kv-1:80")  // on another
//
// New does not wait for the network: the node attaches to its relays in the
// background, again whenever it has to, and Dial waits for that as long as its
// context allows.
//
// # Addresses
//
// An address is "host:port". The host is a node ID (16 hex digits), a public
// key (52 characters), or a name, each with an optional ".weft" behind it. An
// ID is short and sufficient against accidents; a key is proof against an
// attacker with the means to find a second key of the same ID; a name is what
// the peer's certificate says, which in a network with a secret is as certain
// as the membership itself. In an open network anybody can take any name.
//
// LocalAddr and RemoteAddr of a conn are of type [Addr]: comparable, and the
// same whatever path the conn takes.
//
// # Paths
//
// A session with a peer begins on a relay. The two nodes tell each other their
// addresses and look for a direct path over UDP, to which the session moves with
// all its conns as soon as there is one, and from which it comes back when the
// path dies. Nobody needs to do anything for it; Config.NoDirect turns it off,
// [PathOf], [PeerStatus] and Config.OnEvent tell of it.
//
// # Errors
//
// Dial returns a *net.OpError around a *[DialError], which lists what was tried
// and why each attempt failed. errors.Is finds [ErrUnknownNode], [ErrRefused],
// [ErrNotAllowed], [ErrNoRelay] and the other Err variables in it, and
// net.ErrClosed and the context's error where they apply; Timeout reports
// whether time ran out.
//
// The methods of a conn return io.EOF only for a clean end. net.ErrClosed means
// that this side closed it, os.ErrDeadlineExceeded that a deadline passed, and
// everything else that the conn was reset: by the peer, or because the peer is
// lost ([ErrPeerLost]) or has restarted ([ErrPeerRestarted]).
//
// # Cancellation
//
// Data beats cancellation: a call that need not wait succeeds even if its
// context has ended, and what was received is read before any error. The
// context of a Dial means nothing to the conn that it returned.
//
// # Concurrency
//
// Multiple goroutines may call the methods of all types of this package
// simultaneously, except that a Config must not be modified once New has it.
//
// # Security
//
// All traffic is sealed end to end with TLS 1.3 between the two nodes; relays
// see node IDs, sizes and times. Without a secret nobody joins a network, and
// every member may dial every port that [ListenConfig] or Config.Allow does not
// guard.
package overlay
