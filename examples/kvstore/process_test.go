package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/examples/kvstore/kvv1"
	"github.com/weftnet/weft/examples/kvstore/kvv1/kvv1connect"
	"github.com/weftnet/weft/overlay"
)

// A process is a node in a process of its own, by this test's own binary.
type process struct {
	t    testing.TB
	cfg  overlay.Config
	name string
	args []string
	dir  string
	url  string
	cmd  *exec.Cmd
}

// startProcess starts a node that joins another one by name, or founds a store.
func startProcess(t testing.TB, cfg overlay.Config, name, join string) *process {
	t.Helper()
	p := &process{t: t, cfg: cfg, name: name, dir: t.TempDir()}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close() // the process listens there
	p.url = "http://" + addr
	p.args = []string{"--listen", addr, "--data", filepath.Join(p.dir, "data")}
	if join != "" {
		p.args = append(p.args, "--join", join)
	}
	t.Cleanup(p.kill)
	if join == "" {
		p.start("--new")
	} else {
		p.start()
	}
	return p
}

// start starts the process with its arguments and those of its first start.
func (p *process) start(first ...string) {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), "KVSTORE_ARGS="+strings.Join(append(first, p.args...), " "), "WEFT_NETWORK=", "WEFT_OPEN=", "WEFT_INVITE=", "WEFT_STATE=",
		"WEFT_NO_LAN=1", "WEFT_SECRET="+p.cfg.Secret, "WEFT_RELAYS="+strings.Join(p.cfg.Relays, ","), "WEFT_NAME="+p.name)
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

func (p *process) client() kvv1connect.KVServiceClient {
	return kvv1connect.NewKVServiceClient(http.DefaultClient, p.url)
}

// waitMembers waits until a process is in a view of so many, with nothing to take over.
func (p *process) waitMembers(n int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	for {
		resp, err := p.client().Members(ctx, new(kvv1.MembersRequest))
		if err == nil && len(resp.GetMembers()) == n && resp.GetPending() == 0 {
			return
		}
		if wait(ctx, 20*time.Millisecond) != nil {
			log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			p.t.Fatalf("%s: %v, %v\n%s", p.name, resp, err, log)
		}
	}
}

// TestKilledProcesses kills each process of a store in turn while clients write, and wants
// all that was acknowledged.
func TestKilledProcesses(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	cfg := testnet.Start(t)
	nodes := []*process{startProcess(t, cfg, "kv-1", "")}
	for i := range 3 {
		nodes = append(nodes, startProcess(t, cfg, fmt.Sprint("kv-", i+2), "kv-1"))
	}
	for _, p := range nodes {
		p.waitMembers(len(nodes))
	}
	ctx, stop := context.WithCancel(t.Context())
	acknowledged := make([]atomic.Int64, len(nodes)) // by the client of each node: how many keys
	var writing sync.WaitGroup
	for i, p := range nodes {
		writing.Go(func() {
			for ctx.Err() == nil {
				key := fmt.Sprintf("%d/%d", i, acknowledged[i].Load())
				if _, err := p.client().Put(ctx, &kvv1.PutRequest{Key: []byte(key), Value: []byte("value of " + key)}); err == nil {
					acknowledged[i].Add(1)
				} else {
					_ = wait(ctx, 50*time.Millisecond)
				}
			}
		})
	}
	more := func() { // others go on, whatever happens to one
		t.Helper()
		sum := func() (sum int64) {
			for i := range acknowledged {
				sum += acknowledged[i].Load()
			}
			return sum
		}
		for begin, end := sum(), time.Now().Add(time.Minute); sum() < begin+20; _ = wait(ctx, 10*time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("nothing is acknowledged any more")
			}
		}
	}
	for _, p := range nodes {
		more()
		p.kill()
		more()
		p.start()
		p.waitMembers(len(nodes))
	}
	stop()
	writing.Wait()
	for i := range acknowledged {
		n := acknowledged[i].Load()
		if n == 0 {
			t.Errorf("%s has acknowledged nothing", nodes[i].name)
		}
		for k := range n {
			key := fmt.Sprintf("%d/%d", i, k)
			p := nodes[(i+int(k))%len(nodes)]
			resp, err := p.client().Get(t.Context(), &kvv1.GetRequest{Key: []byte(key)})
			if err != nil || string(resp.GetValue()) != "value of "+key {
				t.Errorf("%s of %s: %q, %v", key, p.name, resp.GetValue(), err)
			}
		}
	}
}
