package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

const demoNodes = 5

// demo is a relay and five nodes of a new store in one process, on ports 8081 to 8085
// of loopback. What it stores is gone afterwards.
func demo(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "kvstore-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg := overlay.Config{Secret: overlay.NewSecret(), NoLAN: true}
	host, err := overlay.New(cfg)
	if err != nil {
		return err
	}
	defer host.Close()
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &relay.Server{Host: host}
	cfg.Relays = []string{ln.Addr().String()}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	errs := make([]error, demoNodes+1)
	wg.Go(func() {
		if err := server.Serve(ln); !errors.Is(err, relay.ErrServerClosed) {
			errs[demoNodes] = err
		}
	})
	for i := range demoNodes {
		wg.Go(func() {
			errs[i] = demoNode(ctx, cfg, i+1, dir)
			if errs[i] != nil {
				stop()
			}
		})
	}
	fmt.Printf("A store of %d nodes. Try:\n"+
		"  curl -X PUT -d world http://127.0.0.1:8081/v1/keys/hello\n"+
		"  curl http://127.0.0.1:8085/v1/keys/hello\n"+
		"  curl http://127.0.0.1:8083/v1/keys/hello/host\n"+
		"  curl -X POST http://127.0.0.1:8082/v1/leave\n", demoNodes)
	<-ctx.Done()
	errs = append(errs, server.Close())
	wg.Wait()
	return errors.Join(errs...)
}

func demoNode(ctx context.Context, cfg overlay.Config, i int, dir string) error {
	s := settings{data: filepath.Join(dir, fmt.Sprint(i)), Quorums: defaultQuorums}
	if i > 1 {
		s.join = []string{"kv-1"}
	}
	cfg.Name = fmt.Sprintf("kv-%d", i)
	node, err := overlay.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", 8080+i))
	if err != nil {
		return err
	}
	return runNode(ctx, node, ln, s, logrus.StandardLogger())
}
