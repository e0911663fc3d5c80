package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/weaveworks/mesh"
)

// meshTransport is yamux over the unicast messages of weaveworks/mesh, between
// two routers or with one between them. They arrive in order as long as the
// topology does not change. With a password each hop encrypts.
type meshTransport struct {
	name     string
	password []byte
	relayed  bool
}

// meshTransports lists mesh as it is fastest, and encrypted.
func meshTransports() []Transport {
	password := []byte("bench")
	return []Transport{
		meshTransport{name: "mesh"},
		meshTransport{name: "mesh-relay", relayed: true},
		meshTransport{name: "mesh-nacl", password: password},
		meshTransport{name: "mesh-nacl-relay", password: password, relayed: true},
	}
}

func (t meshTransport) Name() string { return t.name }

func (t meshTransport) Serve(ctx context.Context) (Server, error) {
	end, err := newMeshNode(ctx, t.password)
	if err != nil {
		return nil, err
	}
	s := &meshServer{end: end, meet: end}
	if t.relayed {
		if s.meet, err = newMeshNode(ctx, t.password); err == nil {
			err = end.connect(s.meet.addr)
		}
	}
	return s, err
}

func (t meshTransport) Client(ctx context.Context, addr string) (Client, error) {
	var meet string
	var to uint64
	if _, err := fmt.Sscan(addr, &meet, &to); err != nil {
		return nil, err
	}
	n, err := newMeshNode(ctx, t.password)
	if err != nil {
		return nil, err
	}
	return &meshClient{node: n, to: mesh.PeerName(to)}, n.connect(meet)
}

const (
	meshPatience = 10 * time.Second // until the routers know of each other
	meshPause    = time.Millisecond // between two tries
	meshQueue    = 64               // messages that arrived and were not read
)

// A meshNode is a router. mesh has no way to end one: its listener and some
// goroutines stay, with nothing to do.
type meshNode struct {
	name    mesh.PeerName
	addr    string
	router  *mesh.Router
	channel mesh.Gossip
	target  string // what connect asked for
	in      chan meshMessage
	closed  chan struct{}
	close   func()

	mu    sync.Mutex
	links []chan error // of the conns with other routers
}

type meshMessage struct {
	from mesh.PeerName
	data []byte
}

func newMeshNode(ctx context.Context, password []byte) (*meshNode, error) {
	var name [8]byte
	if _, err := rand.Read(name[2:]); err != nil { // 48 bits travel
		return nil, err
	}
	// mesh must be told its port.
	tcp, err := listenTCP(ctx)
	if err != nil {
		return nil, err
	}
	addr := tcp.ln.Addr().(*net.TCPAddr)
	if err := tcp.Close(); err != nil {
		return nil, err
	}
	n := &meshNode{
		name: mesh.PeerName(binary.BigEndian.Uint64(name[:])), addr: addr.String(),
		in: make(chan meshMessage, meshQueue), closed: make(chan struct{}),
	}
	n.close = sync.OnceFunc(func() { close(n.closed) })
	n.router, err = mesh.NewRouter(mesh.Config{
		Host: "127.0.0.1", Port: addr.Port, Password: password,
		ProtocolMinVersion: mesh.ProtocolMaxVersion, ConnLimit: 16,
	}, n.name, "", meshOverlay{n}, meshOverlay{n})
	if err != nil {
		return nil, err
	}
	if n.channel, err = n.router.NewGossip("bench", n); err != nil {
		return nil, err
	}
	n.router.Start()
	return n, nil
}

// connect begins to dial another router.
func (n *meshNode) connect(addr string) error {
	n.target = addr
	return errors.Join(n.router.ConnectionMaker.InitiateConnections([]string{addr}, false)...)
}

// OnGossipUnicast implements mesh.Gossiper. That it blocks is what slows down the
// sender.
func (n *meshNode) OnGossipUnicast(from mesh.PeerName, msg []byte) error {
	if len(msg) > 0 { // see reach
		select {
		case n.in <- meshMessage{from, msg}:
		case <-n.closed:
		}
	}
	return nil
}

