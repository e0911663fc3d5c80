package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	bolt "go.etcd.io/bbolt"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

// A lab is a store on nodes of the overlay in a simulated network, with all that lies
// between a call and a packet, but HTTP/1.1: in a bubble a client of HTTP/2 whose conn
// makes it wait keeps time from passing, because it waits with a mutex.
type lab struct {
	*overlaytest.Lab
	t       *testing.T
	dir     string
	http2   bool
	log     *logrus.Logger
	hosts   []string
	members map[string]*labMember // those that run
	history history
}

type labMember struct {
	*Node
	stop func()
}

func inLab(t *testing.T, seed uint64, hosts int, test func(l *lab)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, dir: dir}
		l.start(seed, hosts)
		test(l)
	})
}

// start starts hosts that run until the test ends.
func (l *lab) start(seed uint64, hosts int) {
	l.Lab = overlaytest.New(l.t, overlaytest.Config{
		Seed: seed, Link: overlaytest.Impairment{Latency: 5 * time.Millisecond, Jitter: 5 * time.Millisecond},
	})
	l.log, l.members = logrus.New(), make(map[string]*labMember)
	l.log.SetOutput(io.Discard)
	l.Relay("relay")
	for i := range hosts {
		host := fmt.Sprint("kv-", i)
		l.hosts = append(l.hosts, host)
		l.run(host, l.Node(host, overlay.Config{}))
	}
	l.t.Cleanup(func() {
		for _, host := range l.hosts {
			l.kill(host)
		}
	})
}

// run starts a member on a node.
func (l *lab) run(host string, node *overlay.Node) {
	l.t.Helper()
	peer, transport := dialler(node)
	if !l.http2 {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP1(true)
		transport.MaxIdleConnsPerHost = 16
	}
	cfg := Config{
		ID: node.ID(), Dir: filepath.Join(l.dir, host), Peer: peer, Log: l.log,
		Bolt: bolt.Options{NoSync: true, NoFreelistSync: true},
	}
	if host != l.hosts[0] {
		cfg.Join = []string{l.hosts[0]}
	}
	if _, err := os.Stat(cfg.Dir); err != nil && cfg.Join == nil {
		cfg.New = true
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		l.t.Fatal(err)
	}
	ln, err := node.Listen(nodePort)
	if err != nil {
		l.t.Fatal(err)
	}
	n, err := open(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(l.t.Context()))
	served := make(chan error, 1)
	go func() { served <- serveNodes(ctx, n, ln) }()
	l.members[host] = &labMember{n, func() {
		cancel()
		transport.CloseIdleConnections()
		if err := n.close(); err != nil {
			l.t.Error(err)
		}
		transport.CloseIdleConnections()
		<-served
	}}
}

// kill ends a host's process; its disk stays.
func (l *lab) kill(host string) {
	l.Kill(host)
	if m := l.members[host]; m != nil {
		delete(l.members, host)
		m.stop()
	}
}

func (l *lab) restart(host string) {
	l.t.Helper()
	l.kill(host)
	l.run(host, l.Restart(host))
}

// settle waits until all hosts run, in one view of all of them, with nothing to take over.
func (l *lab) settle() {
	l.t.Helper()
	for range 600 {
		settled := 0
		for _, host := range l.hosts {
			s := l.members[host].disk.current()
			if s.ready() && len(s.view.Members) == len(l.hosts) && s.view.Epoch == l.members[l.hosts[0]].disk.current().view.Epoch {
				settled++
			}
		}
		if settled == len(l.hosts) {
			return
		}
		time.Sleep(time.Second)
	}
	l.t.Fatal("not settled after ten minutes")
}

// do does an operation on a host and records it.
func (l *lab) do(host string, client int, op operation) error {
	w := world{t: l.t}
	call := l.history.call(client, op)
	value, err := w.by(l.members[host].Node, op)
	l.history.returned(call, value, err)
	return err
}

// burst has a client on each of some hosts do a few operations at the same time.
func (l *lab) burst(random *rand.Rand, round int) {
	var wg sync.WaitGroup
	for client, host := range l.hosts {
		if l.members[host] == nil {
			continue
		}
		kinds := []string{"put", "get", "get", "delete", "put", "get"}
		random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		key := fmt.Sprint("key", random.IntN(2))
		wg.Go(func() {
			for i, kind := range kinds[:4] {
				op := operation{kind: kind, key: key}
				if kind == "put" {
					op.value = fmt.Sprintf("%d.%d.%d", client, round, i)
				}
				_ = l.do(host, client, op)
			}
		})
	}
	wg.Wait()
}

// TestOnTheOverlay does to the hosts of a simulated network what happens to machines.
func TestOnTheOverlay(t *testing.T) {
	for _, seed := range seeds(t, 1) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inLab(t, seed, 5, func(l *lab) {
				l.settle()
				random := rand.New(rand.NewPCG(seed, 3))
				for round := range 8 {
					undo := l.fault(random)
					l.burst(random, round)
					undo()
					l.burst(random, round+100)
				}
				l.settle()
				for i, host := range l.hosts {
					for key := range 2 {
						if err := l.do(host, 200+i, operation{kind: "get", key: fmt.Sprint("key", key)}); err != nil && (&world{}).unavailable(err) {
							l.t.Error(err)
						}
					}
				}
				l.history.check(l.t)
			})
		})
	}
}

// fault does something to one or two hosts, or to the relay, and returns what undoes it.
func (l *lab) fault(random *rand.Rand) (undo func()) {
	victims := slices.Clone(l.hosts)
	random.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	a, b := victims[0], victims[1]
	switch random.IntN(6) {
	case 0:
		l.kill(a)
		return func() { l.restart(a) }
	case 1:
		l.kill(a)
		time.Sleep(30 * time.Second) // long enough to be removed
		return func() { l.restart(a) }
	case 2:
		l.Cut(a)
		l.Cut(b)
		return func() { l.Heal(a); l.Heal(b) }
	case 3:
		l.Roam(a)
		l.restart(b)
		return func() {}
	case 4:
		l.Impair(a, "relay", overlaytest.Impairment{Latency: 700 * time.Millisecond, Loss: 0.2})
		return func() { l.Impair(a, "relay", overlaytest.Impairment{Latency: 5 * time.Millisecond}) }
	default:
		l.Kill("relay")
		return func() { l.Restart("relay") }
	}
}

// TestHTTP2WhenAHostIsCut is in real time, for HTTP/2: nobody tells the others that a host is
// cut off. They do not wait for it, and when it is back it has what it missed.
func TestHTTP2WhenAHostIsCut(t *testing.T) {
	l := &lab{t: t, dir: t.TempDir(), http2: true}
	l.start(1, 3)
	l.settle()
	write := func(host, value string) {
		t.Helper()
		if err := l.do(host, 0, operation{"put", "key", value}); err != nil {
			t.Error(err)
		}
	}
	for _, cut := range l.hosts {
		write(cut, "before "+cut)
		l.Cut(cut)
		for _, host := range l.hosts {
			if host != cut {
				write(host, "without "+cut)
			}
		}
		l.Heal(cut)
		if err := l.do(cut, 0, operation{kind: "get", key: "key"}); err != nil {
			t.Error(err)
		}
	}
	l.history.check(t)
}
