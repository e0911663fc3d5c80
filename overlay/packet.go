package overlay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/listener"
	"github.com/weftnet/weft/stream"
)

// A packet is one datagram of a session:
//
//	0..1  destination port, big endian; 0 is reserved for layers
//	2..3  source port, big endian
//	4..   data
const packetHeader = 4

// The bounds of what waits for sessions that are being made.
const (
	maxPendingPeers   = 64
	maxPendingPackets = 16 // for each peer
	pendingTimeout    = 10 * time.Second
)

// The ports from which port 0 picks one (RFC 6335 section 6).
const firstFreePort, lastFreePort = 49152, 65535

// ListenPacket returns a conn that sends and receives packets on a port of this
// node; 0 picks a free port from 49152 on. Packet ports have nothing to do with
// those of Listen. Addresses are of type [Addr].
//
// Packets get lost, arrive late or in another order, but never twice, damaged or
// from anybody but the node that sent them. Writing never blocks: the first
// packets to a node with which there is no session wait for it in the background
// and are dropped if it does not come about. A packet must fit into one of the
// path's, 1100 bytes on any path and about 64 KB over relays; a longer one is an
// error. Received packets that nobody reads are dropped, too, and counted.
func (n *Node) ListenPacket(port uint16) (net.PacketConn, error) {
	c, err := n.packets.listen(port, func(c *packetConn) receiver { return receiver{conn: c} })
	if err != nil {
		return nil, err
	}
	return c, nil
}

// DialPacket returns a conn that exchanges packets with one port of one peer, to
// which it makes sure that there is a session. Packets are as those of
// [Node.ListenPacket], addresses and errors as those of [Node.Dial]; but nothing
// says whether anybody listens on the port.
func (n *Node) DialPacket(ctx context.Context, addr string) (net.Conn, error) {
	target, port, err := listener.ParseAddr(addr)
	if err != nil {
		return nil, dialError(addr, err)
	}
	ctx, stop, err := n.begin(ctx)
	if err != nil {
		return nil, dialError(addr, err)
	}
	defer stop()
	attempt := Attempt{Target: target.String()}
	ps, err := n.reach(ctx, target, &attempt)
	if err != nil {
		attempt.Err = explain(err)
		return nil, dialError(addr, &DialError{Attempts: []Attempt{attempt}})
	}
	who := ps.sess.Peer()
	remote := Addr{Node: who.ID, Port: port}
	c, err := n.packets.listen(0, func(c *packetConn) receiver { return receiver{c, remote, who.Key} })
	if err != nil {
		return nil, dialError(addr, err)
	}
	return &dialedPacketConn{c, remote, who}, nil
}

// A receiver says which packets a conn takes.
type receiver struct {
	conn *packetConn
	from Addr      // zero: from anybody
	key  PublicKey // of from
}

func (r receiver) takes(p packet, key PublicKey) bool {
	return r.from == Addr{} || r.from == p.from && r.key == key
}

// A packetTable has a node's packet ports.
type packetTable struct {
	node    *Node
	dropped atomic.Uint64

	mu      sync.Mutex
	closed  bool
	ports   map[uint16]receiver
	pending map[identity.Target][][]byte // wait for a session; ID or Key is set
}

func newPacketTable(n *Node) *packetTable {
	return &packetTable{
		node: n, ports: make(map[uint16]receiver), pending: make(map[identity.Target][][]byte),
	}
}

func (t *packetTable) listen(port uint16, of func(*packetConn) receiver) (*packetConn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	port, err := t.pickLocked(port)
	addr := Addr{Node: t.node.ID(), Port: port}
	if err != nil {
		return nil, stream.OpError("listen", nil, addr, err)
	}
	c := &packetConn{node: t.node, addr: addr, in: packetInbox{wake: make(chan struct{}, 1)}}
	t.ports[port] = of(c)
	return c, nil
}

