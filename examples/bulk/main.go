// Command bulk keeps snapshots for other nodes: streams of any length, by a name. The
// call that carries them is package bulk. With WEFT_SECRET and WEFT_RELAYS set on all
// machines:
//
//	WEFT_NAME=vault go run ./bulk serve DIR        # keeps them in a directory
//	tar c ~/notes | go run ./bulk put vault notes  # sends one
//	go run ./bulk get vault notes | tar x          # receives it
//	go run ./bulk list vault
//	go run ./bulk bench                            # throughput on this machine; needs no network
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"

	"github.com/weftnet/weft/examples/bulk/bulk"
	"github.com/weftnet/weft/overlay"
)

// port is where a vault listens.
const port = 7010

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bulk:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("say serve DIR, put NODE NAME, get NODE NAME, list NODE or bench")

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 1 && args[0] == "bench" {
		return bench(ctx, fullSize, out)
	}
	want := map[string]int{"serve": 2, "put": 3, "get": 3, "list": 2}
	if len(args) == 0 || want[args[0]] != len(args) {
		return errUsage
	}
	node, err := overlay.Default() // what the environment says
	if err != nil {
		return err
	}
	defer node.Close()
	if args[0] == "serve" {
		ln, err := node.Listen(port)
		if err != nil {
			return err
		}
		return serve(ctx, ln, args[1])
	}
	via := bulk.Dialer(func(ctx context.Context) (net.Conn, error) {
		return overlay.Dialer{EarlyData: true}.Dial(ctx, node, fmt.Sprintf("%s:%d", args[1], port)) // the header travels with the wish for the conn
	})
	switch args[0] {
	case "put":
		return put(ctx, via, args[2], in, out)
	case "get":
		return get(ctx, via, args[2], out)
	}
	return list(ctx, via, out)
}

func put(ctx context.Context, via bulk.Caller, name string, in io.Reader, out io.Writer) error {
	kept, body, err := bulk.Call[snapshot, snapshot](ctx, via, "put", snapshot{Name: name}, in)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, kept)
	return body.Close()
}

func get(ctx context.Context, via bulk.Caller, name string, out io.Writer) error {
	_, body, err := bulk.Call[snapshot, snapshot](ctx, via, "get", snapshot{Name: name}, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if n, err := io.Copy(out, body); err != nil {
		return fmt.Errorf("throw away the %d bytes that came: %w", n, err)
	}
	return nil
}

func list(ctx context.Context, via bulk.Caller, out io.Writer) error {
	all, body, err := bulk.Call[struct{}, []snapshot](ctx, via, "list", struct{}{}, nil)
	if err != nil {
		return err
	}
	for _, s := range all {
		fmt.Fprintln(out, s)
	}
	return body.Close()
}
