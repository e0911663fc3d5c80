package lan

import "net/netip"

// Port and the groups are where multicast DNS is spoken (RFC 6762 section 3).
const Port = 5353

// The groups of multicast DNS.
var (
	Group4 = netip.MustParseAddr("224.0.0.251")
	Group6 = netip.MustParseAddr("ff02::fb")
)

// A PacketConn multicasts packets on the links of a host, for one address
// family: the kernel's socket, or what takes its place in tests. ReadPacket is
// called by one goroutine, WritePacket and Links by one other; Close by any, and
// it makes the others return net.ErrClosed.
type PacketConn interface {
	// ReadPacket reads a packet into b.
	ReadPacket(b []byte) (Packet, error)
	// WritePacket multicasts b on the link with that number, with hop limit
	// 255. It must not keep b.
	WritePacket(b []byte, link int) error
	// Links joins the group on links that are new, and returns all that can
	// multicast now.
	Links() ([]Link, error)
	Close() error
}

// A Packet is what is known of a packet that came.
type Packet struct {
	N    int            // length; if it fills the buffer, the rest may be lost
	From netip.AddrPort // never an IPv4 address inside of an IPv6 one
	Link int            // the number of the link; 0: unknown
	Hops int            // the hop limit that it came with; 0: unknown
}

// A Link is an interface.
type Link struct {
	Index int            // its number, from 1
	Addrs []netip.Prefix // its addresses of the conn's family, with their networks
}
