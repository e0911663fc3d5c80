// Command chat is a chat room without a server: every node talks to every other
// one over a conn of their own. With WEFT_SECRET and WEFT_RELAYS set on each
// machine:
//
//	WEFT_NAME=alice go run ./chat            # waits for others
//	WEFT_NAME=bob go run ./chat alice        # meets alice
//	WEFT_NAME=eve go run ./chat alice bob    # meets both
//
// Lines from standard input go to all who are there; /who lists them.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/weftnet/weft/overlay"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// run chats until the input or ctx ends, with the nodes that friends names.
func run(ctx context.Context, friends []string, in io.Reader, out io.Writer) error {
	node, err := overlay.Default() // what the environment says
	if err != nil {
		return err
	}
	defer node.Close() // delivers what was said
	return chat(ctx, node, friends, in, out)
}

func chat(ctx context.Context, node *overlay.Node, friends []string, in io.Reader, out io.Writer) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	room, err := enter(ctx, node, friends, out)
	if err != nil {
		return err
	}
	lines := make(chan string)
	typed := make(chan error, 1)
	go func() { // may outlive the chat by the one read that nothing can end, of a terminal
		defer close(lines)
		typed <- readLines(ctx, in, lines)
	}()
	if err := room.run(lines); err != nil {
		return err
	}
	select {
	case err := <-typed:
		return err
	default:
		return nil // ctx has ended
	}
}

// readLines hands on what is typed, line by line, until the input or ctx ends.
func readLines(ctx context.Context, in io.Reader, lines chan<- string) error {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, 1<<20) // a paste by mistake is told of, not the end
	for scanner.Scan() {
		if scanner.Text() == "" {
			continue
		}
		select {
		case lines <- scanner.Text():
		case <-ctx.Done():
			return nil
		}
	}
	return scanner.Err()
}
