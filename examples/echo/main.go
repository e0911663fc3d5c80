// Command echo is two nodes: one sends back what it gets, the other talks to
// it. With WEFT_SECRET and WEFT_RELAYS set on both machines:
//
//	WEFT_NAME=canyon go run ./echo      # listens
//	go run ./echo canyon:7 hello        # dials, and prints hello
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/weftnet/weft/overlay"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	node, err := overlay.Default() // what the environment says
	if err != nil {
		return err
	}
	defer node.Close()
	switch len(args) {
	case 0:
		ln, err := node.Listen(7)
		if err != nil {
			return err
		}
		return serve(ln)
	case 2:
		return dial(ctx, node, args[0], args[1], out)
	}
	return errors.New("say nothing to listen, or NODE:7 TEXT to dial")
}

// serve sends back what each conn sends.
func serve(ln net.Listener) error {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}()
	}
}

// dial sends a text and writes what comes back, as long as it is.
func dial(ctx context.Context, node *overlay.Node, addr, text string, out io.Writer) error {
	conn, err := node.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	_, err = io.CopyN(out, conn, int64(len(text)))
	return err
}
