package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/weftnet/weft/overlay"
)

const maxNodes = 9 // of a world

func (w *world) unavailable(err error) bool { return connect.CodeOf(err) != connect.CodeNotFound }

// fault does one thing, or several at a time, and lets some time pass.
func (w *world) fault(random *rand.Rand) {
	w.t.Helper()
	pick := func() overlay.NodeID { return w.all[random.IntN(len(w.all))] }
	pass := func(most time.Duration) { time.Sleep(time.Duration(random.Int64N(int64(most)))) }
	switch random.IntN(8) {
	case 0: // a short crash, perhaps of several
		for range 1 + random.IntN(2) {
			id := pick()
			w.kill(id)
			pass(5 * time.Second)
			w.restartDead()
		}
	case 1: // a crash after which the node is removed
		w.kill(pick())
		pass(40 * time.Second)
	case 2: // all at once
		for _, id := range w.all {
			w.kill(id)
		}
		w.restartDead()
		pass(5 * time.Second)
	case 3: // islands, short or long
		w.split(random)
		pass(time.Duration(5+random.IntN(40)) * time.Second)
	case 4:
		w.split(random)
		pass(10 * time.Second)
		w.repair()
		pass(5 * time.Second)
	case 5:
		if len(w.all) < maxNodes {
			w.add()
		}
		pass(10 * time.Second)
	case 6:
		w.leave(pick())
	case 7: // the disk of one is lost, when all others are well
		w.repair()
		w.settle()
		id := pick()
		w.kill(id)
		w.loseDisk(id)
		pass(20 * time.Second)
		w.start(id)
	}
}

// split puts every node on one of two islands.
func (w *world) split(random *rand.Rand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range w.all {
		w.island[id] = random.IntN(2)
	}
}

func (w *world) restartDead() {
	w.t.Helper()
	for _, id := range w.all {
		w.mu.Lock()
		dead := w.nodes[id] == nil
		w.mu.Unlock()
		if dead {
			w.start(id)
		}
	}
}

// repair undoes all faults.
func (w *world) repair() {
	w.t.Helper()
	w.mu.Lock()
	clear(w.island)
	w.mu.Unlock()
	w.restartDead()
}

// leave has a node leave, if it can at the moment; then it is gone for good.
func (w *world) leave(id overlay.NodeID) {
	w.mu.Lock()
	n := w.nodes[id]
	w.mu.Unlock()
	if n == nil || len(w.all) <= 3 {
		return
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if n.leave(ctx) == nil {
		w.kill(id)
		w.loseDisk(id)
		w.all = slices.DeleteFunc(w.all, func(o overlay.NodeID) bool { return o == id })
	}
}

// checkRing waits until every node finds by Chord what the view says, from everywhere.
func (w *world) checkRing() {
	w.t.Helper()
	wrong := ""
	for range 300 {
		wrong = ""
		for _, n := range w.running() {
			for i := range byte(20) {
				id := hashOf([]byte{i})
				path, err := n.lookup(w.t.Context(), id)
				if err != nil {
					wrong = err.Error()
				} else if want := n.disk.current().view.replicas(id)[0].Node; path[len(path)-1] != want {
					wrong = "node " + n.id.String() + " finds " + path[len(path)-1].String() + ", not " + want.String()
				}
			}
		}
		if wrong == "" {
			return
		}
		time.Sleep(time.Second)
	}
	w.t.Errorf("the ring is not in order after five minutes: %s", wrong)
}
