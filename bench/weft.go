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
	early   bool // write before the peer has accepted a conn, as libp2p and QUIC do
}

func (t weftTransport) Name() string { return t.name }

func (t weftTransport) Serve(ctx context.Context) (Server, error) {
	s := t.newServer()
	if err := s.start(ctx, t); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (t weftTransport) Client(ctx context.Context, addr string) (Client, error) {
	c := &weftClient{weftNodes: weftNodes{layer: t.layer, up: make(chan struct{}, 1)}, dialer: overlay.Dialer{EarlyData: t.early}, udp: t.udp}
	if _, err := fmt.Sscan(addr, &c.secret, &c.relay, &c.target); err != nil {
		return nil, err
	}
	n, err := c.node(t.udp)
	if err == nil {
		err = n.WaitReady(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// weftNodes are the running nodes of one side.
type weftNodes struct {
	secret string
	layer  stream.Layer
	relay  string // its address
	nodes  []*overlay.Node
	up     chan struct{} // a node has moved to a direct path
}

// node makes one more node of the network.
func (w *weftNodes) node(udp bool) (*overlay.Node, error) {
	cfg := overlay.Config{Secret: w.secret, Reliability: w.layer, NoDirect: true} // what is measured is a link, or a relay
	if udp {
		cfg.NoDirect, cfg.NoLAN, cfg.UDPAddr = false, true, "127.0.0.1:0"
		cfg.OnEvent = func(e overlay.Event) {
			if e.Kind == overlay.EventPathUp {
				select {
				case w.up <- struct{}{}:
				default:
				}
			}
		}
	}
	if w.relay != "" {
		cfg.Relays = []string{w.relay}
	}
	n, err := overlay.New(cfg)
	if err != nil {
		return nil, err
	}
	w.nodes = append(w.nodes, n)
	return n, nil
}

// moved waits until packets take a direct path.
func (w *weftNodes) moved(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("no direct path came up; is UDP on loopback blocked?"))
	defer cancel()
	select {
	case <-w.up:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// settle waits until the search for the largest packet of a direct path is over,
// too.
func (w *weftNodes) settle(ctx context.Context, udp bool) error {
	if !udp {
		return nil
	}
	if err := w.moved(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(settleTime):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// settleTime is how long the search for the largest packet may take.
const settleTime = 2 * time.Second

// weftServer has the relay, and the node at which conns arrive: the first one,
// which the relay runs on, or one of its own.
type weftServer struct {
	weftNodes
	server *relay.Server
	served chan error
	ln     net.Listener
	addr   string
	udp    bool
}

func (t weftTransport) newServer() *weftServer {
	return &weftServer{weftNodes: weftNodes{secret: overlay.NewSecret(), layer: t.layer, up: make(chan struct{}, 1)}}
}

func (s *weftServer) start(ctx context.Context, t weftTransport) error {
	s.udp = t.udp
	end, err := s.node(false)
	if err != nil {
		return err
	}
	tcp, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.relay = tcp.Addr().String()
	s.server = &relay.Server{Host: end}
	s.served = make(chan error, 1)
	go func() { s.served <- s.server.Serve(tcp) }()
	if t.relayed {
		if end, err = s.node(t.udp); err != nil {
			return err
		}
	}
	if err := end.WaitReady(ctx); err != nil {
		return err
	}
	s.addr = fmt.Sprintf("%s %s %s", s.secret, s.relay, net.JoinHostPort(end.ID().String(), strconv.Itoa(benchPort)))
	s.ln, err = end.Listen(benchPort)
	return err
}

func (s *weftServer) Addr() string                     { return s.addr }
func (s *weftServer) Accept() (net.Conn, error)        { return s.ln.Accept() }
func (s *weftServer) Settle(ctx context.Context) error { return s.settle(ctx, s.udp) }

func (s *weftServer) Close() error {
	var errs []error
	if s.ln != nil {
		errs = append(errs, s.ln.Close())
	}
	for i := len(s.nodes) - 1; i > 0; i-- {
		errs = append(errs, s.nodes[i].Close())
	}
	if s.server != nil {
		errs = append(errs, s.server.Close())
		if err := <-s.served; !errors.Is(err, relay.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	if len(s.nodes) > 0 {
		errs = append(errs, s.nodes[0].Close())
	}
	return errors.Join(errs...)
}

type weftClient struct {
	weftNodes
	target string
	dialer overlay.Dialer
	udp    bool
}

func (c *weftClient) Dial(ctx context.Context) (net.Conn, error) {
	return c.dialer.Dial(ctx, c.nodes[0], c.target)
}

func (c *weftClient) Settle(ctx context.Context) error { return c.settle(ctx, c.udp) }

func (c *weftClient) Close() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}
