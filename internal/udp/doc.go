// Package udp is a node's UDP socket. It carries link frames, one in each
// datagram, to and from any number of remote addresses; each address is a
// [Flow], which has the methods that a session wants of a path. Datagrams that
// are not frames, such as STUN messages, share the socket and are told apart by
// their first byte, as RFC 7983 does it.
//
// What talks to the kernel stands behind [PacketConn], so that a simulated
// network can take its place. On Linux it moves many datagrams with one system
// call (recvmmsg, sendmmsg), and many datagrams of one flow as one large one
// that the kernel or the network card cuts (UDP_SEGMENT, UDP_GRO). Elsewhere it
// moves one at a time.
//
// A socket has a reader and a writer, two of each where one socket cannot carry
// both IPv4 and IPv6. The reader never waits for the writer, and neither for
// who uses the flows: a full queue drops and counts.
package udp
