//go:build !linux

package udp

import "net"

// newKernelConn returns a conn that moves one datagram at a time. Whether
// datagrams may be fragmented is left to the system.
func newKernelConn(c *net.UDPConn, _, _ bool) (PacketConn, error) { return OneByOne(c), nil }