// pickLocked returns the port to listen on.
func (t *packetTable) pickLocked(port uint16) (uint16, error) {
	taken := func(port uint16) bool { return t.ports[port].conn != nil }
	switch {
	case t.closed:
		return port, net.ErrClosed
	case port != 0 && taken(port):
		return port, fmt.Errorf("packet port %d is taken by another conn of this node; close it, or take port 0 to get a free one", port)
	case port != 0:
		return port, nil
	}
	const ports = lastFreePort - firstFreePort + 1
	start := rand.IntN(ports)
	for i := range ports {
		if port := uint16(firstFreePort + (start+i)%ports); !taken(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("all packet ports from %d to %d are taken; close conns", firstFreePort, lastFreePort)
}

func (t *packetTable) remove(c *packetConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ports[c.addr.Port].conn == c {
		delete(t.ports, c.addr.Port)
	}
}

// close closes all conns and lets none be made.
func (t *packetTable) close() {
	t.mu.Lock()
	t.closed = true
	open := t.ports
	t.ports = nil
	t.mu.Unlock()
	for _, r := range open {
		r.conn.in.close()
	}
}

// receive takes the datagrams of a session from now on.
func (t *packetTable) receive(ps *peerSession) {
	peer := ps.sess.Peer()
	allowed := t.node.cfg.Allow.Allows(peer)
	ps.sess.HandleDatagrams(func(b []byte) {
		if !allowed || !t.dispatch(peer, b) {
			t.dropped.Add(1)
		}
	})
}

// dispatch hands a copy of a datagram to the conn that it is for.
func (t *packetTable) dispatch(peer Peer, b []byte) bool {
	if len(b) < packetHeader {
		return false
	}
	p := packet{nil, Addr{Node: peer.ID, Port: binary.BigEndian.Uint16(b[2:])}}
	t.mu.Lock()
	r := t.ports[binary.BigEndian.Uint16(b)]
	t.mu.Unlock()
	if r.conn == nil || !r.takes(p, peer.Key) {
		return false
	}
	p.data = bytes.Clone(b[packetHeader:])
	return r.conn.in.put(p)
}

// send sends a packet to a target's port, now or once there is a session.
func (t *packetTable) send(target identity.Target, from, to uint16, data []byte) error {
	if packetHeader+len(data) >= frame.MaxPacket { // even without what the session adds
		return fmt.Errorf("packet of %d bytes is too long; no path carries %d", len(data), frame.MaxPacket)
	}
	b := make([]byte, 0, packetHeader+len(data))
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint16(b, from)
	b = append(b, data...)
	id := target.ID
	if id == 0 {
		id = target.Key.ID()
	}
	if id == t.node.ID() {
		return ErrSelf
	}
	if s := t.node.ep.Session(id); s != nil && s.Err() == nil {
		if err := target.Check(s.Peer()); err != nil {
			return err
		}
		return sendDatagram(s, b)
	}
	t.hold(target, b)
	return nil
}

// sendDatagram sends b, unless the session has just ended: then b is lost.
func sendDatagram(s *session.Session, b []byte) error {
	err := s.SendDatagram(b)
	if big, ok := errors.AsType[*session.TooLargeError](err); ok {
		return fmt.Errorf("packet of %d bytes is too long; this path carries %d", len(b)-packetHeader, big.Max-packetHeader)
	}
	return nil
}

// hold keeps b until there is a session with target, which the first packet
// begins.
func (t *packetTable) hold(target identity.Target, b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting, begun := t.pending[target]
	if t.closed || len(waiting) >= maxPendingPackets || !begun && len(t.pending) >= maxPendingPeers {
		t.dropped.Add(1)
		return
	}
	t.pending[target] = append(waiting, b)
	if !begun {
		t.node.wg.Go(func() { t.flush(target) })
	}
}

// flush makes a session and sends what waited for it.
func (t *packetTable) flush(target identity.Target) {
	ctx, cancel := context.WithTimeout(t.node.ctx, pendingTimeout)
	defer cancel()
	ps, err := t.node.reach(ctx, target, new(Attempt))
	t.mu.Lock()
	waiting := t.pending[target]
	delete(t.pending, target)
	t.mu.Unlock()
	for _, b := range waiting {
		if err != nil || sendDatagram(ps.sess, b) != nil {
			t.dropped.Add(1)
		}
	}
}
