package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

// crowder is a transport that can have many nodes in one process.
type crowder interface {
	// Crowd starts 2n nodes, of which none knows another yet; it returns nil if
	// another transport's crowd would be the same.
	Crowd(ctx context.Context, n int) (crowd, error)
}

// A crowd is many nodes in one process.
type crowd interface {
	// Meet makes a session between the ith node that dials and the jth that is
	// dialled; it stays, without streams.
	Meet(ctx context.Context, i, j int) error
	Close() error
}

// measureSessions fills sessionHeap, if t can have many nodes.
func measureSessions(ctx context.Context, t Transport, b budget, s *sample) (err error) {
	many, ok := t.(crowder)
	if !ok {
		return nil
	}
	c, err := many.Crowd(ctx, b.crowd)
	if err != nil {
		return fmt.Errorf("sessions: %w", err)
	}
	if c == nil {
		return nil
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	e := &ends{} // both sides are in this process
	before, err := e.calm(ctx)
	if err != nil {
		return err
	}
	for i := range b.crowd {
		for j := range b.crowd {
			if err := c.Meet(ctx, i, j); err != nil {
				return fmt.Errorf("session %d-%d: %w", i, j, err)
			}
		}
	}
	after, err := e.calm(ctx)
	s[sessionHeap] = (after.Bytes - before.Bytes) / float64(b.crowd*b.crowd)
	return err
}

// weftCrowd is 2n nodes at one relay.
type weftCrowd struct {
	*weftServer
	n int
}

func (t weftTransport) Crowd(ctx context.Context, n int) (crowd, error) {
	if !t.relayed || t.early {
		return nil, nil // nodes that are not relays meet at one
	}
	s := t.newServer()
	err := s.start(ctx, t)
	for len(s.nodes) < 2*n+1 && err == nil { // the first one is the relay's
		_, err = s.node(t.udp)
	}
	for _, node := range s.nodes {
		if err == nil {
			err = node.WaitReady(ctx)
		}
	}
	for j := 0; j < n && err == nil; j++ {
		ln := s.ln // of the first
		if j > 0 {
			ln, err = s.nodes[1+j].Listen(benchPort)
		}
		if err == nil {
			go closeConns(ln)
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return weftCrowd{s, n}, nil
}

// closeConns takes conns until the listener's node is closed.
func closeConns(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		_ = c.Close() // the session is what counts
	}
}

// Meet dials, because that is what makes a session.
func (c weftCrowd) Meet(ctx context.Context, i, j int) error {
	from, to := c.nodes[1+c.n+i], c.nodes[1+j]
	conn, err := from.Dial(ctx, net.JoinHostPort(to.ID().String(), strconv.Itoa(benchPort)))
	if err != nil {
		return err
	}
	return conn.Close()
}

// libp2pCrowd is 2n hosts; the first n are dialled.
type libp2pCrowd []host.Host

func (t libp2pTransport) Crowd(_ context.Context, n int) (crowd, error) {
	if t.relayed {
		return nil, nil
	}
	var c libp2pCrowd
	for i := range 2 * n {
		listen := t.listen
		if i >= n {
			listen = ""
		}
		h, err := t.host(listen)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c = append(c, h)
	}
	return c, nil
}

func (c libp2pCrowd) Meet(ctx context.Context, i, j int) error {
	to := c[j]
	return c[len(c)/2+i].Connect(ctx, peer.AddrInfo{ID: to.ID(), Addrs: to.Addrs()})
}

func (c libp2pCrowd) Close() error {
	var errs []error
	for _, h := range c {
		errs = append(errs, h.Close())
	}
	return errors.Join(errs...)
}
