package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/localapi"
	"github.com/weftnet/weft/overlay"
)

// defaultTimeout is how long the commands for one errand wait for somebody.
const defaultTimeout = 30 * time.Second

// A getCommand is the command line of weft get.
type getCommand struct {
	guest
	output  string
	timeout time.Duration
}

func newGet() *cobra.Command {
	g := getCommand{guest: guest{membership: membership{short: true}}}
	cmd := &cobra.Command{
		Use:   "get URL",
		Short: "Fetch a URL from a node",
		Long: `Fetches a URL from a node over HTTP/2 and prints the answer on standard output.
Standard error gets the protocol, the status and the node that answered. An
answer that is no success fails the command.

The host of the URL is a node's name, ID or key.`,
		Example: `  weft get http://files/hello.txt
  weft get -o hello.txt http://9f3a61c0d24be815:8080/hello.txt`,
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: completeNodes("/"),
		RunE:              func(cmd *cobra.Command, args []string) error { return g.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringVarP(&g.output, "output", "o", "", "`file` for the answer, instead of standard output")
	f.DurationVar(&g.timeout, "timeout", defaultTimeout, "how long to wait for a relay, and then for the answer to begin")
	g.flags(cmd)
	return cmd
}

func (g *getCommand) run(cmd *cobra.Command, rawURL string) error {
	target, err := parseURL(rawURL)
	if err != nil {
		return usage(cmd, err)
	}
	node, err := g.node(cmd, logrus.ErrorLevel)
	if err != nil {
		return err
	}
	defer node.Close()
	// The client would wait, too, but could not say what for.
	if err := waitReady(cmd.Context(), node, g.timeout); err != nil {
		return err
	}
	transport := httpTransport(node)
	transport.ResponseHeaderTimeout = g.timeout
	defer transport.CloseIdleConnections()

	var from atomic.Pointer[sender]
	ctx := httptrace.WithClientTrace(cmd.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { from.Store(senderOf(info)) },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: transport}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "%s %s from %s\n", resp.Proto, resp.Status, from.Load()); err != nil {
		return err
	}
	return g.deliver(cmd, resp)
}

// httpTransport is overlay.Node.HTTPTransport for any node.
func httpTransport(node localapi.Node) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
			defer cancel()
			return node.Dial(ctx, addr)
		},
		Protocols: protocols,
	}
}

// deliver writes the answer to where it should go.
func (g *getCommand) deliver(cmd *cobra.Command, resp *http.Response) error {
	failed := resp.StatusCode < 200 || resp.StatusCode > 299
	var err error
	switch {
	case g.output == "":
		_, err = io.Copy(cmd.OutOrStdout(), resp.Body)
	case !failed: // a complaint is not what the file is for
		err = writeFile(g.output, resp.Body)
	}
	if err != nil {
		return fmt.Errorf("the answer is incomplete: %w", err)
	}
	if failed {
		return fmt.Errorf("%s answered %s", resp.Request.URL, resp.Status)
	}
	return nil
}

func writeFile(file string, from io.Reader) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// parseURL reads a URL whose host is a node; "http://" may be left out.
func parseURL(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http":
		return nil, fmt.Errorf("%s is not for nodes: conns to them are encrypted as they are, so say http", u.Scheme)
	case u.Host == "":
		return nil, errors.New("the URL names no node; say http://NODE/PATH")
	}
	return u, nil
}

// waitReady waits for a relay, but not for ever.
func waitReady(ctx context.Context, node interface {
	WaitReady(ctx context.Context) error
}, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("nothing after %v", timeout))
	defer cancel()
	return node.WaitReady(ctx)
}

// A sender is the node that answered, and the way to it.
type sender struct {
	peer overlay.Peer
	path string
}

func senderOf(info httptrace.GotConnInfo) *sender {
	var s sender
	s.peer, _ = overlay.PeerOf(info.Conn)
	s.path, _ = localapi.PathOf(info.Conn)
	return &s
}

// String describes the sender for people.
func (s *sender) String() string { return describe(s.peer, s.path) }

// describe says who a peer is and how it is reached.
func describe(peer overlay.Peer, path string) string {
	who := peer.ID.String()
	if len(peer.Names) > 0 {
		who += " (" + strings.Join(peer.Names, ", ") + ")"
	}
	return who + " by " + path
}
