package overlaytest

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/simnet/natnet"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// relayPort is where relays of a lab listen.
const relayPort = "9999"

// A host is a machine with one process at a time.
type host struct {
	lab   *Lab
	name  string
	cfg   overlay.Config // without DialLink, ListenUDP and ListenLink
	relay *Relay         // nil if the host runs none
	udp   *natnet.Host   // nil if it has no UDP
	count traffic

	life sync.Mutex // held while a process starts or ends

	mu      sync.Mutex
	running *process           // nil if there is none
	conns   map[*conn]struct{} // open ends of links here
	faults  faultSet
}

// A process is one life of a host's node.
type process struct {
	node   *overlay.Node
	server *relay.Server    // nil if it is no relay
	gossip gossip.Transport // of server
	links  sync.WaitGroup
	dead   atomic.Bool
	socks  []*natnet.Conn // host.mu guards it
}

// complete fills in what the lab knows better. l.mu is held.
func (l *Lab) complete(name string, cfg overlay.Config, isRelay bool) overlay.Config {
	if cfg.Secret == "" && cfg.Invite == "" && !cfg.Open {
		cfg.Secret, cfg.Open = l.cfg.Secret, l.cfg.Secret == ""
		if cfg.Network == "" {
			cfg.Network = l.cfg.Network
		}
	}
	if cfg.Relays == nil && !isRelay {
		cfg.Relays = append([]string(nil), l.relays...)
	}
	if cfg.Logger == nil {
		cfg.Logger = l.log.WithField("host", name)
	}
	cfg.Name = cmp.Or(cfg.Name, name)
	return cfg
}

// process returns the running process, nil if there is none.
func (h *host) process() *process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running
}

// start begins a process, after the end of the one before.
func (h *host) start() (*process, error) {
	h.life.Lock()
	defer h.life.Unlock()
	h.endLocked()
	h.lab.mu.Lock()
	closed := h.lab.closed
	h.lab.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	p := new(process)
	cfg := h.cfg
	cfg.DialLink = func(ctx context.Context, _, addr string) (net.Conn, error) {
		return h.dial(ctx, p, addr)
	}
	if h.udp != nil && h.relay == nil {
		cfg.ListenUDP = func(_ context.Context, address string) (net.PacketConn, error) {
			return h.listenUDP(p, address)
		}
		cfg.ListenLink = h.listenLink
		if cfg.Resolver == nil {
			cfg.Resolver = resolver{h.lab}
		}
	}
	node, err := overlay.New(cfg)
	if err != nil {
		return nil, err
	}
	p.node = node
	if h.relay != nil {
		if err := h.serve(p); err != nil {
			_ = node.Close()
			return nil, err
		}
	}
	h.mu.Lock()
	h.running = p
	h.mu.Unlock()
	return p, nil
}

// serve makes the node of a process a relay.
func (h *host) serve(p *process) error {
	ln, err := h.lab.net.Listen(h.relay.addr)
	if err != nil {
		return err
	}
	pc, err := h.listenUDP(p, h.relay.addr)
	if err != nil {
		_ = ln.Close()
		return err
	}
	alternate, err := h.listenUDP(p, ":0")
	if err != nil {
		_, _ = ln.Close(), pc.Close()
		return err
	}
	p.gossip = h.lab.hub.Transport()
	p.server = &relay.Server{
		Host: relayHost{p.node, p.gossip}, Name: h.name,
		Addrs: []string{h.relay.addr}, Peers: h.relay.peers,
	}
	if !h.lab.cfg.LinkRelays {
		p.server.MaxLearnedPeers = -1
	}
	p.server.Stats() // so that it dials its peers now, and not with the first link
	p.links.Go(func() { _ = p.server.ServePackets(pc, alternate) })
	p.links.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.links.Go(func() { p.server.ServeLink(h.track(c)) })
		}
	})
	return nil
}

// dial makes a link for a process.
func (h *host) dial(ctx context.Context, p *process, addr string) (net.Conn, error) {
	if p.dead.Load() {
		return nil, errDead
	}
	if h.isDown() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ENETUNREACH}
	}
	name := h.lab.named(addr)
	if name != addr && !h.lab.reaches(h, name) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}
	}
	c, err := h.lab.net.Dial(ctx, h.name, name)
	if err != nil {
		return nil, err
	}
	tracked := h.track(c)
	if p.dead.Load() {
		tracked.silence()
		return nil, errDead
	}
	return tracked, nil
}

// errDead is what the dials of a killed process get.
var errDead = errors.New("the process was killed")

// kill ends the process like a crash.
func (h *host) kill() {
	h.life.Lock()
	defer h.life.Unlock()
	h.endLocked()
}

// endLocked ends the running process, if there is one, so that it can say
// nothing any more. h.life is held.
func (h *host) endLocked() {
	h.mu.Lock()
	p := h.running
	h.running = nil
	h.mu.Unlock()
	if p == nil {
		return
	}
	p.dead.Store(true)
	h.lab.net.Kill(h.name)
	h.mute(p)
	if p.server != nil {
		_ = p.gossip.Close() // the others learn nothing
		_ = p.server.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.node.Shutdown(ctx) // the test may have closed it already
	p.links.Wait()
}

// silence breaks the host's links on its own side only.
func (h *host) silence() {
	h.mu.Lock()
	open := slices.Collect(maps.Keys(h.conns))
	h.mu.Unlock()
	for _, c := range open {
		c.silence()
	}
}
