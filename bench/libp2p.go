package main

import (
	"context"
	"errors"
	"net"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
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

func (t libp2pTransport) Serve(ctx context.Context) (Server, error) {
	s := &libp2pServer{accepted: make(chan libp2pConn)}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.start(ctx, t); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (t libp2pTransport) Client(_ context.Context, addr string) (Client, error) {
	at, err := peer.AddrInfoFromString(addr)
	if err != nil {
		return nil, err
	}
	h, err := t.host("")
	if err != nil {
		return nil, err
	}
	h.Peerstore().AddAddrs(at.ID, at.Addrs, peerstore.PermanentAddrTTL)
	return libp2pClient{h, at.ID}, nil
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

// libp2pServer is the host that accepts, and the relay if there is one.
type libp2pServer struct {
	hosts    []host.Host // the server first
	relay    *relay.Relay
	addr     string
	accepted chan libp2pConn
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
}

func (s *libp2pServer) start(ctx context.Context, t libp2pTransport) error {
	listen := t.listen
	if t.relayed {
		listen = "" // so that there is no way but the relay
	}
	server, err := t.host(listen)
	if err != nil {
		return err
	}
	s.hosts = append(s.hosts, server)
	server.SetStreamHandler(libp2pProtocol, s.handle)
	at := server.Addrs()
	if t.relayed {
		if at, err = s.reserve(ctx, t); err != nil {
			return err
		}
	}
	s.addr = at[0].String() + "/p2p/" + server.ID().String()
	return nil
}

func (s *libp2pServer) handle(c network.Stream) {
	select {
	case s.accepted <- libp2pConn{c}:
	case <-s.ctx.Done():
		_ = c.Reset()
	}
}

// reserve starts a relay, asks it for a place, and returns the server's address
// there.
func (s *libp2pServer) reserve(ctx context.Context, t libp2pTransport) ([]multiaddr.Multiaddr, error) {
	h, err := t.host(t.listen)
	if err != nil {
		return nil, err
	}
	s.hosts = append(s.hosts, h)
	if s.relay, err = relay.New(h, relay.WithInfiniteLimits()); err != nil {
		return nil, err
	}
	at := peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}
	if err := s.hosts[0].Connect(ctx, at); err != nil {
		return nil, err
	}
	if _, err := client.Reserve(ctx, s.hosts[0], at); err != nil {
		return nil, err
	}
	a, err := multiaddr.NewMultiaddr(h.Addrs()[0].String() + "/p2p/" + h.ID().String() + "/p2p-circuit")
	return []multiaddr.Multiaddr{a}, err
}

func (s *libp2pServer) Addr() string { return s.addr }

func (s *libp2pServer) Accept() (net.Conn, error) {
	select {
	case c := <-s.accepted:
		return c, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (s *libp2pServer) Close() error {
	s.cancel()
	var errs []error
	if s.relay != nil {
		errs = append(errs, s.relay.Close())
	}
	for _, h := range s.hosts {
		errs = append(errs, h.Close())
	}
	return errors.Join(errs...)
}

type libp2pClient struct {
	host.Host
	server peer.ID
}

// Dial opens a stream, whose protocol is agreed on with the first data unless the
// client has to ask for it first.
func (c libp2pClient) Dial(ctx context.Context) (net.Conn, error) {
	s, err := c.NewStream(ctx, c.server, libp2pProtocol)
	if err != nil {
		return nil, err
	}
	return libp2pConn{s}, nil
}

// libp2pConn makes a net.Conn of a stream.
type libp2pConn struct{ network.Stream }

func (c libp2pConn) LocalAddr() net.Addr  { return noAddr{} }
func (c libp2pConn) RemoteAddr() net.Addr { return noAddr{} }
