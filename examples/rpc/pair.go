package main

import (
	"context"
	"errors"
	"net"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// A pair is two ends in this process that can dial each other, over the overlay or bare TCP.
type pair struct {
	nodes  [2]*overlay.Node // nil: bare TCP
	server *relay.Server
	served chan error
}

// startPair starts two nodes; the first one is a relay, too, so that there is one TCP connection between both.
func startPair(ctx context.Context) (*pair, error) {
	p := &pair{served: make(chan error, 1)}
	cfg := overlay.Config{Secret: overlay.NewSecret(), NoDirect: true}
	err := func() (err error) {
		if p.nodes[0], err = overlay.New(cfg); err != nil {
			return err
		}
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		p.server = &relay.Server{Host: p.nodes[0]}
		go func() { p.served <- p.server.Serve(ln) }()
		cfg.Relays = []string{ln.Addr().String()}
		if p.nodes[1], err = overlay.New(cfg); err != nil {
			return err
		}
		return p.nodes[1].WaitReady(ctx)
	}()
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Close ends both nodes and the relay.
func (p *pair) Close() (err error) {
	if p.nodes[1] != nil {
		err = p.nodes[1].Close()
	}
	if p.server != nil {
		err = errors.Join(err, p.server.Close())
		if e := <-p.served; !errors.Is(e, relay.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	if p.nodes[0] != nil {
		err = errors.Join(err, p.nodes[0].Close())
	}
	return err
}
