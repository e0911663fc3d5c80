// Package handshake runs the TLS 1.3 handshake between two nodes through
// crypto/tls's QUIC API, and protects packets with the secrets that come out of
// it, as RFC 9001 says. It is pure: bytes go in and come out, there are no
// sockets and no timers.
//
// A [Conn] is one side of a handshake. Both sides show a certificate, and each
// verifies the other's with its own credentials. The handshake takes three
// flights: the client's in [wire.SpaceInitial], the server's in SpaceInitial and
// [wire.SpaceHandshake], and the client's in SpaceHandshake. Packets of these
// spaces are protected with [InitialKeys] and with [Conn.ReadKeys] and
// [Conn.WriteKeys]; all others with [Conn.AppKeys].
//
// Two things differ from RFC 9001. There is no header protection (section 5.4):
// packet numbers are visible to relays. And the salt of the initial keys depends
// on the network, so that packets of other networks do not open.
package handshake
