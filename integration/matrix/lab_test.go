package matrix

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/layertest"
	"github.com/weftnet/weft/listener"
	"github.com/weftnet/weft/stream"
)

// A node is one end of a session with a port table and a dialer, as overlay.Node
// has them.
type node struct {
	*listener.OverlayDialer
	id    identity.NodeID
	mux   stream.Mux
	table *listener.Table
	peer  identity.Peer // the other node
	stop  func()        // ends serving and waits for it; nil if it does not serve
}

// Connect makes the node the Connector of its own dialer. There is one session.
func (n *node) Connect(context.Context, identity.Target) (stream.Mux, identity.Peer, error) {
	return n.mux, n.peer, nil
}

// host is what clients of the node write in addresses.
func (n *node) host() string { return n.id.String() }

// url is the root of the node's web server.
func (n *node) url(path string) string { return "http://" + n.host() + path }

// serve hands requests of the peer to the listeners.
func (n *node) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		n.table.Serve(ctx, n.mux, n.peer)
	}()
	n.stop = func() {
		cancel()
		<-served
		n.stop = nil
	}
}

// A lab is two nodes with a session, for one cell.
type lab struct {
	*testing.T
	fake bool
	way  layertest.Way
	a, b *node
	endA func()          // ends the session at a
	endB func()          // and at b
	ctx  context.Context // ends when everything should long have been done
}

// patience is far more than any cell needs.
const patience = 2 * time.Minute

func newLab(t *testing.T, layer stream.Layer, way layertest.Way, fake bool) *lab {
	t.Helper()
	p := layertest.New(t, layer, way)
	l := &lab{T: t, way: way, fake: fake}
	l.endA = func() { _ = p.SessionA.CloseWithError(1, "the test ends the session") }
	l.endB = func() { _ = p.SessionB.CloseWithError(1, "the test ends the session") }
	l.a = newNode(p.SessionA.LocalID(), p.A, p.SessionA.Peer())
	l.b = newNode(p.SessionB.LocalID(), p.B, p.SessionB.Peer())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	l.ctx = ctx
	t.Cleanup(func() {
		cancel()
		for _, n := range []*node{l.a, l.b} {
			n.table.Close()
			if n.stop != nil {
				n.stop()
			}
			n.mux.Close()
		}
		p.Close()
	})
	return l
}

func newNode(id identity.NodeID, mux stream.Mux, peer identity.Peer) *node {
	n := &node{id: id, mux: mux, peer: peer, table: listener.NewTable(id)}
	n.OverlayDialer = &listener.OverlayDialer{Connector: n}
	n.serve()
	return n
}

// listen opens a port on a node.
func (l *lab) listen(n *node, port uint16, cfg listener.ListenConfig) *listener.OverlayListener {
	l.Helper()
	ln, err := n.table.Listen(port, cfg)
	l.must(err)
	l.Cleanup(func() { ln.Close() })
	return ln
}

// must ends the cell if there is an error.
func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// await waits for what a goroutine of the cell announces.
func await[T any](l *lab, what string, ch <-chan T) T {
	l.Helper()
	select {
	case v := <-ch:
		return v
	case <-l.ctx.Done():
		l.Fatalf("%s: nothing within %v", what, patience)
		panic("unreachable")
	}
}

// eventually waits until a condition holds that nothing announces.
func (l *lab) eventually(what string, holds func() bool) {
	l.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-l.ctx.Done():
			l.Fatalf("%s: not so within %v", what, patience)
		}
	}
}

// big is how many bytes a large body has, so that a cell stays within seconds:
//
//	               fake time   real time   -short
//	direct         4 MiB       4 MiB       1 MiB
//	relayed        2 MiB       2 MiB       1 MiB
//	switched       2 MiB       2 MiB       1 MiB
//	lossy          1 MiB       256 KiB     128 KiB
func (l *lab) big() int {
	switch short := testing.Short(); {
	case l.way.Slow() && short:
		return 128 << 10
	case l.way.Slow() && !l.fake:
		return 256 << 10
	case l.way.Slow(), short:
		return 1 << 20
	case l.way.Relayed, l.way.SwitchEvery > 0:
		return 2 << 20
	}
	return 4 << 20
}

// body returns n bytes, the same ones for the same seed.
func body(seed byte, n int) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), int64(n))
}

// hash reads all and returns its SHA-256 and length.
func hash(r io.Reader) ([sha256.Size]byte, int, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return [sha256.Size]byte(h.Sum(nil)), int(n), err
}

// wantBody checks that r is body(seed, n).
func (l *lab) wantBody(r io.Reader, seed byte, n int) {
	l.Helper()
	got, read, err := hash(r)
	want, _, _ := hash(body(seed, n))
	if err != nil || got != want {
		l.Errorf("body: %d bytes of %d, or others; %v", read, n, err)
	}
}

// accept returns the next conn of a listener.
func (l *lab) accept(ln *listener.OverlayListener) net.Conn {
	l.Helper()
	c, err := ln.AcceptContext(l.ctx)
	l.must(err)
	l.Cleanup(func() { c.Close() })
	return c
}

// dial dials port 80 of the other node.
func (l *lab) dial(n *node) net.Conn {
	l.Helper()
	c, err := n.Dial(l.ctx, n.peer.ID.String()+":80")
	l.must(err)
	l.Cleanup(func() { c.Close() })
	return c
}

// wantRefused checks that a dial is refused with a code.
func (l *lab) wantRefused(n *node, code stream.Code) {
	l.Helper()
	_, err := n.Dial(l.ctx, n.peer.ID.String()+":80")
	if e, ok := errors.AsType[*stream.ResetError](err); !ok || e.Code != code || !errors.Is(err, stream.ErrRefused) {
		l.Errorf("Dial: error is %v, want a refusal because %s", err, code)
	}
}

// all runs a function n times at once and waits.
func all(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
