package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	bolt "go.etcd.io/bbolt"

	"github.com/weftnet/weft/overlay"
)

// A world is a store on a simnet, in a bubble: minutes of it pass in seconds.
type world struct {
	*simnet
	t       *testing.T
	dir     string
	first   overlay.NodeID
	all     []overlay.NodeID // that were ever in it and have not left
	quorums Quorums
	log     *logrus.Logger
	history history
}

func inWorld(t *testing.T, seed uint64, nodes int, test func(w *world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			simnet: &simnet{
				random: rand.New(rand.NewPCG(seed, 1)), slow: 20 * time.Millisecond,
				nodes: make(map[overlay.NodeID]*Node), island: make(map[overlay.NodeID]int),
			},
			t: t, dir: dir, log: logrus.New(),
		}
		w.log.SetOutput(io.Discard)
		if testing.Verbose() && os.Getenv("WEFT_SEED") != "" {
			w.log.SetOutput(t.Output())
			w.log.SetLevel(logrus.DebugLevel)
		}
		for range nodes {
			w.add()
		}
		t.Cleanup(func() {
			for _, n := range w.running() {
				w.kill(n.id)
			}
			time.Sleep(time.Minute) // what is on its way arrives nowhere
		})
		test(w)
	})
}

// add starts a new node.
func (w *world) add() overlay.NodeID {
	w.mu.Lock()
	id := overlay.NodeID(w.random.Uint64())
	w.mu.Unlock()
	if w.first == 0 {
		w.first = id
	}
	w.all = append(w.all, id)
	w.start(id)
	return id
}

// start starts a node with the disk that it has.
func (w *world) start(id overlay.NodeID) {
	w.t.Helper()
	cfg := Config{
		ID: id, Dir: filepath.Join(w.dir, id.String()), Peer: w.dialler(id), Log: w.log, Quorums: w.quorums,
		Bolt: bolt.Options{NoSync: true, NoFreelistSync: true},
	}
	for _, other := range w.all {
		if other != id {
			cfg.Join = append(cfg.Join, other.String())
		}
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if cfg.New = len(w.all) == 1; cfg.New {
		cfg.Join = nil
	}
	n, err := open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.nodes[id] = n
	w.mu.Unlock()
}

func (w *world) kill(id overlay.NodeID) {
	w.t.Helper()
	w.mu.Lock()
	n := w.nodes[id]
	delete(w.nodes, id)
	w.mu.Unlock()
	if n == nil {
		return
	}
	if err := n.close(); err != nil {
		w.t.Error(err)
	}
}

// loseDisk is to be called while a node is dead.
func (w *world) loseDisk(id overlay.NodeID) { _ = os.RemoveAll(filepath.Join(w.dir, id.String())) }

// settle waits until all nodes that run are in one view of themselves, with nothing to take over.
func (w *world) settle() {
	w.t.Helper()
	begin := time.Now()
	for !w.settled() {
		if time.Since(begin) > 5*time.Minute {
			for _, n := range w.running() {
				s := n.disk.current()
				w.t.Logf("node %v: view %d of %d, member %v, ready %v, pending %d", n.id, s.view.Epoch, len(s.view.Members), s.isMember(), s.ready(), len(s.pending))
			}
			w.t.Fatal("not settled after five minutes")
		}
		time.Sleep(time.Second)
	}
}

func (w *world) settled() bool {
	running := w.running()
	epoch := running[0].disk.current().view.Epoch
	return !slices.ContainsFunc(running, func(n *Node) bool {
		s := n.disk.current()
		return s.view.Epoch != epoch || !s.ready() || len(s.view.Members) != len(running)
	})
}

// work has clients use the store by any node that runs, until ctx ends.
func (w *world) work(ctx context.Context, clients, keys int, seed uint64) {
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(client)+100))
			for i := 0; ctx.Err() == nil; i++ {
				running := w.running()
				op := operation{key: fmt.Sprint("key", random.IntN(keys))}
				switch random.IntN(10) {
				case 0:
					op.kind = "delete"
				case 1, 2, 3, 4:
					op.kind, op.value = "put", fmt.Sprintf("%d.%d", client, i)
				default:
					op.kind = "get"
				}
				if len(running) > 0 {
					w.do(running[random.IntN(len(running))], client, op)
				}
				time.Sleep(time.Duration(random.Int64N(int64(time.Second))))
			}
		})
	}
	wg.Wait()
}

