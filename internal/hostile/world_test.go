package hostile

import (
	"cmp"
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/gossip/gossiptest"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/simnet/natnet"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// Links of a world. A round trip over one relay is 4*latency.
const (
	latency   = 10 * time.Millisecond
	bandwidth = 1 << 20 // bytes a second, each way
)

const (
	// secret is that of the network, which only its owner knows.
	secret = "the secret of the attacked network"
	// patience is for what takes a few round trips when all is well.
	patience = time.Minute
)

// names are those that the invite of a world's nodes allows.
var names = []string{"alice", "bob", "victim", "friend", "mallory", "admin", "kv-1"}

// tokens are invites for nodes and for relays. Simulated time begins anew for
// each test, so that they are good for all; and a node with an invite need not
// compute the secret's Argon2id.
var tokens = sync.OnceValues(func() (node, forRelay string) {
	for _, token := range []struct {
		to *string
		in overlay.Invite
	}{
		{&node, overlay.Invite{Names: names, Roles: []string{"backup"}}},
		{&forRelay, overlay.Invite{Roles: []string{identity.RoleRelay}}},
	} {
		token.in.Expires = time.Now().Add(300 * 24 * time.Hour)
		var err error
		if *token.to, _, err = overlay.NewInvite("", secret, token.in); err != nil {
			panic(err)
		}
	}
	return node, forRelay
})

// A world is a simulated network with a closed overlay network on it.
type world struct {
	*testing.T
	net *simnet.Network
	udp *natnet.Network
	hub gossiptest.Hub // of the relays' gossip
	log *logrus.Logger
	wg  sync.WaitGroup

	placed map[string]*natnet.Host // hosts that have UDP

	mu       sync.Mutex
	conns    map[[2]string][]*conn // by both hosts; dialled ones, open or not
	paths    map[[2]string]*onPath
	directs  map[directKey]*onPath
	dials    map[string]int          // that hosts have tried, by address
	accepted map[string]*simnet.Conn // the other ends, by who dialled
	told     []string                // what honest nodes say, which nobody else may see
	streams  int
	ends     []func() // in the order of beginnings
}

// inWorld runs a test in a world of its own and in simulated time.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			T: t, net: simnet.NewNetwork(1), udp: natnet.New(1), log: logrus.New(), placed: make(map[string]*natnet.Host),
			conns: make(map[[2]string][]*conn), paths: make(map[[2]string]*onPath), directs: make(map[directKey]*onPath),
			accepted: make(map[string]*simnet.Conn), dials: make(map[string]int),
		}
		w.log.SetOutput(t.Output())
		w.log.SetLevel(logrus.WarnLevel)
		w.net.SetDefault(simnet.Impairment{Delay: latency, Rate: bandwidth, Backpressure: true})
		defer w.close()
		f(w)
	})
}

// close ends all nodes and relays, the last first.
func (w *world) close() {
	for _, end := range slices.Backward(w.ends) {
		end()
	}
	w.net.Close()
	w.udp.Close()
	w.wg.Wait()
}

// atEnd has f called when the test ends.
func (w *world) atEnd(f func()) { w.ends = append(w.ends, f) }

// A host is a node of a world, which may be a relay.
type host struct {
	*overlay.Node
	*relay.Server // nil if it is none
	name          string
	addr          string // of a relay

	transport *spied // of a relay
	port      *port  // of a relay, for bytes
}

// GossipTransport is for relay.Server.
func (h *host) GossipTransport() gossip.Transport { return h.transport }

// Close ends the node, and the relay before it.
func (h *host) Close() {
	if h.Server != nil {
		_ = h.Server.Close()
	}
	_ = h.Node.Close()
}

// start starts a node on a host. In cfg, no membership is the world's invite, and
// no Logger the world's.
func (w *world) start(name string, cfg overlay.Config) *host {
	w.Helper()
	if cfg.Secret == "" && cfg.Invite == "" && !cfg.Open {
		cfg.Invite, _ = tokens()
		if slices.Contains(names, name) {
			cfg.Name = cmp.Or(cfg.Name, name)
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = w.log.WithField("host", name)
	}
	cfg.DialLink = func(ctx context.Context, _, addr string) (net.Conn, error) {
		w.mu.Lock()
		w.dials[addr]++
		w.mu.Unlock()
		c, err := w.net.Dial(ctx, name, addr)
		if err != nil {
			return nil, err
		}
		return w.watch(c, name, addr), nil
	}
	if w.placed[name] != nil {
		cfg.ListenUDP = func(context.Context, string) (net.PacketConn, error) { return w.listenUDP(name) }
	}
	n, err := overlay.New(cfg)
	if err != nil {
		w.Fatal(err)
	}
	h := &host{Node: n, name: name}
	w.atEnd(h.Close)
	return h
}

// node starts a node at relays and waits until it can be dialled.
func (w *world) node(name string, cfg overlay.Config, relays ...*host) *host {
	w.Helper()
	cfg.Relays = []string{}
	for _, r := range relays {
		cfg.Relays = append(cfg.Relays, r.addr)
	}
	h := w.start(name, cfg)
	w.ready(h)
	return h
}

// ready waits until a node can be dialled.
func (w *world) ready(h *host) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	if err := h.WaitReady(ctx); err != nil {
		w.Fatalf("%s: %v", h.name, err)
	}
}

// relay starts a relay with the fields of s, of a network of members only.
func (w *world) relay(name string, s *relay.Server) *host {
	w.Helper()
	_, token := tokens()
	return w.relayWith(name, s, overlay.Config{Invite: token})
}

// relayWith is relay for a node with a config of its own.
func (w *world) relayWith(name string, s *relay.Server, cfg overlay.Config) *host {
	w.Helper()
	cfg.Relays = []string{}
	h := w.start(name, cfg)
	ln, err := w.net.Listen(net.JoinHostPort(name, "9999"))
	if err != nil {
		w.Fatal(err)
	}
	h.addr, h.transport = ln.Addr().String(), &spied{Transport: w.hub.Transport()}
	s.Host = h
	if s.Addrs == nil {
		s.Addrs = []string{h.addr}
	}
	h.Server = s
	s.Stats() // so that it runs before anybody dials
	w.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			dialler := c.RemoteAddr().String()
			w.mu.Lock()
			w.accepted[dialler] = c
			w.mu.Unlock()
			w.wg.Go(func() {
				s.ServeLink(c)
				w.mu.Lock()
				defer w.mu.Unlock()
				delete(w.accepted, dialler)
			})
		}
	})
	h.port = newPort()
	w.wg.Go(func() { _ = s.Serve(h.port) })
	w.atEnd(func() { _ = ln.Close() })
	return h
}

// claim connects an attacker's host to a relay with the preface of a node.
func (w *world) claim(ctx context.Context, from string, to *host, id identity.NodeID) (link.FrameConn, error) {
	return w.net.Dialer(from, w.hello(to, id))(ctx, to.addr)
}

// hello is the preface of a node in the network of h.
func (w *world) hello(h *host, id identity.NodeID) link.Hello {
	return link.Hello{Network: link.TagOf(h.RelayHost().Credentials.Network().ID()), Node: id}
}
