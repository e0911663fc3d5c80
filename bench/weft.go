package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
	"github.com/weftnet/weft/stream"
)

// benchPort is the overlay port that the server's end listens on.
const benchPort = 7

// weftTransport is two weft nodes. Direct, the server's node is a relay too,
// so that there is one link between them; otherwise a third node relays. With
// udp, they begin so and are measured once they have moved to a direct path.
type weftTransport struct {
	name    string
	layer   stream.Layer // nil: native
	relayed bool
	udp     bool // needs relayed
}

func (t weftTransport) Name() string { return t.name }

func (t weftTransport) Start(ctx context.Context) (Pairs, error) {
	p := &weftPairs{secret: overlay.NewSecret(), layer: t.layer, up: make(chan struct{}, 2)}
	err := p.start(ctx, t)
	if err == nil && t.udp {
		err = p.moveToUDP(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// weftPairs are the running nodes, in the order in which they were made.
type weftPairs struct {
	secret string
	layer  stream.Layer
	addr   string // of the relay
	server *relay.Server
	served chan error
	nodes  []*overlay.Node
	ln     net.Listener
	target string
	up     chan struct{} // a node has moved to a direct path
}

func (p *weftPairs) start(ctx context.Context, t weftTransport) error {
	first, err := p.node(false)
	if err != nil {
		return err
	}
	tcp, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.addr = tcp.Addr().String()
	p.server = &relay.Server{Host: first}
	p.served = make(chan error, 1)
	go func() { p.served <- p.server.Serve(tcp) }()
	end := first
	if t.relayed {
		if end, err = p.node(t.udp); err != nil {
			return err
		}
	}
	client, err := p.node(t.udp)
	if err != nil {
		return err
	}
	for _, n := range []*overlay.Node{end, client} {
		if err := n.WaitReady(ctx); err != nil {
			return err
		}
	}
	p.target = net.JoinHostPort(end.ID().String(), strconv.Itoa(benchPort))
	p.ln, err = end.Listen(benchPort)
	return err
}

// moveToUDP waits until packets take a direct path both ways, and until larger
// packets than at first were tried.
func (p *weftPairs) moveToUDP(ctx context.Context) error {
	client, server, err := p.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { _, _ = client.Close(), server.Close() }()
	settled := time.After(settleTime)
	for range 2 {
		select {
		case <-p.up:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(patience):
			return errors.New("no direct path came up; is UDP on loopback blocked?")
		}
	}
	<-settled
	return nil
}

// settleTime is how long the search for the largest packet may take.
const settleTime = 2 * time.Second

// node makes one more node of the network.
func (p *weftPairs) node(udp bool) (*overlay.Node, error) {
	cfg := overlay.Config{Secret: p.secret, Reliability: p.layer, NoDirect: true} // what is measured is a link, or a relay
	if udp {
		cfg.NoDirect, cfg.NoLAN, cfg.UDPAddr = false, true, "127.0.0.1:0"
		cfg.OnEvent = func(e overlay.Event) {
			if e.Kind == overlay.EventPathUp {
				select {
				case p.up <- struct{}{}:
				default:
				}
			}
		}
	}
	if p.addr != "" {
		cfg.Relays = []string{p.addr}
	}
	n, err := overlay.New(cfg)
	if err != nil {
		return nil, err
	}
	p.nodes = append(p.nodes, n)
	return n, nil
}

func (p *weftPairs) Open(ctx context.Context) (client, server net.Conn, err error) {
	accepted := make(chan error, 1)
	go func() {
		var err error
		server, err = p.ln.Accept()
		accepted <- err
	}()
	client, err = p.nodes[len(p.nodes)-1].Dial(ctx, p.target)
	if err != nil {
		return nil, nil, fmt.Errorf("dial: %w", err)
	}
	return client, server, <-accepted
}

func (p *weftPairs) Close() error {
	var errs []error
	if p.ln != nil {
		errs = append(errs, p.ln.Close())
	}
	for i := len(p.nodes) - 1; i > 0; i-- {
		errs = append(errs, p.nodes[i].Close())
	}
	if p.server != nil {
		errs = append(errs, p.server.Close())
		if err := <-p.served; !errors.Is(err, relay.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	if len(p.nodes) > 0 {
		errs = append(errs, p.nodes[0].Close())
	}
	return errors.Join(errs...)
}
