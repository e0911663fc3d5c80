package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/weftnet/weft/overlay"
)

const (
	port = 4000

	// interval is how often replicas exchange what they know when nothing is added.
	interval = time.Second
	// patience is how long one exchange may take.
	patience = 10 * time.Second
	// maxExchanges is how many others may have going with a replica at one time.
	maxExchanges = 32
	// maxParts bounds what a counter remembers: one part for each start of a replica.
	maxParts = 1024
	// maxState is how long a state with maxParts is on the wire, in bytes, at most.
	maxState = maxParts * 64
)

// A state is what replicas tell each other: how much was added at which start of
// which replica. Parts only grow, so that of two values the larger one is the later,
// and states can be merged in any order, and twice.
type state map[string]uint64

// A Counter is one replica of a counter without a leader: all replicas can add at any
// time, and agree as soon as they reach each other. What Add has acknowledged survives
// the loss of one replica.
type Counter struct {
	node *overlay.Node
	ln   net.Listener
	self string // the part that this replica adds to; another one after a restart, for it has forgotten

	mu      sync.Mutex // guards what follows
	parts   state
	held    uint64        // how much of our own part another replica is known to have
	changed chan struct{} // closed, and replaced, when our part or held grows
}

// New makes a replica on a node. It counts on its own until Run.
func New(node *overlay.Node) (*Counter, error) {
	ln, err := node.Listen(port)
	if err != nil {
		return nil, err
	}
	return &Counter{
		node: node, ln: ln, self: node.ID().String() + "/" + strconv.FormatInt(time.Now().UnixNano(), 36),
		parts: make(state), changed: make(chan struct{}),
	}, nil
}

// Total is the sum of all that this replica knows of.
func (c *Counter) Total() (sum uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.parts {
		sum += n
	}
	return sum
}

// Add adds, and returns when another replica has it, too. An error means that none is
// known to have it: it may count nevertheless, so do not add it again.
func (c *Counter) Add(ctx context.Context, n uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts[c.self] += n
	want := c.parts[c.self]
	c.wake()
	for c.held < want {
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			c.mu.Lock()
			return fmt.Errorf("no other replica has acknowledged it: %w", context.Cause(ctx))
		}
		c.mu.Lock()
	}
	return nil
}

// wake wakes who waits for changed; c.mu is held.
func (c *Counter) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// merge learns what another replica knows, and returns what both know.
func (c *Counter) merge(theirs state) state {
	c.mu.Lock()
	defer c.mu.Unlock()
	for part, n := range theirs {
		if _, known := c.parts[part]; part != c.self && (known || len(c.parts) < maxParts) {
			c.parts[part] = max(c.parts[part], n)
		}
	}
	if n := min(theirs[c.self], c.parts[c.self]); n > c.held { // nobody knows more of our part than we do
		c.held = n
		c.wake()
	}
	return maps.Clone(c.parts)
}

// Run keeps exchanging states with the other replicas, by name, ID or key, until ctx
// ends or the node closes.
func (c *Counter) Run(ctx context.Context, others []string) error {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	defer context.AfterFunc(ctx, func() { _ = c.ln.Close() })()
	for _, other := range others {
		wg.Go(func() { c.keepExchanging(ctx, other) })
	}
	going := make(chan struct{}, maxExchanges)
	for {
		conn, err := c.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case going <- struct{}{}:
			wg.Go(func() {
				defer func() { <-going }()
				_ = c.answer(ctx, conn) // who asked learns of errors, and asks again
			})
		default:
			_ = conn.Close()
		}
	}
}

// keepExchanging exchanges states at once when there is something new, and now and
// then otherwise.
func (c *Counter) keepExchanging(ctx context.Context, other string) {
	for {
		c.mu.Lock()
		changed, mine := c.changed, maps.Clone(c.parts)
		c.mu.Unlock()
		if c.exchange(ctx, other, mine) != nil {
			changed = nil // not at once again
		}
		select {
		case <-changed:
		case <-time.After(interval):
		case <-ctx.Done():
			return
		}
	}
}

// exchange tells another replica a state, and learns its own.
func (c *Counter) exchange(ctx context.Context, other string, mine state) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := c.node.Dial(ctx, net.JoinHostPort(other, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	if err := json.NewEncoder(conn).Encode(mine); err != nil {
		return err
	}
	theirs, err := readState(conn)
	if err == nil {
		c.merge(theirs)
	}
	return err
}

// answer is the other side of exchange.
func (c *Counter) answer(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	theirs, err := readState(conn)
	if err != nil {
		return errors.Join(err, json.NewEncoder(conn).Encode(err.Error())) // which is not a state
	}
	return json.NewEncoder(conn).Encode(c.merge(theirs))
}

func readState(r io.Reader) (state, error) {
	var s state
	if err := json.NewDecoder(io.LimitReader(r, maxState)).Decode(&s); err != nil {
		return nil, fmt.Errorf("not a state of at most %d bytes: %w", maxState, err)
	}
	return s, nil
}
