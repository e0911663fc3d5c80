// Command overlay-test is a replicated counter without a leader, and the reason for
// it is its tests: they cut, kill, restart and impair its hosts in a network that
// package overlaytest simulates. With WEFT_SECRET and WEFT_RELAYS set on all machines:
//
//	WEFT_NAME=a go run ./overlay-test b c   # and the same for b and c
//
// Each number that is typed is added.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/weftnet/weft/overlay"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "overlay-test:", err)
		os.Exit(1)
	}
}

// run runs a replica until the input ends.
func run(ctx context.Context, others []string, in io.Reader, out io.Writer) error {
	if len(others) == 0 {
		return errors.New("say the names of the other replicas: one alone can acknowledge nothing")
	}
	node, err := overlay.Default() // what the environment says
	if err != nil {
		return err
	}
	defer node.Close()
	c, err := New(node)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- c.Run(ctx, others) }()
	scanner := bufio.NewScanner(in)
	for scanner.Scan() {
		fmt.Fprintln(out, answer(ctx, c, scanner.Text()))
	}
	stop()
	return errors.Join(scanner.Err(), <-ran)
}

// answer adds what was typed and says what came of it.
func answer(ctx context.Context, c *Counter, typed string) string {
	n, err := strconv.ParseUint(strings.TrimSpace(typed), 10, 32)
	if err != nil {
		return fmt.Sprintf("%q is no number from 0 to %d", typed, uint32(1<<32-1))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := c.Add(ctx, n); err != nil {
		return fmt.Sprintf("%d (%v)", c.Total(), err)
	}
	return strconv.FormatUint(c.Total(), 10)
}
