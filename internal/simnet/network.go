package simnet

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/link"
)

const (
	// backlog is how many conns wait to be accepted.
	backlog = 128
	// firstPort is where ports that the network chooses begin.
	firstPort = 49152
	// firstRetry is when Dial first tries again.
	firstRetry = time.Second
)

// A Network is a set of named hosts that reach each other. All methods are
// safe for concurrent use.
type Network struct {
	mu        sync.Mutex
	seed      uint64
	fallback  Impairment
	pairs     map[[2]string]Impairment // by sender and receiver
	cut       map[string]bool
	listeners map[Addr]*Listener
	conns     map[*Conn]struct{} // both ends of each
	nextPort  int
}

// NewNetwork returns a network without hosts and impairments.
func NewNetwork(seed uint64) *Network {
	return &Network{
		seed:      seed,
		pairs:     make(map[[2]string]Impairment),
		cut:       make(map[string]bool),
		listeners: make(map[Addr]*Listener),
		conns:     make(map[*Conn]struct{}),
		nextPort:  firstPort,
	}
}

// SetDefault impairs all pairs of hosts that SetPair does not name.
func (n *Network) SetDefault(imp Impairment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fallback = imp
	n.applyLocked()
}

// SetPair impairs what from sends to to, conns that exist included.
func (n *Network) SetPair(from, to string, imp Impairment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pairs[[2]string{from, to}] = imp
	n.applyLocked()
}

// Cut loses everything that host sends and is sent, without telling anyone.
func (n *Network) Cut(host string) { n.setCut(host, true) }

// Heal undoes Cut.
func (n *Network) Heal(host string) { n.setCut(host, false) }

func (n *Network) setCut(host string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[host] = cut
	n.applyLocked()
}

// Kill ends host like a process that dies: its listeners close, its conns are
// reset at both ends, but not at the other one if no reset gets there.
func (n *Network) Kill(host string) {
	n.mu.Lock()
	var doomed []*Conn
	for c := range n.conns {
		far := hostOf(c.local)
		if far == host || hostOf(c.remote) == host && !n.impairmentLocked(host, far).Down {
			doomed = append(doomed, c)
		}
	}
	var listeners []*Listener
	for addr, l := range n.listeners {
		if hostOf(addr) == host {
			listeners = append(listeners, l)
		}
	}
	n.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close()
	}
	for _, c := range doomed {
		c.reset()
	}
}

// Close ends all hosts.
func (n *Network) Close() {
	n.mu.Lock()
	hosts := make(map[string]struct{})
	for c := range n.conns {
		hosts[hostOf(c.local)] = struct{}{}
	}
	for addr := range n.listeners {
		hosts[hostOf(addr)] = struct{}{}
	}
	n.mu.Unlock()
	for host := range hosts {
		n.Kill(host)
	}
}

// impairmentLocked returns what happens on the way from one host to another.
func (n *Network) impairmentLocked(from, to string) Impairment {
	imp, ok := n.pairs[[2]string{from, to}]
	if !ok {
		imp = n.fallback
	}
	imp.Down = imp.Down || n.cut[from] || n.cut[to]
	return imp
}

// applyLocked impairs the conns that exist as is set now.
func (n *Network) applyLocked() {
	for c := range n.conns {
		c.out.Set(n.impairmentLocked(hostOf(c.local), hostOf(c.remote)))
	}
}

// Listen accepts conns to addr, "host:port"; port 0 is one that is free.
func (n *Network) Listen(addr string) (*Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == "0" {
		addr = n.freeLocked(host)
	}
	if n.listeners[Addr(addr)] != nil {
		return nil, fmt.Errorf("simnet: listen %s: address already in use", addr)
	}
	l := &Listener{
		net:   n,
		addr:  Addr(addr),
		conns: make(chan *Conn, backlog),
		done:  make(chan struct{}),
	}
	n.listeners[l.addr] = l
	return l, nil
}

func (n *Network) freeLocked(host string) string {
	n.nextPort++
	return net.JoinHostPort(host, strconv.Itoa(n.nextPort))
}

// Dial connects host from to addr. As with TCP it takes one round trip, tries
// again after 1, 2, 4 seconds and so on while one of both hosts is cut, and
// fails at once if nobody listens.
func (n *Network) Dial(ctx context.Context, from, addr string) (*Conn, error) {
	for wait := firstRetry; ; wait *= 2 {
		rtt, ok := n.roundTrip(from, hostOf(Addr(addr)))
		if ok {
			wait = rtt
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("simnet: dial %s: %w", addr, context.Cause(ctx))
		}
		if ok {
			return n.connect(from, addr)
		}
	}
}

// roundTrip returns how long a round trip takes, false if it gets lost.
func (n *Network) roundTrip(from, to string) (time.Duration, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	out, in := n.impairmentLocked(from, to), n.impairmentLocked(to, from)
	return out.Delay + in.Delay, !out.Down && !in.Down
}

func (n *Network) connect(from, addr string) (*Conn, error) {
	to := hostOf(Addr(addr))
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.listeners[Addr(addr)]
	if l == nil {
		return nil, fmt.Errorf("simnet: dial %s: connection refused", addr)
	}
	if len(l.conns) == cap(l.conns) { // only connect adds, with mu held
		return nil, fmt.Errorf("simnet: dial %s: backlog is full", addr)
	}
	n.seed += 2
	a, b := newPipe(Addr(n.freeLocked(from)), Addr(addr),
		n.impairmentLocked(from, to), n.impairmentLocked(to, from), n.seed)
	for _, c := range []*Conn{a, b} {
		n.conns[c] = struct{}{}
		c.onClose = func() { n.forget(c) }
	}
	l.conns <- b
	return a, nil
}

// Dialer returns a dial function for a host that sends the preface hello.
func (n *Network) Dialer(from string, hello link.Hello) link.Dial {
	return func(ctx context.Context, addr string) (link.FrameConn, error) {
		a, err := link.ParseAddr(addr)
		if err != nil {
			return nil, err
		}
		c, err := n.Dial(ctx, from, a.DialHostPort())
		if err != nil {
			return nil, err
		}
		return link.Client(c, hello)
	}
}

func (n *Network) forget(c *Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// A Listener accepts simulated conns.
type Listener struct {
	net   *Network
	addr  Addr
	conns chan *Conn
	done  chan struct{}
	once  sync.Once
}

// Accept waits for the next conn; the error is net.ErrClosed after Close.
func (l *Listener) Accept() (*Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Addr returns the address.
func (l *Listener) Addr() net.Addr { return l.addr }

// Close stops accepting and resets the conns that nobody accepted.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		delete(l.net.listeners, l.addr)
		close(l.done)
		l.net.mu.Unlock()
		for {
			select {
			case c := <-l.conns:
				c.reset()
				c.peer.reset()
			default:
				return
			}
		}
	})
	return nil
}

func hostOf(a Addr) string {
	host, _, err := net.SplitHostPort(string(a))
	if err != nil {
		return string(a)
	}
	return host
}
