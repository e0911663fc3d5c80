package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

const (
	demoNodes = 5
	demoPort  = 8081 // of the first; the others have the next ones
)

// demo is a relay and five nodes of a new store in one process, on loopback, from a port on
// or, if that is 0, on any ports. What it stores is gone afterwards.
func demo(ctx context.Context, port int, out io.Writer) error {
	dir, err := os.MkdirTemp("", "kvstore-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var users [demoNodes]net.Listener
	for i := range users {
		at := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if port > 0 {
			port++
		}
		if users[i], err = new(net.ListenConfig).Listen(ctx, "tcp", at); err != nil {
			return err
		}
		defer users[i].Close()
	}
	cfg := overlay.Config{Secret: overlay.NewSecret(), NoLAN: true}
	stopRelay, err := demoRelay(ctx, &cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "A store of %d nodes. Try:\n"+
		"  curl -X PUT -d world http://%v/v1/keys/hello\n"+
		"  curl http://%v/v1/keys/hello\n"+
		"  curl http://%v/v1/keys/hello/host\n"+
		"  curl -X POST http://%v/v1/leave\n", demoNodes, users[0].Addr(), users[4].Addr(), users[2].Addr(), users[1].Addr())
	log := logrus.New()
	log.SetOutput(out)
	var wg sync.WaitGroup
	var errs [demoNodes]error
	for i, ln := range users {
		wg.Go(func() { errs[i] = demoNode(ctx, cfg, i+1, ln, dir, log) })
	}
	wg.Wait()
	return errors.Join(append(errs[:], stopRelay())...)
}

// demoRelay starts a relay, and adds it to the config of nodes.
func demoRelay(ctx context.Context, cfg *overlay.Config) (stop func() error, err error) {
	host, err := overlay.New(*cfg)
	if err != nil {
		return nil, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	cfg.Relays = []string{ln.Addr().String()}
	server := &relay.Server{Host: host}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	return func() error {
		err := server.Close()
		if e := <-served; !errors.Is(e, relay.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return errors.Join(err, host.Close())
	}, nil
}

func demoNode(ctx context.Context, cfg overlay.Config, i int, users net.Listener, dir string, log logrus.FieldLogger) error {
	s := settings{data: filepath.Join(dir, strconv.Itoa(i)), Quorums: defaultQuorums, patience: patience, new: i == 1}
	if i > 1 {
		s.join = []string{"kv-1"}
	}
	cfg.Name = fmt.Sprint("kv-", i)
	node, err := overlay.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	return runNode(ctx, node, users, s, log)
}
