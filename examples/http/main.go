// Command http is a web server and its client, both straight from net/http, on
// conns of the overlay. With WEFT_SECRET and WEFT_RELAYS set on both machines:
//
//	WEFT_NAME=greeter go run ./http         # serves on port 80
//	go run ./http http://greeter/           # gets, over HTTP/2
//	go run ./http -1 http://greeter/        # gets, over HTTP/1.1
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/weftnet/weft/overlay"
)

func main() {
	http1 := flag.Bool("1", false, "get over HTTP/1.1")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Arg(0), *http1, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "http:", err)
		os.Exit(1)
	}
}

// run serves, or gets a URL if there is one.
func run(ctx context.Context, url string, http1 bool, out io.Writer) error {
	node, err := overlay.Default() // what the environment says
	if err != nil {
		return err
	}
	defer node.Close()
	if url == "" {
		return serve(ctx, node)
	}
	client := newClient(node, http1)
	defer client.CloseIdleConnections()
	return get(ctx, client, url, out)
}

// serve answers requests until ctx ends.
func serve(ctx context.Context, node *overlay.Node) error {
	ln, err := node.Listen(80)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           http.HandlerFunc(greet),
		ConnContext:       overlay.ConnContext, // for PeerFrom
		Protocols:         new(http.Protocols),
		ReadHeaderTimeout: 10 * time.Second,
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true) // the conns themselves are encrypted
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() { stopped <- srv.Shutdown(context.WithoutCancel(ctx)) })
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// greet tells callers who they are. Nobody can pretend to be another node.
func greet(w http.ResponseWriter, r *http.Request) {
	peer, _ := overlay.PeerFrom(r.Context())
	fmt.Fprintf(w, "Hello, node %s, over %s.\n", peer.ID, r.Proto)
}

// newClient returns an HTTP client whose hosts are nodes.
func newClient(node *overlay.Node, http1 bool) *http.Client {
	transport := node.HTTPTransport()
	if http1 {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP1(true)
	}
	return &http.Client{Transport: transport}
}

// get writes what is at a URL.
func get(ctx context.Context, client *http.Client, url string, out io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(out, resp.Body)
	return err
}
