// Command directory is a key-value store without a distributed hash table: every member
// knows all others, and rendezvous hashing says which two keep a key. With WEFT_SECRET
// and WEFT_RELAYS set on all machines:
//
//	WEFT_NAME=dir-1 go run ./directory member         # the first
//	WEFT_NAME=dir-2 go run ./directory member dir-1   # further ones, told of any other
//	go run ./directory put dir-1 colour green
//	go run ./directory get dir-2 colour
//	go run ./directory delete dir-2 colour
//	go run ./directory members dir-1
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"

	"github.com/weftnet/weft/overlay"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "directory:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("say member [NODE...], put NODE KEY VALUE, get NODE KEY, delete NODE KEY or members NODE")

func run(ctx context.Context, args []string, out io.Writer) error {
	want := map[string]int{"put": 4, "get": 3, "delete": 3, "members": 2}
	if len(args) == 0 || args[0] != "member" && want[args[0]] != len(args) {
		return errUsage
	}
	node, err := overlay.Default() // what the environment says
	if err != nil {
		return err
	}
	defer node.Close()
	if args[0] == "member" {
		d, err := New(node)
		if err != nil {
			return err
		}
		return d.Run(ctx, args[1:])
	}
	c := newClient(node)
	defer c.http.CloseIdleConnections()
	method, path, value := map[string]string{"put": http.MethodPut, "delete": http.MethodDelete}[args[0]], "/members", ""
	if args[0] != "members" {
		path = keyPath(values, args[2])
	}
	if args[0] == "put" {
		value = args[3]
	}
	a, err := c.ask(ctx, method, args[1], path, []byte(value), nil)
	if err != nil {
		return err
	}
	if a.status/100 != 2 {
		return fmt.Errorf("%s says: %s (%d)", args[1], strings.TrimSpace(string(a.body)), a.status)
	}
	if len(a.body) > 0 {
		fmt.Fprintf(out, "%s\n", a.body)
	}
	return nil
}
