package relay_test

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// A relay in the same process as the two nodes that meet at it.
func ExampleServer() {
	ctx := context.Background()
	node, err := overlay.New(overlay.Config{Open: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &relay.Server{Host: node}
	served := make(chan error, 1)
	go func() { served <- server.Serve(public) }()

	attach := func(name string) *overlay.Node {
		n, err := overlay.New(overlay.Config{Open: true, Name: name, Relays: []string{public.Addr().String()}})
		if err == nil {
			err = n.WaitReady(ctx)
		}
		if err != nil {
			fmt.Println(err)
		}
		return n
	}
	alice, bob := attach("alice"), attach("bob")
	ln, err := bob.Listen(80)
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		if conn, err := ln.Accept(); err == nil {
			_, _ = io.WriteString(conn, "hello from bob")
			_ = conn.Close()
		}
	}()
	conn, err := alice.Dial(ctx, "bob:80")
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := io.ReadAll(conn)
	fmt.Printf("%s %v\n", text, err)

	_ = conn.Close()
	_ = alice.Close()
	_ = bob.Close()
	fmt.Println(server.Shutdown(ctx), <-served)
	// Output:
	// hello from bob <nil>
	// <nil> relay: server closed
}
