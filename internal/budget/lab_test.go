//go:build !race

package budget

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

const port = 7

// A lab is a relay on loopback and nodes that use it.
type lab struct {
	testing.TB
	ctx    context.Context
	secret string
	relay  *overlay.Node // is also a node that others dial, over one link
	addr   string
}

func newLab(tb testing.TB) *lab {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	tb.Cleanup(cancel)
	l := &lab{TB: tb, ctx: ctx, secret: overlay.NewSecret()}
	l.relay = l.node(overlay.Config{Relays: []string{}})
	ln, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	srv := &relay.Server{Host: l.relay}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	tb.Cleanup(func() {
		if err := srv.Close(); err != nil {
			tb.Error(err)
		}
		if err := <-served; !errors.Is(err, relay.ErrServerClosed) {
			tb.Error(err)
		}
	})
	l.addr = ln.Addr().String()
	return l
}

// node makes a node of the lab's network that lives as long as the test.
func (l *lab) node(cfg overlay.Config) *overlay.Node {
	l.Helper()
	cfg.Secret = l.secret
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	cfg.Logger = silent
	if cfg.UDPAddr == "" {
		cfg.NoDirect = true
	}
	if l.addr != "" {
		cfg.Relays = []string{l.addr}
	}
	n, err := overlay.New(cfg)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() {
		if err := n.Close(); err != nil {
			l.Error(err)
		}
	})
	return n
}

// nodes makes n nodes and waits until all are ready.
func (l *lab) nodes(n int) []*overlay.Node {
	l.Helper()
	all := make([]*overlay.Node, n)
	for i := range all {
		all[i] = l.node(overlay.Config{})
	}
	for _, n := range all {
		if err := n.WaitReady(l.ctx); err != nil {
			l.Fatal(err)
		}
	}
	return all
}

// serve hands out what a node accepts.
func (l *lab) serve(n *overlay.Node) <-chan net.Conn {
	l.Helper()
	ln, err := n.Listen(port)
	if err != nil {
		l.Fatal(err)
	}
	conns := make(chan net.Conn, 1024)
	go func() {
		defer close(conns)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	l.Cleanup(func() { _ = ln.Close() })
	return conns
}

func (l *lab) dial(from, to *overlay.Node) net.Conn {
	l.Helper()
	c, err := from.Dial(l.ctx, net.JoinHostPort(to.ID().String(), strconv.Itoa(port)))
	if err != nil {
		l.Fatal(err)
	}
	return c
}
