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
		conn, err := node.Dial(ctx, args[0])
		if err != nil {
			return err
		}
		defer conn.Close()
		return say(conn, args[1], out)
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
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}

// say sends a text and writes what comes back.
func say(conn net.Conn, text string, out io.Writer) error {
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	// As on a TCP conn: the other side reads io.EOF, and can still answer.
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(out, conn)
	return err
}
