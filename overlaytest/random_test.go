package overlaytest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/stream"
)

// TestRandomFaults runs programs that talk to each other through random faults,
// and checks the recorded history of all their conns against the service levels.
// Every fifth schedule is mild: no process of a program dies, and no fault lasts
// long, so that no conn may be lost.
func TestRandomFaults(t *testing.T) {
	eachSeed(t, 10, func(t *testing.T, seed uint64) { newChaos(t, seed).run() })
}

// chaosHosts run the programs.
var chaosHosts = []string{"a", "b", "c"}

// A chaos is one run of random faults.
type chaos struct {
	t    *testing.T
	lab  *Lab
	rng  *rand.Rand // of the schedule; the programs have their own
	mild bool
	wg   sync.WaitGroup
	stop chan struct{} // closed when programs begin nothing new

	mu    sync.Mutex
	nodes map[string]*overlay.Node
	calls map[uint64]*call
	down  map[string]bool // killed and not restarted
	cut   map[string]bool
}

// A call is one conn of a program, with the recorded history of both directions.
type call struct {
	from, to     string
	caller       *overlay.Node
	there, back  *flow
	totals       [2]int
	chunk        int
	abrupt       bool // the caller closes before it has read everything
	dialled, got bool
}

func newChaos(t *testing.T, seed uint64) *chaos {
	rng := seeded(seed)
	calm := Impairment{Latency: time.Duration(1+rng.IntN(40)) * time.Millisecond, Loss: rng.Float64() * 0.02}
	c := &chaos{
		t: t, rng: rng, mild: seed%5 == 0,
		lab:   New(t, Config{Seed: seed, Link: calm}),
		stop:  make(chan struct{}),
		nodes: make(map[string]*overlay.Node), calls: make(map[uint64]*call),
		down: make(map[string]bool), cut: make(map[string]bool),
	}
	c.lab.Relay("relay")
	for _, host := range chaosHosts {
		c.serve(host, c.lab.Node(host, overlay.Config{}))
	}
	return c
}

// run makes faults for a while, ends them all, and checks what must hold then.
func (c *chaos) run() {
	c.t.Helper()
	for i, host := range chaosHosts {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), uint64(i)))
		c.wg.Go(func() { c.program(host, rng) })
	}
	for range 6 {
		if c.mild {
			c.mildFault()
			continue
		}
		c.fault()
		c.fault()
		c.fault()
	}
	for _, host := range append([]string{"relay"}, chaosHosts...) {
		c.heal(host)
	}
	c.lab.ImpairAll(Impairment{Latency: latency})
	var nodes []*overlay.Node
	for _, host := range chaosHosts {
		nodes = append(nodes, c.node(host))
	}
	reachAll(c.t, "the last fault", nodes...) // R1
	close(c.stop)
	c.end()
	c.check()
}

// end waits until all conns have ended, one way or another.
func (c *chaos) end() {
	ended := make(chan struct{})
	go func() { defer close(ended); c.wg.Wait() }()
	select {
	case <-ended:
	case <-time.After(3 * time.Minute):
		for id, k := range c.calls {
			if k.dialled && k.got && (!k.there.over() || !k.back.over()) {
				c.t.Errorf("call %d from %s to %s, abrupt %v, has not ended three minutes after the last fault: there %v; back %v",
					id, k.from, k.to, k.abrupt, k.there, k.back)
			}
		}
		c.t.Fatalf("calls have not ended:\n%s", stacks())
	}
}

// check is the verdict on the history.
func (c *chaos) check() {
	c.t.Helper()
	lost, all := 0, 0
	for id, k := range c.calls {
		for dir, f := range map[string]*flow{"there": k.there, "back": k.back} {
			if err := f.broken(); err != nil { // S1, S2, S4
				c.t.Errorf("call %d from %s to %s, %s: %v", id, k.from, k.to, dir, err)
			}
			if !k.dialled || !k.got || k.abrupt {
				continue
			}
			all++
			if err := f.complete(); err != nil {
				lost++
				if c.mild {
					c.t.Errorf("call %d from %s to %s, %s: %v", id, k.from, k.to, dir, err)
				}
			}
		}
	}
	c.t.Logf("%d calls; %d of %d directions were lost", len(c.calls), lost, all)
	if len(c.calls) < 20 {
		c.t.Errorf("only %d calls; the test tests nothing", len(c.calls))
	}
}

// fault does something bad, or ends something bad, and waits a little.
func (c *chaos) fault() {
	host := append([]string{"relay"}, chaosHosts...)[c.rng.IntN(4)]
	switch c.rng.IntN(8) {
	case 0:
		c.cut[host] = true
		c.lab.Cut(host)
	case 1, 2:
		c.heal(host)
	case 3:
		c.down[host] = true
		c.lab.Kill(host)
	case 4:
		c.restart(host)
	case 5:
		c.lab.Roam(host)
	default:
		c.lab.ImpairAll(c.weather(0.3))
	}
	time.Sleep(time.Duration(c.rng.IntN(6000)) * time.Millisecond)
}

