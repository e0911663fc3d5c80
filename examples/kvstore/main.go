// Command kvstore is a key-value store without a central server: nodes of the overlay that
// form a Chord ring, keep each value three times, and answer as one. With WEFT_SECRET and
// WEFT_RELAYS set on each machine:
//
//	WEFT_NAME=kv-1 go run ./kvstore --data /tmp/kv-1 --new                        # a new store
//	WEFT_NAME=kv-2 go run ./kvstore --data /tmp/kv-2 --listen 127.0.0.1:8081 --join kv-1
//
// Then curl -T file http://127.0.0.1:8080/v1/keys/hello writes on one, and
// curl http://127.0.0.1:8081/v1/keys/hello reads on the other.
//
//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/overlay"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "kvstore:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	listen, data string
	join         []string
	new          bool
	patience     time.Duration
	Quorums
}

func parse(args []string) (settings, error) {
	s := settings{Quorums: defaultQuorums}
	flags := flag.NewFlagSet("kvstore", flag.ContinueOnError)
	flags.StringVar(&s.listen, "listen", "127.0.0.1:8080", "where users reach the store, by HTTP; keep it on loopback")
	flags.StringVar(&s.data, "data", "kv", "directory of the node's data, and of its key unless WEFT_STATE is set")
	flags.Func("join", "a member of the store, by ID, key or name; several separated by commas; needed once", func(list string) error {
		s.join = append(s.join, strings.Split(list, ",")...)
		return nil
	})
	flags.BoolVar(&s.new, "new", false, "make a new store; only for the first start of the first node")
	flags.IntVar(&s.Replicas, "replicas", s.Replicas, "of a new store: how many nodes keep each value")
	flags.IntVar(&s.Read, "read", s.Read, "of a new store: how many of them answer a read")
	flags.IntVar(&s.Write, "write", s.Write, "of a new store: how many of them have a write on disk before it is acknowledged")
	flags.DurationVar(&s.patience, "patience", patience, "how long a request is tried before it fails with Unavailable (503)")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("%q is not understood; there is only demo besides flags", flags.Arg(0))
	}
	return s, s.valid()
}

func run(ctx context.Context, args []string) error {
	if len(args) == 1 && args[0] == "demo" {
		return demo(ctx, demoPort, os.Stdout)
	}
	s, err := parse(args)
	if err != nil {
		return err
	}
	cfg, err := overlay.ConfigFromEnv()
	if err != nil {
		return err
	}
	if cfg.StateDir == "" {
		cfg.StateDir = filepath.Join(s.data, "node") // or it would be another node after each start
	}
	node, err := overlay.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return err
	}
	return runNode(ctx, node, ln, s, logrus.StandardLogger())
}

// runNode is a node of the store on a node of the overlay, until ctx ends or it has left.
func runNode(ctx context.Context, node *overlay.Node, ln net.Listener, s settings, log logrus.FieldLogger) error {
	defer ln.Close()
	inner, err := node.Listen(nodePort)
	if err != nil {
		return err
	}
	defer inner.Close()
	if err := os.MkdirAll(s.data, 0o700); err != nil {
		return err
	}
	peer, transport := dialler(node)
	defer transport.CloseIdleConnections()
	n, err := open(Config{ID: node.ID(), Dir: s.data, Peer: peer, Join: s.join, New: s.new, Quorums: s.Quorums, Patience: s.patience, Log: log})
	if err != nil {
		return err
	}
	log.WithFields(logrus.Fields{"node": node.ID(), "users": "http://" + ln.Addr().String()}).Info("this node is up")
	ctx, left := context.WithCancel(ctx)
	defer left()
	var wg sync.WaitGroup
	var usersErr, nodesErr error
	wg.Go(func() {
		defer left()
		usersErr = serve(ctx, users{n, left}.handler(), ln)
	})
	wg.Go(func() {
		defer left()
		nodesErr = serveNodes(ctx, n, inner)
	})
	wg.Wait()
	return errors.Join(usersErr, nodesErr, n.close())
}
