// Package natprobe finds out which addresses a UDP socket has on the internet,
// and what kind of NAT is in front of it, by asking STUN servers (RFC 8489) over
// that very socket. It owns no socket: it is given a function that sends, and
// what the socket's reader does not know what to do with.
//
// # What is asked
//
// Each server is asked for the address that it sees. Servers that tell of a
// second port (OTHER-ADDRESS, RFC 5780) are asked for an answer from there, to
// a socket that has sent nothing there, which tells how the NAT filters; then
// the second port is asked too, which tells on what the mapping depends. When
// that is known, one server of each IP version is asked again every 25 seconds,
// so that the mapping lives and its change is noticed. A change, [Prober.Refresh]
// and a server that is silent for 3.5 s make all of them be asked again.
//
// # What an attacker can do
//
// An answer counts if it comes from the address asked and has the request's 96
// random bits, and only once. So who cannot see the requests can do nothing. Who
// sees them, and each server, can lie about the address; a server that is
// outvoted changes nothing of the NAT's kind, but its address is among those
// found. Nothing is ever sent to an address that a server names, except to
// another port of that same server. All tables have limits, and an answer causes
// three further requests at most.
//
// The codec is here because a library for it would come into every program that
// imports overlay, for two kinds of messages; relays have pion's.
package natprobe
