package main

import (
	"context"
	"net"

	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/native"
	"github.com/weftnet/weft/stream/sctp"
	"github.com/weftnet/weft/stream/yamux"
)

// A Transport makes conns from a client's side to a server's side. Either
// implements [apart] or [together], too.
type Transport interface {
	// Name is what the table calls it, such as "tls".
	Name() string
}

// apart is a transport whose sides may be in different processes.
type apart interface {
	Transport
	// Serve brings up the server's side and whatever stands between the two.
	Serve(ctx context.Context) (Server, error)
	// Client brings up the side that dials the server with this address.
	Client(ctx context.Context, addr string) (Client, error)
}

// together is a transport that needs both sides in one process.
type together interface {
	Transport
	Start(ctx context.Context) (Server, Client, error)
}

// A Server is the running side that accepts.
type Server interface {
	// Addr is all that a client has to know.
	Addr() string
	// Accept returns the next conn that was dialled, until Close.
	Accept() (net.Conn, error)
	// Close ends everything that Serve began, and waits for it.
	Close() error
}

// A Client is the running side that dials. Its methods are called by one
// goroutine at a time.
type Client interface {
	// Dial returns a conn that can be written to; it may need that the client writes
	// first. What two hosts do only once, such
	// as a handshake for all streams, happens in the first Dial.
	Dial(ctx context.Context) (net.Conn, error)
	Close() error
}

// A settler is a Server or a Client that becomes what is to be measured only some
// time after the first conn.
type settler interface {
	Settle(ctx context.Context) error
}

// layers are weft's reliability layers. The first is the default.
var layers = []stream.Layer{native.Layer{}, yamux.Layer{}, sctp.Layer{}}

// transports lists what is measured on loopback, in the order of the table. The
// first is the one that the others are compared with.
func transports() []Transport {
	all := []Transport{tcpTransport{}, tlsTransport{}, yamuxTransport{}, pionTransport{}, quicTransport{}}
	all = append(all, libp2pTransports()...)
	all = append(all, meshTransports()...)
	all = append(all, ironwoodTransport{}, ironwoodTransport{relayed: true})
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
	return append(all,
		weftTransport{name: "weft-early", early: true},
		weftTransport{name: "weft-early-relay", relayed: true, early: true})
}

// noAddr is the address of conns that have none; net/http needs one.
type noAddr struct{}

func (noAddr) Network() string { return "none" }
func (noAddr) String() string  { return "none" }
