// Command webapp is a board in the browser: notes that all who look at it see at once, and
// who is looking. It is on no address of any machine; browsers get to it through
// `weft socks`. With WEFT_SECRET and WEFT_RELAYS set on all machines:
//
//	WEFT_NAME=board go run ./webapp           # serves the page
//	weft up --name laptop & weft socks        # where the browser is: its SOCKS proxy is 127.0.0.1:1080
//	go run ./webapp board 'hello, everybody'  # a note without a browser
//
// The page is http://board.weft/.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"

	"github.com/weftnet/weft/overlay"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		os.Exit(1)
	}
}

// run serves the board, or writes a note on one.
func run(ctx context.Context, args []string) error {
	if len(args) != 0 && len(args) != 2 {
		return errors.New("say nothing to serve a board, or NODE NOTE to write on one")
	}
	node, err := overlay.Default() // what the environment says
	if err != nil {
		return err
	}
	defer node.Close()
	if len(args) == 2 {
		return write(ctx, node, args[0], args[1])
	}
	ln, err := node.Listen(80)
	if err != nil {
		return err
	}
	return newBoard(ctx).serve(ln)
}

// write sends what the page's form would.
func write(ctx context.Context, node *overlay.Node, host, note string) error {
	transport := node.HTTPTransport()
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	form := url.Values{"note": {note}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+host+"/notes", strings.NewReader(form))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("%s says: %s", host, strings.TrimSpace(string(text)))
	}
	return nil
}