// OnGossipBroadcast implements mesh.Gossiper.
func (*meshNode) OnGossipBroadcast(mesh.PeerName, []byte) (mesh.GossipData, error) { return nil, nil }

// Gossip implements mesh.Gossiper.
func (*meshNode) Gossip() mesh.GossipData { return nil }

// OnGossip implements mesh.Gossiper.
func (*meshNode) OnGossip([]byte) (mesh.GossipData, error) { return nil, nil }

// reach waits until there is a route.
func (n *meshNode) reach(ctx context.Context, to mesh.PeerName) error {
	ctx, cancel := context.WithTimeout(ctx, meshPatience)
	defer cancel()
	for {
		err := n.channel.GossipUnicast(to, nil)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(meshPause):
		case <-ctx.Done():
			return err
		}
	}
}

// Close ends what can be ended.
func (n *meshNode) Close() error {
	n.close()
	n.router.ConnectionMaker.ForgetConnections([]string{n.target})
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l <- net.ErrClosed
	}
	n.links = nil
	return n.router.Stop()
}

// meshOverlay is told of all conns between routers, and logs nothing.
type meshOverlay struct{ node *meshNode }

func (meshOverlay) Printf(string, ...any)           {}
func (meshOverlay) AddFeaturesTo(map[string]string) {}
func (meshOverlay) Diagnostics() any                { return nil }
func (meshOverlay) Stop()                           {}

func (o meshOverlay) PrepareConnection(mesh.OverlayConnectionParams) (mesh.OverlayConnection, error) {
	l := meshLink{errors: make(chan error, 1)}
	o.node.mu.Lock()
	defer o.node.mu.Unlock()
	o.node.links = append(o.node.links, l.errors)
	return l, nil
}

// meshLink never says that it is established, because mesh reads that without a
// lock; unicast does not care.
type meshLink struct {
	mesh.NullOverlay
	errors chan error
}

func (meshLink) EstablishedChannel() <-chan struct{} { return nil }
func (l meshLink) ErrorChannel() <-chan error        { return l.errors }

// A meshConn is a stream of unicast messages.
type meshConn struct {
	node *meshNode
	to   mesh.PeerName
	rest []byte
}

func (c *meshConn) Write(b []byte) (int, error) {
	if err := c.node.channel.GossipUnicast(c.to, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *meshConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		select {
		case m := <-c.node.in:
			c.rest = m.data
		case <-c.node.closed:
			return 0, io.EOF
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *meshConn) Close() error { c.node.close(); return nil }

type meshServer struct {
	end, meet *meshNode // meet is where clients connect
	streams   yamuxSession
}

func (s *meshServer) Addr() string {
	return s.meet.addr + " " + strconv.FormatUint(uint64(s.end.name), 10)
}

// Accept learns the client's name by its first message.
func (s *meshServer) Accept() (net.Conn, error) {
	return s.streams.accept(func() (io.ReadWriteCloser, error) {
		var first meshMessage
		select {
		case first = <-s.end.in:
		case <-s.end.closed:
			return nil, net.ErrClosed
		}
		if err := s.end.reach(context.Background(), first.from); err != nil {
			return nil, err
		}
		return &meshConn{s.end, first.from, first.data}, nil
	})
}

func (s *meshServer) Close() error {
	err := errors.Join(s.streams.close(), s.end.Close())
	if s.meet != s.end {
		err = errors.Join(err, s.meet.Close())
	}
	return err
}

type meshClient struct {
	node    *meshNode
	to      mesh.PeerName
	streams yamuxSession
}

func (c *meshClient) Dial(ctx context.Context) (net.Conn, error) {
	return c.streams.open(func() (io.ReadWriteCloser, error) {
		if err := c.node.reach(ctx, c.to); err != nil {
			return nil, err
		}
		return &meshConn{node: c.node, to: c.to}, nil
	})
}

func (c *meshClient) Close() error { return errors.Join(c.streams.close(), c.node.Close()) }
