package overlaytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/gossip/gossiptest"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/simnet/natnet"
	"github.com/weftnet/weft/overlay"
)

// readyTimeout is how long [Lab.Node] waits for a relay.
const readyTimeout = time.Minute

// A Config says what a [Lab] is like. The zero value is a perfect network of
// nodes that are members of the open overlay network "weft".
type Config struct {
	// Seed is where the chances of all links come from.
	Seed uint64
	// Link is what all links are like at first.
	Link Impairment
	// Network and Secret are those of overlay.Config, for the relays and for
	// nodes that have neither Secret nor Open in theirs. No Secret: the network
	// is open. With a Secret each node costs some 20 ms of CPU time.
	Network, Secret string
	// LinkRelays makes relays link to all relays that they learn of, as they do
	// outside of labs, and not only to their peers. False: relays stay in the line,
	// star or ring that the test makes of them.
	LinkRelays bool
	// Logger is told what happens to relays, and to nodes that have none of
	// their own. Nil: the test's output, from level info.
	Logger logrus.FieldLogger
}

// A TB is what a [Lab] needs of a test. *testing.T, *testing.B and *testing.F
// are ones.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
	Context() context.Context
	Output() io.Writer
}

// A Lab is a simulated network. Multiple goroutines may call its methods
// simultaneously, but only the test's own may call those that can fail, which
// end the test if they do.
type Lab struct {
	t   TB
	cfg Config
	log logrus.FieldLogger
	net *simnet.Network // what is like TCP
	udp *natnet.Network
	hub gossiptest.Hub // of the relays' gossip

	mu     sync.Mutex
	closed bool
	hosts  map[string]*host
	relays []string                 // addresses, in the order in which they began
	pairs  map[[2]string]Impairment // set for one direction between two hosts
	nats   map[string]*natnet.NAT
	placed map[string]*natnet.Host // hosts that have UDP, started or not
}

// New makes a lab without any host. Whatever still runs in it is killed when the
// test ends, in t.Cleanup; in a testing/synctest bubble t must be the bubble's.
func New(t TB, cfg Config) *Lab {
	t.Helper()
	l := &Lab{
		t:      t,
		cfg:    cfg,
		log:    cfg.Logger,
		net:    simnet.NewNetwork(cfg.Seed),
		udp:    natnet.New(cfg.Seed),
		hosts:  make(map[string]*host),
		pairs:  make(map[[2]string]Impairment),
		nats:   make(map[string]*natnet.NAT),
		placed: make(map[string]*natnet.Host),
	}
	if l.log == nil {
		log := logrus.New()
		log.SetOutput(t.Output())
		l.log = log
	}
	if err := cfg.Link.check(); err != nil {
		t.Fatalf("overlaytest: Config.Link: %v", err)
	}
	l.net.SetDefault(cfg.Link.simulated())
	l.udp.SetDefault(cfg.Link.simulatedUDP())
	t.Cleanup(l.close)
	return l
}

// Node starts a node on a host of its own and waits until it is registered with
// a relay, if there is one: other nodes can then dial it. See [Lab.Start] for
// what cfg means.
func (l *Lab) Node(host string, cfg overlay.Config) *overlay.Node {
	l.t.Helper()
	n := l.Start(host, cfg)
	l.WaitReady(host)
	return n
}

// Start starts a node on a host of its own and does not wait for anything. In
// cfg, no Relays means all relays that the lab has so far, no Secret or Invite and not
// Open the lab's network, no Name the host's name if it is fit to be one, and no
// Key a new one, which the node keeps when it is restarted. DialLink,
// ListenUDP and ListenLink must not be set. LinkAddr is for hosts that are placed.
func (l *Lab) Start(host string, cfg overlay.Config) *overlay.Node {
	l.t.Helper()
	if cfg.DialLink != nil {
		l.t.Fatalf("overlaytest: host %q: overlay.Config.DialLink is set; the lab provides it", host)
	}
	if cfg.ListenUDP != nil {
		l.t.Fatalf("overlaytest: host %q: overlay.Config.ListenUDP is set; the lab provides it, see Place", host)
	}
	if cfg.ListenLink != nil {
		l.t.Fatalf("overlaytest: host %q: overlay.Config.ListenLink is set; the lab provides it, see Place", host)
	}
	h := l.add(host, cfg, nil)
	return l.boot(h)
}

// WaitReady waits until the nodes of hosts are registered with a relay.
func (l *Lab) WaitReady(hosts ...string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), readyTimeout)
	defer cancel()
	for _, name := range hosts {
		p := l.host(name).process()
		if p == nil {
			l.t.Fatalf("overlaytest: host %q was killed; restart it before you wait for it", name)
			return
		}
		if err := p.node.WaitReady(ctx); err != nil {
			l.t.Fatalf("overlaytest: host %q: %v", name, err)
		}
	}
}

// add enters a host.
func (l *Lab) add(name string, cfg overlay.Config, r *Relay) *host {
	l.t.Helper()
	l.mu.Lock()
	taken := l.hosts[name] != nil
	h := &host{lab: l, name: name, relay: r, conns: make(map[*conn]struct{})}
	if name != "" && !taken {
		l.hosts[name] = h
	}
	h.cfg = l.complete(name, cfg, r != nil)
	h.udp = l.placed[name]
	l.mu.Unlock()
	switch {
	case name == "":
		l.t.Fatalf("overlaytest: a host needs a name")
	case taken:
		l.t.Fatalf("overlaytest: host %q is there already; each name is for one node or relay, see Restart", name)
	}
	if h.cfg.Key == nil && h.cfg.StateDir == "" {
		key, err := overlay.NewKey()
		if err != nil {
			l.t.Fatalf("overlaytest: %v", err)
		}
		h.cfg.Key = key
	}
	return h
}

// host returns the host of that name.
func (l *Lab) host(name string) *host {
	l.t.Helper()
	l.mu.Lock()
	h := l.hosts[name]
	l.mu.Unlock()
	if h == nil {
		l.t.Fatalf("overlaytest: there is no host %q", name)
	}
	return h
}

// boot starts the process of a host.
func (l *Lab) boot(h *host) *overlay.Node {
	l.t.Helper()
	p, err := h.start()
	if err != nil {
		l.t.Fatalf("overlaytest: host %q: %v", h.name, err)
		return nil
	}
	return p.node
}

// close kills everything.
func (l *Lab) close() {
	l.mu.Lock()
	l.closed = true
	hosts := slices.Collect(maps.Values(l.hosts))
	l.mu.Unlock()
	for _, h := range hosts {
		h.kill()
	}
	l.net.Close()
	l.udp.Close()
}

// errClosed is why nothing starts after the test.
var errClosed = errors.New("the test has ended, and its lab with it")

// checkProbability refuses what is none.
func checkProbability(name string, p float64) error {
	if p < 0 || p > 1 || p != p {
		return fmt.Errorf("%s is %v; a probability is from 0 to 1", name, p)
	}
	return nil
}
