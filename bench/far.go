package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/stream"
)

// The far path: what a wire between two cities is like.
const (
	farDelay  = 25 * time.Millisecond // each way
	farRate   = 100_000_000 / 8       // bytes a second
	farQueue  = farRate / 20          // 50 ms
	farPacket = 1400
)

// farTransport is one layer over a session on a simulated far path.
type farTransport struct {
	name  string
	layer stream.Layer
	loss  float64 // from 0 to 1
}

// farTransports lists each layer on each far path.
func farTransports() (all []Transport) {
	for _, loss := range []float64{0, 0.01} {
		for _, l := range layers {
			all = append(all, farTransport{fmt.Sprintf("%s %.0f%% loss", l.Name(), 100*loss), l, loss})
		}
	}
	return all
}

func (t farTransport) Name() string { return t.name }

func (t farTransport) Start(ctx context.Context) (Server, Client, error) {
	p := &farPair{}
	if err := p.start(ctx, t); err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	return p, farClient{p.ends[0].mux}, nil
}

// A farEnd is one of two nodes. It is the session's path to the other one, too.
type farEnd struct {
	endpoint *session.Endpoint
	wire     *simnet.Wire
	id       identity.NodeID
	mux      stream.Mux
}

func (e *farEnd) Ready(session.Waker) bool { return true }
func (e *farEnd) MaxPacket() int           { return farPacket }
func (e *farEnd) ID() identity.NodeID      { return 0 }
func (e *farEnd) String() string           { return "far" }
func (e *farEnd) Send(f *frame.Frame) error {
	f.SetSrc(e.id)
	e.wire.Send(f)
	return nil
}

// A farPair is the client's end and the server's, of which it is the [Server].
type farPair struct{ ends [2]*farEnd }

func (p *farPair) start(ctx context.Context, t farTransport) error {
	network, err := identity.OpenNetwork(identity.NetworkConfig{Open: true})
	if err != nil {
		return err
	}
	accepted := make(chan *session.Session, 1)
	for i := range p.ends {
		if p.ends[i], err = newFarEnd(network, t.layer, accepted); err != nil {
			return err
		}
	}
	for i, e := range p.ends {
		to, seed := p.ends[1-i], uint64(i)
		e.wire = simnet.NewWire(simnet.Impairment{Delay: farDelay, Rate: farRate, Queue: farQueue, Loss: t.loss}, seed,
			func(f *frame.Frame) { to.endpoint.Receive(f, to) })
	}
	a, err := p.ends[0].endpoint.Dial(ctx, identity.Target{ID: p.ends[1].id})
	if err != nil {
		return err
	}
	var b *session.Session
	select {
	case b = <-accepted:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	for i, s := range []*session.Session{a, b} {
		if p.ends[i].mux, err = t.layer.Start(stream.FromSession(s), silent); err != nil {
			return err
		}
	}
	return nil
}

// newFarEnd makes a node without its wire. Sessions of which it is told go to
// accepted.
func newFarEnd(network *identity.Network, layer stream.Layer, accepted chan *session.Session) (*farEnd, error) {
	key, err := identity.GenerateKey()
	if err != nil {
		return nil, err
	}
	credentials, err := identity.NewCredentials(key, network, nil)
	if err != nil {
		return nil, err
	}
	e := &farEnd{id: key.ID()}
	cfg := session.Config{
		Credentials: credentials,
		Layer:       layer.Name(),
		Route:       func(identity.NodeID) session.Path { return e },
		OnSession: func(s *session.Session) {
			if !s.Initiator() {
				accepted <- s
			}
		},
	}
	if g, ok := layer.(stream.Greeter); ok {
		cfg.Greeting = g.Greeting
	}
	e.endpoint, err = session.NewEndpoint(cfg)
	return e, err
}

func (p *farPair) Addr() string { return "" }

func (p *farPair) Accept() (net.Conn, error) {
	r, err := p.ends[1].mux.Accept(context.Background()) // Close ends it
	if err != nil {
		return nil, err
	}
	return r.Accept()
}

func (p *farPair) Close() error {
	var errs []error
	for _, e := range p.ends {
		if e == nil {
			continue
		}
		if e.mux != nil {
			errs = append(errs, e.mux.Close())
		}
		errs = append(errs, e.endpoint.Close())
	}
	for _, e := range p.ends {
		if e != nil && e.wire != nil {
			e.wire.Close()
		}
	}
	return errors.Join(errs...)
}

// farClient opens conns to the pair's server, which closes both ends.
type farClient struct{ mux stream.Mux }

func (c farClient) Dial(ctx context.Context) (net.Conn, error) {
	return c.mux.Open(ctx, benchPort, stream.OpenOptions{})
}

func (farClient) Close() error { return nil }
