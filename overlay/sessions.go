package overlay

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/stream"
)

// A peerSession is a session with a peer and the layer that runs on it.
type peerSession struct {
	node  *Node
	sess  *session.Session
	ready chan struct{} // closed after mux and err are set
	mux   stream.Mux    // nil if err is set
	err   error         // why no conns can be made

	again bool // an earlier peerSession has counted the session in node.past

	open int // conns that this side has not closed; guarded by node.mu
}

// established is told of each new session, from the session's goroutine.
func (n *Node) established(s *session.Session) {
	n.hooks.OnSession(s)
	n.peerSession(s)
	if n.direct != nil {
		n.direct.established(s)
	}
}

// peerSession returns what belongs to s, and starts it at the first call: be
// it by a dial or because the session was established.
func (n *Node) peerSession(s *session.Session) *peerSession {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ps := n.sessions[s]; ps != nil {
		return ps
	}
	ps := &peerSession{node: n, sess: s, ready: make(chan struct{})}
	if n.life == closing {
		ps.err = errNodeClosed
		close(ps.ready)
		return ps
	}
	n.sessions[s] = ps
	select {
	case <-s.Done(): // it was forgotten already, and counted
		ps.again = true
	default:
		n.past.Sessions++
	}
	n.wg.Go(ps.run)
	return ps
}

// run makes conns of the session's streams until it ends.
func (ps *peerSession) run() {
	defer ps.forget()
	ps.start()
	if ps.err != nil {
		ps.node.log.WithError(ps.err).WithField("peer", ps.sess.Peer().ID.String()).Warn("peer cannot open conns")
		ps.refuseAll()
		return
	}
	ps.node.wg.Go(func() { ps.node.packets.receive(ps) }) // which may call the program's rule
	_ = ps.node.ports.Serve(context.Background(), guardedMux{ps.mux, ps}, ps.sess.Peer())
	<-ps.sess.Done()
	_ = ps.mux.Close()
}

// start starts the layer, if the peer has the same.
func (ps *peerSession) start() {
	defer close(ps.ready)
	own, peers := ps.node.layer.Name(), ps.sess.PeerLayer()
	if own != peers {
		ps.err = fmt.Errorf("%w: this node %q, the peer %q; set Config.Reliability alike on both", ErrLayerMismatch, own, peers)
		return
	}
	ps.mux, ps.err = ps.node.layer.Start(stream.FromSession(ps.sess), ps.node.log)
}

// flush waits until the peer has what was written, if the layer keeps it.
func (ps *peerSession) flush(ctx context.Context) {
	select {
	case <-ps.ready:
	default:
		return // no conn was made yet
	}
	if f, ok := ps.mux.(stream.Flusher); ok {
		_ = f.Flush(ctx)
	}
}

// refuseAll answers a peer that speaks another layer until the session ends.
func (ps *peerSession) refuseAll() {
	for {
		st, err := ps.sess.AcceptStream(context.Background())
		if err != nil {
			return
		}
		_ = st.Refuse(uint64(stream.CodeLayer))
	}
}

// forget drops the session once it has ended, and its conns with it.
func (ps *peerSession) forget() {
	<-ps.sess.Done()
	n, st := ps.node, ps.sess.Stats()
	n.mu.Lock()
	delete(n.sessions, ps.sess)
	if !ps.again {
		n.past.add(&st)
	}
	n.wakeQuietLocked()
	n.mu.Unlock()
}

// wakeQuietLocked lets waitQuiet look again.
func (n *Node) wakeQuietLocked() {
	close(n.quiet)
	n.quiet = make(chan struct{})
}

// A conn is a layer's conn that knows its peer and is counted while open.
type conn struct {
	stream.Conn
	ps   *peerSession
	left atomic.Bool
}

// newConn counts c as open.
func (ps *peerSession) newConn(c stream.Conn) *conn {
	ps.node.mu.Lock()
	defer ps.node.mu.Unlock()
	ps.open++
	return &conn{Conn: c, ps: ps}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}

// Reset implements stream.Conn.
func (c *conn) Reset(code stream.Code) error {
	err := c.Conn.Reset(code)
	c.leave()
	return err
}

// leave uncounts the conn, once.
func (c *conn) leave() {
	if !c.left.CompareAndSwap(false, true) {
		return
	}
	n := c.ps.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.ps.open--; c.ps.open == 0 {
		n.wakeQuietLocked()
	}
}

// Peer returns who is at the other end; see [PeerOf].
func (c *conn) Peer() Peer { return c.ps.sess.Peer() }

func (c *conn) path() string { return c.ps.sess.Path().String() }
