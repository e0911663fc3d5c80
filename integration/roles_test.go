//go:build unix

package integration

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// envRole makes the test binary one of the roles. What kind of node that is,
// the variables say that overlay.ConfigFromEnv reads.
const envRole = "WEFT_TEST_ROLE"

// What a server listens on.
const (
	portHTTP   = 80  // answers who asked for what
	portSource = 101 // answers a size with so many bytes and their SHA-256
	portLast   = 102 // the same, and ends the process at once
	portHold   = 103 // says one byte and nothing more
	portEcho   = 104 // says what it hears
)

// startTimeout is how long a role has to come up.
const startTimeout = 30 * time.Second

var roles = map[string]func(context.Context, overlay.Config, []string) error{
	"relay":  playRelay,
	"server": playServer,
	"client": playClient,
}

// play runs a role until it has ended, is sent SIGTERM or has lost the test,
// and returns the exit code.
func play(role string, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	log := logrus.New() // to standard error
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: "15:04:05.000"})
	log.SetLevel(logrus.DebugLevel)
	cfg, _ := overlay.ConfigFromEnv() // the first relay lacks relays
	cfg.Logger = log
	if err := roles[role](ctx, cfg, args); err != nil {
		log.Error(err)
		return 1
	}
	return 0
}

// say tells the test something.
func say(word string, about any) { fmt.Fprintln(os.Stdout, word, about) }

// playRelay is a relay. Its arguments are the address to listen on, how long
// nodes have to leave when it stops, and the addresses of other relays.
func playRelay(ctx context.Context, cfg overlay.Config, args []string) error {
	grace, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	cfg.Relays = nil // it is one itself
	node, err := overlay.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	ln, err := listen(ctx, args[0])
	if err != nil {
		return err
	}
	server := &relay.Server{Host: node, Addrs: []string{ln.Addr().String()}, Peers: args[2:]}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	say("listening", ln.Addr())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	graceful, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	say("left", server.Shutdown(graceful) == nil)
	<-served
	return nil
}

// listen listens on an address that a process may have had that is just dying.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if !errors.Is(err, syscall.EADDRINUSE) || ctx.Err() != nil {
			return ln, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// playServer is a node that listens on all ports above.
func playServer(ctx context.Context, cfg overlay.Config, _ []string) error {
	node, err := overlay.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	last := make(chan net.Conn, 1)
	for port, serve := range map[uint16]func(net.Conn){
		portSource: func(c net.Conn) { source(c); _ = c.Close() },
		portLast:   func(c net.Conn) { source(c); last <- c },
		portHold:   hold,
		portEcho:   func(c net.Conn) { _, _ = io.Copy(c, c); _ = c.Close() },
	} {
		ln, err := node.Listen(port)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go serve(c)
			}
		}()
	}
	ln, err := node.Listen(portHTTP)
	if err != nil {
		return err
	}
	go func() { _ = newHTTPServer().Serve(ln) }()

	if err := attached(ctx, node); err != nil {
		return err
	}
	say("ready", node.ID())
	select {
	case c := <-last:
		_ = c.Close()
	case <-ctx.Done():
	}
	return node.Close()
}

// newHTTPServer answers with what was asked for and by whom.
func newHTTPServer() *http.Server {
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			peer, _ := overlay.PeerFrom(r.Context())
			fmt.Fprintf(w, "%s %s for %s at %s", r.Method, r.URL.Path, peer.ID, r.RemoteAddr)
		}),
		ConnContext: overlay.ConnContext,
		Protocols:   new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	return srv
}

// source answers a request with as many bytes as it asks for, and their hash.
func source(c net.Conn) {
	var size [8]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return
	}
	hash := sha256.New()
	random := rand.NewChaCha8([32]byte{1})
	n := int64(binary.BigEndian.Uint64(size[:]))
	buf := make([]byte, 256<<10)
	if _, err := io.CopyBuffer(onlyWriter{io.MultiWriter(hash, c)}, io.LimitReader(random, n), buf); err != nil {
		return
	}
	_, _ = c.Write(hash.Sum(nil))
}

// onlyWriter hides ReadFrom, so that CopyBuffer uses its buffer.
type onlyWriter struct{ io.Writer }

// hold says that it is there, and waits for the end.
func hold(c net.Conn) {
	_, _ = c.Write([]byte{1})
	_, _ = io.Copy(io.Discard, c)
	_ = c.Close()
}

// attached waits until the node is registered with all its relays.
func attached(ctx context.Context, node *overlay.Node) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := node.WaitReady(ctx); err != nil {
		return err
	}
	return eventually(ctx, func() bool {
		for _, r := range node.Status().Relays {
			if !r.Up {
				return false
			}
		}
		return true
	})
}

// eventually waits until something is true that nobody announces.
func eventually(ctx context.Context, is func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// An answer is what a client found out.
type answer struct {
	Client, From overlay.NodeID // who asked; who answered, by the conn
	RemoteAddr   string         // of the conn
	Proto, Body  string
}

// playClient gets the URL that is its argument with net/http and says its
// answer.
func playClient(ctx context.Context, cfg overlay.Config, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	node, err := overlay.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	a := answer{Client: node.ID()}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		peer, _ := overlay.PeerOf(info.Conn)
		a.From, a.RemoteAddr = peer.ID, info.Conn.RemoteAddr().String()
	}})
	client := &http.Client{Transport: node.HTTPTransport()}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	a.Proto, a.Body = resp.Proto, string(body)
	text, err := json.Marshal(a)
	say("answer", string(text))
	return err
}
