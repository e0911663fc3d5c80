package main

import (
	"context"
	"errors"
	"net"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
)

// libp2pTransport is two go-libp2p hosts, with yamux where the transport has no
// streams of its own. Nothing limits them: no resource manager, and a circuit
// relay v2 that knows no limits.
type libp2pTransport struct {
	name    string
	listen  string // the multiaddr to listen on
	options []libp2p.Option
	relayed bool
}

// libp2pTransports lists the hosts' transports, direct and through a relay.
func libp2pTransports() (all []Transport) {
	const tcpAddr, quicAddr = "/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"
	overTCP := func(security libp2p.Option) []libp2p.Option {
		return []libp2p.Option{libp2p.Transport(tcp.NewTCPTransport), security}
	}
	for _, relayed := range []bool{false, true} {
		prefix := "libp2p-"
		if relayed {
			prefix += "relay-"
		}
		all = append(all,
			libp2pTransport{prefix + "tls", tcpAddr, overTCP(libp2p.Security(libp2ptls.ID, libp2ptls.New)), relayed},
			libp2pTransport{prefix + "noise", tcpAddr, overTCP(libp2p.Security(noise.ID, noise.New)), relayed},
			libp2pTransport{prefix + "quic", quicAddr, []libp2p.Option{
				libp2p.Transport(libp2pquic.NewTransport),
				// What goes through the relay is secured once more, as TCP is.
				libp2p.Security(libp2ptls.ID, libp2ptls.New),
			}, relayed})
	}
	return all
}

func (t libp2pTransport) Name() string { return t.name }

func (t libp2pTransport) Start(ctx context.Context) (Pairs, error) {
	p := &libp2pPairs{accepted: make(chan network.Stream)}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := p.start(ctx, t); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// host makes a host, which listens unless listen is empty.
func (t libp2pTransport) host(listen string) (host.Host, error) {
	options := append([]libp2p.Option{
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableMetrics(),
	}, t.options...)
	if listen == "" {
		options = append(options, libp2p.NoListenAddrs)
	} else {
		options = append(options, libp2p.ListenAddrStrings(listen))
	}
	if t.relayed {
		options = append(options, libp2p.EnableRelay())
	} else {
		options = append(options, libp2p.DisableRelay())
	}
	return libp2p.New(options...)
}

const libp2pProtocol = "/bench/1"

type libp2pPairs struct {
	hosts    []host.Host // server, client, then the relay if there is one
	relay    *relay.Relay
	accepted chan network.Stream
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
}

// start brings up the hosts and connects the client with the server.
func (p *libp2pPairs) start(ctx context.Context, t libp2pTransport) error {
	listen := t.listen
	if t.relayed {
		listen = "" // so that there is no way but the relay
	}
	for _, addr := range []string{listen, ""} {
		h, err := t.host(addr)
		if err != nil {
			return err
		}
		p.hosts = append(p.hosts, h)
	}
	server := p.hosts[0]
	server.SetStreamHandler(libp2pProtocol, func(s network.Stream) {
		select {
		case p.accepted <- s:
		case <-p.ctx.Done():
			_ = s.Reset()
		}
	})
	addrs := server.Addrs()
	if t.relayed {
		addr, err := p.reserve(ctx, t)
		if err != nil {
			return err
		}
		addrs = []multiaddr.Multiaddr{addr}
	}
	return p.hosts[1].Connect(ctx, peer.AddrInfo{ID: server.ID(), Addrs: addrs})
}

// reserve starts a relay, lets the server ask for a place on it, and returns the
// server's address there.
func (p *libp2pPairs) reserve(ctx context.Context, t libp2pTransport) (multiaddr.Multiaddr, error) {
	h, err := t.host(t.listen)
	if err != nil {
		return nil, err
	}
	p.hosts = append(p.hosts, h)
	if p.relay, err = relay.New(h, relay.WithInfiniteLimits()); err != nil {
		return nil, err
	}
	at := peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}
	server := p.hosts[0]
	if err := server.Connect(ctx, at); err != nil {
		return nil, err
	}
	if _, err := client.Reserve(ctx, server, at); err != nil {
		return nil, err
	}
	return multiaddr.NewMultiaddr(h.Addrs()[0].String() + "/p2p/" + h.ID().String() + "/p2p-circuit")
}

// Open writes a byte, because a stream's protocol is agreed on with the first
// data.
func (p *libp2pPairs) Open(ctx context.Context) (client, server net.Conn, err error) {
	c, err := p.hosts[1].NewStream(ctx, p.hosts[0].ID(), libp2pProtocol)
	if err != nil {
		return nil, nil, err
	}
	if _, err := c.Write([]byte{0}); err != nil {
		return nil, nil, err
	}
	select {
	case s := <-p.accepted:
		_, err = s.Read(make([]byte, 1))
		return libp2pConn{c}, libp2pConn{s}, err
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
}

func (p *libp2pPairs) Close() error {
	p.cancel()
	var errs []error
	if p.relay != nil {
		errs = append(errs, p.relay.Close())
	}
	for _, h := range p.hosts {
		errs = append(errs, h.Close())
	}
	return errors.Join(errs...)
}

// libp2pConn makes a net.Conn of a stream.
type libp2pConn struct{ network.Stream }

func (c libp2pConn) LocalAddr() net.Addr  { return nil }
func (c libp2pConn) RemoteAddr() net.Addr { return nil }
