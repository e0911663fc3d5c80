package tunnel

import (
	"encoding/binary"
	"net"

	"github.com/pires/go-proxyproto"

	"github.com/weftnet/weft/overlay"
)

// The values of a PROXY header of version 2 that are weft's own, from the range for
// applications (section 2.2 of the specification).
const (
	TLVKey  proxyproto.PP2Type = 0xE0 // the caller's public key, in 52 characters
	TLVName proxyproto.PP2Type = 0xE1 // a name of the caller; one value for each
)

// addrPrefix is the prefix of the addresses in PROXY headers, behind which the node ID
// is: fd77:6566:7400::/64, a unique local one (RFC 4193) that spells weft. No packet ever
// carries it.
var addrPrefix = [8]byte{0xfd, 'w', 'e', 'f', 't'}

// headerAddr makes an address for a PROXY header, which knows nothing but IP.
func headerAddr(a net.Addr) *net.TCPAddr {
	addr, _ := a.(overlay.Addr)
	ip := make(net.IP, 16)
	copy(ip, addrPrefix[:])
	binary.BigEndian.PutUint64(ip[8:], uint64(addr.Node))
	return &net.TCPAddr{IP: ip, Port: int(addr.Port)}
}

// proxyHeader is the PROXY header of version 2 that tells a target who is calling.
func proxyHeader(conn net.Conn) ([]byte, error) {
	header := &proxyproto.Header{
		Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv6,
		SourceAddr: headerAddr(conn.RemoteAddr()), DestinationAddr: headerAddr(conn.LocalAddr()),
	}
	if peer, ok := overlay.PeerOf(conn); ok {
		values := []proxyproto.TLV{{Type: TLVKey, Value: []byte(peer.Key.String())}}
		for _, name := range peer.Names {
			values = append(values, proxyproto.TLV{Type: TLVName, Value: []byte(name)})
		}
		if err := header.SetTLVs(values); err != nil {
			return nil, err
		}
	}
	return header.Format()
}
