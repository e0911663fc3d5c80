//go:build !linux

package udp

import "net"

// newKernelConn returns a conn that moves one datagram at a time. Whether
// datagrams may be fragmented is left to the system.
func newKernelConn(c *net.UDPConn, _, _ bool) (PacketConn, error) { return plainConn{c}, nil }

// writeError tells why a message was not written. That one is too big is not
// told apart here; then path-MTU discovery sees it as lost.
func writeError(err error, _ int) error { return err }
