// Package listener turns the muxes of reliability layers into what programs
// know: ports, net.Listeners and dialers. It has no idea how a peer is
// reached; a [Connector] does.
//
// The dispatching side is a [Table]: the owner of a session calls
// [Table.Serve] with the session's mux, and every request is answered at once,
// by the listener on its port or with a refusal that says why. The dialling
// side is an [OverlayDialer]. Conns of both sides know who the peer is; see
// [PeerOf].
package listener
