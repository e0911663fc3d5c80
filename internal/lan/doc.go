// Package lan finds the nodes of one network that are on one LAN, without any
// relay. Each node announces itself by multicast DNS (RFC 6762) as an instance
// of the service _weft._udp.local (RFC 6763), and listens for the others.
//
// # What is on the wire
//
// A node has three records: PTR from the service to its instance, SRV with the
// port of its UDP socket, and TXT. The instance is called by 96 random bits,
// new with each start. The TXT record holds the node's ID, its port, its
// addresses and the hashes of its names, sealed with a key that the members of
// the network derive from its secret (AES-256-GCM, a random nonce); SPEC has
// the bytes. There are no A and AAAA records: peers take addresses from the
// sealed part, and from where the packet came.
//
// So whoever listens on the LAN without being a member sees that some weft node
// is at an IP address, with its UDP port, from when to when. It sees neither
// the network nor the node's ID or names, cannot tell whether two nodes are of
// one network, and cannot recognize a node after a restart but by its address.
// In an open network everybody can derive the key who knows the network's name,
// and then sees IDs and addresses, and may guess names. Members learn IDs and
// addresses, and can test whether a node has a name that they guess.
//
// # What is believed
//
// Nothing that matters: a session proves the peer's key, so that a record which
// lies costs a failed handshake. Outsiders can replay what a member has sealed,
// from another address or with another TTL. All that can be sent from outside
// is bounded and counted; see the constants and [Counters].
//
// # Deviations from RFC 6762
//
// There is no probing (section 8.1), since instances have random names, and no
// answer to queries from other ports than 5353 (section 6.7) or to those about
// all services (RFC 6763 section 9): none of that would find a peer. Answers
// are always multicast. Known answers that do not fit into one packet are left
// out.
//
// There is one goroutine for all state, and one for each socket that reads.
package lan
