package overlay

import (
	"context"
	"net"
	"sync"

	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/relay"
)

// InMemory returns what stands for the Internet and a relay at relay:9999 in
// the examples: a Config.DialLink.
func InMemory(secret string) (dial func(ctx context.Context, network, addr string) (net.Conn, error), stop func()) {
	internet := simnet.NewNetwork(1)
	dial = func(ctx context.Context, _, addr string) (net.Conn, error) {
		c, err := internet.Dial(ctx, "node", addr)
		if err != nil {
			return nil, err
		}
		return simConn{c}, nil
	}
	host, err := New(Config{Secret: secret})
	if err != nil {
		panic(err)
	}
	server := &relay.Server{Host: host}
	ln, err := internet.Listen(relayAddr)
	if err != nil {
		panic(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { server.ServeLink(c) })
		}
	})
	return dial, func() {
		_ = ln.Close()
		_ = server.Close()
		_ = host.Close()
		internet.Close()
		wg.Wait()
	}
}