// mildFault does something bad, ends it after a while, and lets the network
// recover.
func (c *chaos) mildFault() {
	host := append([]string{"relay"}, chaosHosts...)[c.rng.IntN(4)]
	lasts := time.Duration(c.rng.IntN(8000)) * time.Millisecond
	switch c.rng.IntN(4) {
	case 0:
		c.lab.Cut(host)
	case 1:
		c.lab.Kill("relay")
		time.Sleep(lasts)
		c.lab.Restart("relay")
	case 2:
		c.lab.Roam(host)
	default:
		c.lab.ImpairAll(c.weather(0.1))
	}
	time.Sleep(lasts)
	c.lab.Heal(host)
	time.Sleep(recovery)
}

// weather is a random impairment with probabilities up to p.
func (c *chaos) weather(p float64) Impairment {
	random := func() float64 { return c.rng.Float64() * p }
	return Impairment{
		Latency: time.Duration(1+c.rng.IntN(60)) * time.Millisecond, Jitter: time.Duration(c.rng.IntN(30)) * time.Millisecond,
		Loss: random(), Reorder: random(), Duplicate: random(), Corrupt: random() / 3,
	}
}

// heal ends the faults of a host.
func (c *chaos) heal(host string) {
	if c.cut[host] {
		c.cut[host] = false
		c.lab.Heal(host)
	}
	if c.down[host] {
		c.restart(host)
	}
}

func (c *chaos) restart(host string) {
	c.down[host] = false
	n := c.lab.Restart(host)
	if host != "relay" {
		c.serve(host, n)
	}
}

func (c *chaos) node(host string) *overlay.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[host]
}

// serve starts the program of a node: it answers calls at port 80, and echoes at
// port 7.
func (c *chaos) serve(host string, n *overlay.Node) {
	c.mu.Lock()
	c.nodes[host] = n
	c.mu.Unlock()
	echo(c.t, n, 7)
	ln, err := n.Listen(80)
	if err != nil {
		c.t.Fatal(err)
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			c.wg.Go(func() { c.answer(host, conn) })
		}
	}()
}

// answer is the side of a conn that was called.
func (c *chaos) answer(host string, conn net.Conn) {
	defer conn.Close()
	var id [8]byte
	if _, err := io.ReadFull(conn, id[:]); err != nil {
		return
	}
	c.mu.Lock()
	k := c.calls[binary.BigEndian.Uint64(id[:])]
	c.mu.Unlock()
	peer, ok := overlay.PeerOf(conn)
	if k == nil || k.to != host || !ok || peer.Key != k.caller.Key() { // S4, S5
		c.t.Errorf("%s got a call of %v that says %x", host, peer, id)
		return
	}
	c.mu.Lock()
	k.got = true
	c.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { k.back.pace(conn, k.chunk, 100*time.Millisecond, k.totals[1], nil) })
	c.take(k.there, conn)
	wg.Wait()
}

// program calls others until it is told to stop.
func (c *chaos) program(host string, rng *rand.Rand) {
	for id := rng.Uint64(); ; id = rng.Uint64() {
		k := &call{
			from: host, to: chaosHosts[rng.IntN(len(chaosHosts))],
			there: newFlow(), back: newFlow(),
			totals: [2]int{rng.IntN(100_000), rng.IntN(100_000)}, chunk: 500 + rng.IntN(5000),
			abrupt: rng.IntN(8) == 0, caller: c.node(host),
		}
		to := c.node(k.to)
		if k.to != host {
			c.mu.Lock()
			c.calls[id] = k
			c.mu.Unlock()
			c.wg.Go(func() { c.call(id, k, to) })
		}
		select {
		case <-c.stop:
			return
		case <-time.After(time.Duration(rng.IntN(3000)) * time.Millisecond):
		}
	}
}

// call is the side of a conn that calls.
func (c *chaos) call(id uint64, k *call, to *overlay.Node) {
	const limit = 15 * time.Second
	ctx, cancel := context.WithTimeout(c.t.Context(), limit)
	defer cancel()
	began := time.Now()
	conn, err := k.caller.Dial(ctx, net.JoinHostPort(to.Key().String(), "80"))
	if late := time.Since(began) - limit; late > time.Second { // S3
		c.t.Errorf("a dial from %s to %s returned %v after its deadline", k.from, k.to, late)
	}
	if err != nil {
		return
	}
	defer conn.Close()
	if peer, ok := overlay.PeerOf(conn); !ok || peer.Key != to.Key() || conn.RemoteAddr().(overlay.Addr).Node != to.ID() { // S5
		c.t.Errorf("%s dialled %v and got a conn to %v", k.from, to.ID(), conn.RemoteAddr())
	}
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, id)); err != nil {
		return
	}
	c.mu.Lock()
	k.dialled = true
	c.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { k.there.pace(conn, k.chunk, 100*time.Millisecond, k.totals[0], nil) })
	if k.abrupt {
		wg.Wait()
		if id%2 == 0 {
			_ = conn.(stream.Conn).Reset(stream.CodeCanceled)
		}
		return
	}
	c.take(k.back, conn)
	wg.Wait()
}

// take reads to the end, with deadlines that interrupt it all the time.
func (c *chaos) take(f *flow, conn net.Conn) {
	const limit = 700 * time.Millisecond
	b := make([]byte, 4096)
	for {
		deadline := time.Now().Add(limit)
		_ = conn.SetReadDeadline(deadline)
		n, err := conn.Read(b)
		if late := time.Since(deadline); late > time.Second { // S3
			c.t.Errorf("a Read returned %v after its deadline", late)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
		f.note(b[:n], err)
		if err != nil {
			return
		}
	}
}
