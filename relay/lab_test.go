package relay

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/gossip/gossiptest"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/relayhost"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/switchboard"
	"github.com/weftnet/weft/internal/uplink"
)

// delay is the one-way delay of the simulated network.
const delay = 10 * time.Millisecond

// A lab is a simulated network of nodes, of which some are relays.
type lab struct {
	t   *testing.T
	net *simnet.Network
	hub gossiptest.Hub // of the relays' gossip
	wg  sync.WaitGroup // of goroutines that end with what they serve

	session session.Config                          // limits of nodes' endpoints
	learns  bool                                    // relays have links to those that they learn of
	gossip  func(gossip.Transport) gossip.Transport // changes the transports of relays; may be nil
}

func newLab(t *testing.T) *lab {
	l := &lab{t: t, net: simnet.NewNetwork(1)}
	l.net.SetDefault(simnet.Impairment{Delay: delay})
	return l
}

// close ends the network; nodes and relays are closed before.
func (l *lab) close() {
	l.net.Close()
	l.wg.Wait()
}

// A node is a switch and an endpoint, as overlay puts them together.
type node struct {
	host  string
	lab   *lab
	parts relayhost.Parts
	up    *uplink.Set
	dial  link.Dial // as a node that is no relay

	gossip gossip.Transport // of a relay
}

// GossipTransport makes the node one of the lab's backbone if it is a relay.
func (n *node) GossipTransport() gossip.Transport {
	n.gossip = n.lab.hub.Transport()
	if n.lab.gossip != nil {
		n.gossip = n.lab.gossip(n.gossip)
	}
	return n.gossip
}

// RelayHost makes a node a Host.
func (n *node) RelayHost() relayhost.Parts { return n.parts }

func (n *node) id() identity.NodeID { return n.parts.Credentials.Key().ID() }

// newKey makes credentials in the open network of the lab.
func newKey(t *testing.T, network string, names ...string) *identity.Credentials {
	t.Helper()
	n, err := identity.OpenNetwork(identity.NetworkConfig{Name: network, Open: true})
	if err != nil {
		t.Fatal(err)
	}
	k, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.NewCredentials(k, n, names)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// node starts a node on a host.
func (l *lab) node(host string, c *identity.Credentials) *node {
	l.t.Helper()
	log := logrus.New()
	log.SetOutput(l.t.Output())
	log.SetLevel(logrus.DebugLevel)
	n := &node{host: host, lab: l}
	var ep *session.Endpoint
	sw := switchboard.New(switchboard.Config{
		Self: c.Key().ID(),
		Deliver: func(f *frame.Frame, via *switchboard.Port) {
			if via == nil { // not a nil *Port in an interface
				ep.Receive(f, nil)
				return
			}
			ep.Receive(f, via)
		},
		Notice: func(m frame.Notice, _ *switchboard.Port) { ep.Notice(m) },
	})
	hooks := relayhost.NewHooks(sw)
	cfg := l.session
	cfg.Credentials, cfg.OnBind, cfg.OnSession = c, hooks.OnBind, hooks.OnSession
	cfg.Route = func(id identity.NodeID) session.Path { return sw.Route(id) }
	ep, err := session.NewEndpoint(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	hello := link.Hello{Network: link.TagOf(c.Network().ID()), Node: c.Key().ID()}
	n.dial = l.net.Dialer(host, hello)
	n.parts = relayhost.Parts{
		Switch: sw, Endpoint: ep, Credentials: c, Hooks: hooks, Logger: log.WithField("host", host),
		Dial: l.net.Dialer(host, hello.FromRelay()),
	}
	return n
}

// attach gives a node uplinks.
func (l *lab) attach(n *node, relays ...string) {
	c := n.parts.Credentials
	n.up = uplink.New(uplink.Config{
		Relays:       relays,
		Dial:         n.dial,
		Registration: func() control.Register { return control.Register{Names: c.Names()} },
		Logger:       n.parts.Logger,
	}, n.parts.Switch, n.parts.Endpoint)
}

// close ends a node in the order in which overlay does.
func (n *node) close() {
	_ = n.parts.Endpoint.Close()
	if n.up != nil {
		_ = n.up.Close()
	}
	_ = n.parts.Switch.Close()
}

// ready waits until the node is attached to a relay.
func (l *lab) ready(n *node) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	if err := n.up.WaitReady(ctx); err != nil {
		l.t.Fatalf("%s: %v", n.host, err)
	}
}

// A hosted relay is a node and the server that makes it a relay.
type hosted struct {
	*node
	*Server
	addr string
}

// relay starts a relay on host, with the fields of s.
func (l *lab) relay(host string, c *identity.Credentials, s *Server) *hosted {
	l.t.Helper()
	n := l.node(host, c)
	s.Host = n
	ln, err := l.net.Listen(host + ":9999")
	if err != nil {
		l.t.Fatal(err)
	}
	h := &hosted{node: n, Server: s, addr: ln.Addr().String()}
	if s.Addrs == nil {
		s.Addrs = []string{h.addr}
	}
	if !l.learns && s.MaxLearnedPeers == 0 {
		s.MaxLearnedPeers = -1
	}
	s.relay() // so that it runs before anybody dials
	l.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			l.wg.Go(func() { s.ServeLink(conn) })
		}
	})
	return h
}

// kill ends a relay like a process that dies: no word to anybody.
func (l *lab) kill(h *hosted) {
	l.net.Kill(h.host)
	l.net.Cut(h.host)
	_ = h.node.gossip.Close()
	_ = h.Server.Close()
	h.node.close()
	l.net.Heal(h.host)
}

// stop closes a relay and its node.
func (l *lab) stop(h *hosted) {
	l.net.Kill(h.host)
	_ = h.Server.Close()
	h.node.close()
}

// An echoer sends back what comes on the streams of all sessions of a node.
type echoer struct{ lab *lab }

func (e *echoer) Bound(identity.Peer, *switchboard.Port) error { return nil }

func (e *echoer) Established(s *session.Session) {
	e.lab.wg.Go(func() {
		for {
			stream, err := s.AcceptStream(context.Background())
			if err != nil {
				return
			}
			if err := stream.Accept(); err != nil {
				continue
			}
			e.lab.wg.Go(func() {
				_, _ = io.Copy(stream, stream)
				_ = stream.Close()
			})
		}
	})
}

// open opens a stream from a node to another.
func (l *lab) open(n *node, to identity.NodeID) (*session.Stream, error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	s, err := n.parts.Endpoint.Dial(ctx, identity.Target{ID: to})
	if err != nil {
		return nil, err
	}
	stream, err := s.OpenStream(ctx, 80)
	if err != nil {
		return nil, err
	}
	return stream, stream.Accepted(ctx)
}

// roundTrip sends text over a stream to an echoer and reads it back.
func (l *lab) roundTrip(stream *session.Stream, text string) {
	l.t.Helper()
	if err := stream.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		l.t.Fatal(err)
	}
	if _, err := stream.Write([]byte(text)); err != nil {
		l.t.Fatalf("write: %v", err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(stream, got); err != nil || string(got) != text {
		l.t.Fatalf("read %.40q, %v; want %d bytes, %.40q", got, err, len(text), text)
	}
}
