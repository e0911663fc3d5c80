package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/weftnet/weft/overlay"
)

// health remembers which nodes do not answer, and how far each has got. Only members are
// in it, and those that were.
type health struct {
	mu    sync.Mutex
	nodes map[overlay.NodeID]record
}

// A record is about one node.
type record struct {
	answered time.Time // last
	failures int       // calls in a row that were not answered
	since    time.Time // of the first of them
	ready    uint64    // the epoch of a view in which it serves all that is its
}

// observe takes how a call to a node ended. Any error that the node itself has sent is a sign
// of life, but that it is of another store now.
func (h *health) observe(node overlay.NodeID, err error) {
	if err != nil && (errors.Is(err, context.Canceled) || connect.CodeOf(err) == connect.CodeCanceled) {
		return // it was not waited for
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.nodes[node]
	if err == nil || connect.IsWireError(err) && connect.CodeOf(err) != connect.CodeUnauthenticated {
		r.failures, r.answered = 0, time.Now()
	} else {
		if r.failures == 0 {
			r.since = time.Now()
		}
		r.failures++
	}
	h.nodes[node] = r
}

// rank is 0 for nodes that answer and 1 for others.
func (h *health) rank(node overlay.NodeID) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return min(h.nodes[node].failures, 1)
}

// answered reports whether a node has answered lately, or called.
func (h *health) answered(node overlay.NodeID, lately time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.nodes[node].answered) < lately
}

// dead reports whether a node has not answered for a time, several calls.
func (h *health) dead(node overlay.NodeID, after time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.nodes[node]
	return r.failures >= 3 && time.Since(r.since) >= after
}

func (h *health) setReady(node overlay.NodeID, epoch uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.nodes[node]
	r.ready = epoch
	h.nodes[node] = r
}

// allReady reports whether all members but self are known to serve all that is theirs in a view.
func (h *health) allReady(v View, self Member) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range v.Members {
		if m != self && h.nodes[m.Node].ready != v.Epoch {
			return false
		}
	}
	return true
}

// keep forgets all nodes but the members of a view.
func (h *health) keep(v View) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for node := range h.nodes {
		if _, is := v.member(node); !is {
			delete(h.nodes, node)
		}
	}
}
