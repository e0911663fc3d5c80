package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/overlay"
)

const (
	// httpPort is the port that URLs need not name.
	httpPort = 80
	// headerTimeout is how long a client has for the header of a request.
	headerTimeout = 10 * time.Second
	// maxHeader is how long the header may be, in bytes.
	maxHeader = 64 << 10
	// idleTimeout is how long a client may keep a conn that it does not use.
	idleTimeout = 2 * time.Minute
)

// A serveCommand is the command line of weft serve.
type serveCommand struct {
	membership
	port     uint16
	grace    time.Duration
	linkAddr string
}

func newServe() *cobra.Command {
	var s serveCommand
	cmd := &cobra.Command{
		Use:   "serve DIR",
		Short: "Serve the files of a directory to the network",
		Long: `Serves the files of a directory over HTTP/2 and HTTP/1.1 to the nodes of the
network, and to nobody else. Nothing outside the directory is served, not even
through symbolic links. The URL is printed when the node can be reached, and
each request is logged with the node that made it.`,
		Example: `  weft serve --name files ~/public
  weft get http://files/hello.txt      # on another machine`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.Uint16Var(&s.port, "port", httpPort, "`port` of the overlay to listen on; 0 picks a free one")
	f.DurationVar(&s.grace, "grace", defaultGrace, "how long requests may take to end when the server stops")
	f.StringVar(&s.linkAddr, "link-addr", "", "`address` at which peers whose UDP is blocked reach this node over TCP, such as :4000; open it in the firewall")
	s.nameFlag(cmd)
	s.relayFlag(cmd)
	s.flags(cmd)
	return cmd
}

func (s *serveCommand) run(cmd *cobra.Command, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	cfg, err := s.config(cmd, logrus.InfoLevel)
	if err != nil {
		return err
	}
	cfg.LinkAddr = s.linkAddr
	node, err := overlay.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	defer openSocket(node, cfg.Logger)()
	ln, err := node.Listen(s.port)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           accessLog(http.FileServerFS(root.FS()), cfg.Logger),
		ConnContext:       overlay.ConnContext,
		Protocols:         new(http.Protocols),
		ReadHeaderTimeout: headerTimeout,
		MaxHeaderBytes:    maxHeader,
		IdleTimeout:       idleTimeout,
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true) // the conns themselves are encrypted
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()

	err = s.announce(cmd, node, ln)
	if cmd.Context().Err() != nil {
		err = nil // told to stop before it was ready
	}
	if err == nil {
		select {
		case err = <-served:
			return err
		case <-cmd.Context().Done():
		}
	}
	return errors.Join(err, s.stop(cmd, srv, node, served))
}

// announce prints the server's URL once it works.
func (s *serveCommand) announce(cmd *cobra.Command, node *overlay.Node, ln net.Listener) error {
	if err := node.WaitReady(cmd.Context()); err != nil {
		return err
	}
	host := node.Name()
	if host == "" {
		host = node.ID().String()
	}
	if addr, ok := ln.Addr().(overlay.Addr); ok && addr.Port != httpPort {
		host = fmt.Sprintf("%s:%d", host, addr.Port)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "http://%s/\n", host)
	return err
}

// stop lets requests end, and leaves the network.
func (s *serveCommand) stop(cmd *cobra.Command, srv *http.Server, node *overlay.Node, served <-chan error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), s.grace)
	defer cancel()
	if srv.Shutdown(ctx) != nil {
		_ = srv.Close() // of the requests that take too long
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return node.Close() // which delivers the last answers
}
