package listener

import (
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/stream"
)

// An Addr names one end of a conn: a node and a port.
type Addr = stream.Addr

// Suffix may follow the host of an address, for proxies and browsers that want
// a domain: "kv-1.weft:80" is "kv-1:80".
const Suffix = ".weft"

// ParseAddr reads "<id>:<port>", "<key>:<port>" or "<name>:<port>": 16 hex
// digits, 52 base32 characters, or a DNS name, each with or without [Suffix],
// in upper or lower case. The port is a number from 1 to 65535. Errors are
// *net.AddrError.
func ParseAddr(addr string) (identity.Target, uint16, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return identity.Target{}, 0, addrError(addr, errors.New("want <id>:<port>, <key>:<port> or <name>:<port>"))
	}
	target, err := ParseHost(host)
	if err != nil {
		return identity.Target{}, 0, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 {
		return identity.Target{}, 0, addrError(addr, errors.New("the port must be a number from 1 to 65535"))
	}
	return target, uint16(port), nil
}

// ParseHost reads the host of an address. Whatever reads as an ID or a key is
// one: no name does. Errors are *net.AddrError.
func ParseHost(host string) (identity.Target, error) {
	short := strings.TrimSuffix(strings.ToLower(host), ".")
	short = strings.TrimSuffix(short, Suffix)
	if short == "" {
		return identity.Target{}, addrError(host, errors.New("the host is missing; want a node ID, a public key or a name"))
	}
	if id, err := identity.ParseNodeID(short); err == nil {
		return identity.Target{ID: id}, nil
	}
	if key, err := identity.ParsePublicKey(short); err == nil {
		return identity.Target{Key: key}, nil
	}
	name, err := identity.ParseName(short)
	if err != nil {
		return identity.Target{}, addrError(host, err)
	}
	return identity.Target{Name: name}, nil
}

// maxShown is how much of a wrong address an error repeats.
const maxShown = 80

func addrError(addr string, err error) error {
	if len(addr) > maxShown {
		addr = addr[:maxShown] + "…"
	}
	return &net.AddrError{Err: err.Error(), Addr: addr}
}

// A dialled address is what the caller of Dial wrote, for errors.
type dialled string

func (dialled) Network() string  { return stream.Network }
func (d dialled) String() string { return string(d) }
