package main

import (
	"context"
	"net"

	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/native"
	"github.com/weftnet/weft/stream/sctp"
	"github.com/weftnet/weft/stream/yamux"
)

// A Transport makes pairs of conns whose two ends are both in this process.
type Transport interface {
	// Name is what the table calls it, such as "tls".
	Name() string
	// Start brings up both ends and whatever stands between them.
	Start(ctx context.Context) (Pairs, error)
}

// Pairs are the two running ends of a transport. Its methods are called by one
// goroutine at a time.
type Pairs interface {
	// Open returns the two ends of one new stream, ready for data.
	Open(ctx context.Context) (client, server net.Conn, err error)
	// Close ends everything that Start began, and waits for it.
	Close() error
}

// layers are weft's reliability layers. The first is the default.
var layers = []stream.Layer{native.Layer{}, yamux.Layer{}, sctp.Layer{}}

// transports lists what is measured on loopback, in the order of the table. The
// first is the one that the others are compared with.
func transports() []Transport {
	all := []Transport{tcpTransport{}, tlsTransport{}, yamuxTransport{}, pionTransport{}, quicTransport{}}
	all = append(all, libp2pTransports()...)
	for i, l := range layers {
		name := "weft"
		if i > 0 {
			name += "-" + l.Name()
		}
		all = append(all,
			weftTransport{name: name, layer: l},
			weftTransport{name: name + "-relay", layer: l, relayed: true},
			weftTransport{name: name + "-udp", layer: l, relayed: true, udp: true})
	}
	return all
}
