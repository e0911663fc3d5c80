package main

import (
	"context"
	"net"
	"net/http"

	"connectrpc.com/connect"
	"github.com/weftnet/weft/examples/rpc/connectrpc"
	"github.com/weftnet/weft/examples/rpc/connectrpc/clusterpb"
	"github.com/weftnet/weft/examples/rpc/grid"
	"github.com/weftnet/weft/overlay"
)

// A target is what bench measures: one form on one sort of conns.
type target struct {
	name  string
	start func(ctx context.Context) (calls, func(), error)
}

// calls are those of one client. echo answers with the payload, put with nothing.
type calls struct {
	echo, put func(context.Context, []byte) error
}

// targets are in the order in which they take turns.
func targets(p *pair) []target {
	onTCP := func(ctx context.Context) (cfg [2]grid.Config, err error) {
		addrs := make(map[overlay.NodeID]string)
		for i := range cfg {
			ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
			if err != nil {
				return cfg, err
			}
			addrs[overlay.NodeID(i+1)] = ln.Addr().String()
			cfg[i] = grid.Config{ID: overlay.NodeID(i + 1), Listener: ln, Insecure: true, Dial: func(ctx context.Context, id overlay.NodeID) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", addrs[id])
			}}
		}
		return cfg, nil
	}
	onWeft := func(context.Context) (cfg [2]grid.Config, err error) {
		for i, node := range p.nodes {
			if cfg[i], err = grid.OnNode(node, gridPort); err != nil {
				return cfg, err
			}
		}
		return cfg, nil
	}
	return []target{
		{"grid tcp", func(ctx context.Context) (calls, func(), error) { return startGrid(ctx, onTCP) }},
		{"grid weft", func(ctx context.Context) (calls, func(), error) { return startGrid(ctx, onWeft) }},
		{"connect tcp", func(ctx context.Context) (calls, func(), error) {
			ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
			if err != nil {
				return calls{}, nil, err
			}
			transport := &http.Transport{Protocols: new(http.Protocols)}
			transport.Protocols.SetUnencryptedHTTP2(true)
			return startConnect(ln, transport, ln.Addr().String())
		}},
		{"connect weft", func(context.Context) (calls, func(), error) {
			ln, err := p.nodes[0].Listen(connectPort)
			if err != nil {
				return calls{}, nil, err
			}
			return startConnect(ln, p.nodes[1].HTTPTransport(), p.nodes[0].ID().String())
		}},
	}
}

// startGrid starts two grids, of which the second calls the first.
func startGrid(ctx context.Context, configs func(context.Context) ([2]grid.Config, error)) (calls, func(), error) {
	cfg, err := configs(ctx)
	if err != nil {
		return calls{}, nil, err
	}
	h, err := handlers()
	if err != nil {
		return calls{}, nil, err
	}
	server, client := grid.New(cfg[0], h), grid.New(cfg[1], h)
	stop := func() { _, _ = client.Close(), server.Close() }
	peer, err := client.Peer(cfg[0].ID)
	if err == nil {
		err = peer.WaitForConnect(ctx)
	}
	if err != nil {
		stop()
		return calls{}, nil, err
	}
	caller := func(id grid.HandlerID) func(context.Context, []byte) error {
		return func(ctx context.Context, payload []byte) error {
			_, err := peer.Call(ctx, &grid.Request{Handler: id, Payload: payload})
			return err
		}
	}
	return calls{echo: caller(echoID), put: caller(putID)}, stop, nil
}

// startConnect starts a server on ln, and a client.
func startConnect(ln net.Listener, transport *http.Transport, host string) (calls, func(), error) {
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), connectrpc.Anybody{}, true))
	server := connectrpc.NewServer(token, func(string, ...any) {})
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	served := make(chan error, 1)
	go func() { served <- connectrpc.Serve(ctx, server, ln) }()
	client := connectrpc.NewClient(transport, nil)
	node := client.Node(host, "")
	stop := func() {
		client.Close()
		cancel()
		<-served //nolint:errcheck // nobody measures any more
	}
	echo := func(ctx context.Context, payload []byte) error {
		_, err := node.Echo(ctx, connect.NewRequest(&clusterpb.Data{Payload: payload}))
		return err
	}
	put := func(ctx context.Context, payload []byte) error {
		_, err := node.Put(ctx, connect.NewRequest(&clusterpb.Data{Payload: payload}))
		return err
	}
	return calls{echo: echo, put: put}, stop, nil
}
