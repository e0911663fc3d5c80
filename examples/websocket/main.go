// Command websocket is a counter that many nodes watch and add to, over
// WebSockets of github.com/coder/websocket on conns of the overlay. With WEFT_SECRET
// and WEFT_RELAYS set on all machines:
//
//	WEFT_NAME=counter go run ./websocket            # counts
//	go run ./websocket counter                      # watches, until interrupted
//	WEFT_NAME=canyon go run ./websocket counter 5   # adds 5
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"

	"github.com/weftnet/weft/overlay"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "websocket:", err)
		os.Exit(1)
	}
}

// run counts, watches or adds until that is done or ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	add := int64(0)
	if len(args) == 2 {
		n, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil || n < 1 || n > maxAdd {
			return fmt.Errorf("%q cannot be added: say a number from 1 to %d", args[1], maxAdd)
		}
		add = n
	} else if len(args) > 2 {
		return errors.New("say nothing to count, NODE to watch, or NODE NUMBER to add")
	}
	node, err := overlay.Default() // what the environment says
	if err != nil {
		return err
	}
	defer node.Close()
	if len(args) > 0 {
		return watch(ctx, node, args[0], add, out)
	}
	ln, err := node.Listen(80)
	if err != nil {
		return err
	}
	return newCounter(ctx).serve(ln)
}
