// Package portmap opens a UDP port at the gateway of the local network, with PCP
// (RFC 6887), NAT-PMP (RFC 6886) or UPnP IGD, whichever the gateway has, so that
// nodes behind a NAT are reached directly. A [Mapper] is an overlay.PortMapper:
//
//	node, err := overlay.New(overlay.Config{PortMapper: portmap.New(portmap.Config{})})
//
// It is apart from overlay because of the libraries that it needs.
//
// # What it talks to
//
// Only to the gateway of the default IPv4 route. A search for UPnP goes there and
// to the multicast address 239.255.255.250:1900; answers from others are ignored,
// as are descriptions and services that are elsewhere. Other gateways of the same
// network, and IPv6, where nothing is translated, are not looked for.
//
// # What a hostile gateway can do
//
// A gateway sees and changes all packets anyway. Beyond that it can make a node
// announce a wrong public address, to which its peers then send some packets.
// External addresses that are not public are not announced. Each answer is
// bounded in length, each request in time, and lifetimes are taken for a minute at
// least. Somebody else on the local network can forge NAT-PMP, which has nothing
// against it, if he guesses a port number within milliseconds; PCP, tried first,
// has a nonce.
package portmap