// do does an operation by a node and records it.
func (w *world) do(n *Node, client int, op operation) (string, error) {
	call := w.history.call(client, op)
	value, err := w.by(n, op)
	w.history.returned(call, value, err)
	return value, err
}

func (w *world) by(n *Node, op operation) (value string, err error) {
	switch op.kind {
	case "put":
		return "", n.Put(w.t.Context(), []byte(op.key), []byte(op.value))
	case "delete":
		return "", n.Delete(w.t.Context(), []byte(op.key))
	}
	got, err := n.Get(w.t.Context(), []byte(op.key))
	return string(got), err
}

// TestAtRandom kills nodes, restarts them, cuts them off, has them join and leave, and
// checks that each key was, to all clients, one register.
func TestAtRandom(t *testing.T) {
	for _, seed := range seeds(t, 4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, seed, 0, func(w *world) {
				w.quorums = []Quorums{defaultQuorums, {3, 3, 2}, defaultQuorums, {5, 3, 4}}[seed/4%4]
				for range 3 + seed%4 {
					w.add()
				}
				w.settle()
				ctx, stop := context.WithCancel(w.t.Context())
				var working sync.WaitGroup
				working.Go(func() { w.work(ctx, 4, 3, seed) })
				random := rand.New(rand.NewPCG(seed, 2))
				for range 12 {
					w.fault(random)
				}
				w.repair()
				w.settle()
				stop()
				working.Wait()
				for i, n := range w.running() { // what is stored is found from every node
					for key := range 3 {
						if _, err := w.do(n, 100+i, operation{kind: "get", key: fmt.Sprint("key", key)}); err != nil && w.unavailable(err) {
							w.t.Error(err)
						}
					}
				}
				w.history.check(w.t)
				w.checkRing()
			})
		})
	}
}

// TestLargeHandOver has new nodes take over more than fits into one message or page, while
// the values change.
func TestLargeHandOver(t *testing.T) {
	inWorld(t, 1, 3, func(w *world) {
		w.settle()
		first := w.running()[0]
		want := make(map[string]string)
		for i := range 700 { // maxItems is 512
			key := fmt.Sprint("key", i)
			want[key] = key
			if i < 5 { // maxMessage is 4 MiB
				want[key] = strings.Repeat(fmt.Sprint(i), maxValue)
			}
			if err := first.Put(w.t.Context(), []byte(key), []byte(want[key])); err != nil {
				w.t.Fatal(err)
			}
		}
		for range 3 { // so that none of the first three is needed any more
			w.add()
		}
		w.settle()
		for _, id := range slices.Clone(w.all[:3]) {
			w.leave(id)
		}
		if len(w.all) != 3 || slices.Contains(w.all, first.id) {
			w.t.Fatalf("%v are left", w.all)
		}
		w.settle()
		for key, value := range want {
			got, err := w.running()[0].Get(w.t.Context(), []byte(key))
			if string(got) != value || err != nil {
				w.t.Fatalf("%s: %d bytes, %v", key, len(got), err)
			}
		}
	})
}

// TestWhatIsOthersIsDeleted after they have it.
func TestWhatIsOthersIsDeleted(t *testing.T) {
	inWorld(t, 2, 3, func(w *world) {
		w.settle()
		for i := range 100 {
			if err := w.running()[0].Put(w.t.Context(), fmt.Append(nil, i), []byte("x")); err != nil {
				w.t.Fatal(err)
			}
		}
		for range 6 {
			w.add()
		}
		w.settle()
		copies := 0
		for range 600 {
			copies = 0
			for _, n := range w.running() {
				items, _, err := n.disk.list(Arc{}, 1000)
				if err != nil {
					w.t.Fatal(err)
				}
				copies += len(items)
			}
			if copies == 300 {
				return
			}
			time.Sleep(time.Second)
		}
		w.t.Errorf("100 values have %d copies after ten minutes", copies)
	})
}
