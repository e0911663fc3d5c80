//go:build unix

package integration

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// A death is how a conn to a server that is killed fails, in a Read that
// waits.
type death struct {
	at  time.Time
	err error
}

// awaitDeath reads from a conn until it fails.
func awaitDeath(c net.Conn) <-chan death {
	died := make(chan death, 1)
	go func() {
		_, err := io.Copy(io.Discard, onlyReader{c})
		died <- death{time.Now(), err} // nil for the end of the stream
	}()
	return died
}

// onlyReader hides WriteTo.
type onlyReader struct{ io.Reader }

// A bereft is a client whose server was killed while it had conns.
type bereft struct {
	*lab
	node    *overlay.Node
	server  serverProcess
	waiting []<-chan death // conns that are read from
	idle    net.Conn       // a conn that nobody is using
	killed  time.Time
}

// newBereft kills a server. Vars are its environment.
func newBereft(t *testing.T, vars ...string) *bereft {
	l := newLab(t)
	l.relay()
	b := &bereft{lab: l, server: l.server(vars...), node: l.joined()}
	for range 3 {
		b.waiting = append(b.waiting, awaitDeath(b.held()))
	}
	b.idle = b.held()
	b.server.kill()
	b.killed = time.Now()
	return b
}

// held dials a conn on which the server says nothing more.
func (b *bereft) held() net.Conn {
	b.t.Helper()
	c := b.dial(b.node, b.server.addr(portHold))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		b.t.Fatal(err)
	}
	return c
}

// check checks that all conns fail within a time after an event, as conns
// whose peer is gone.
func (b *bereft) check(after time.Time, within time.Duration, want error) {
	b.t.Helper()
	late := time.NewTimer(time.Until(after.Add(within)))
	defer late.Stop()
	for _, died := range b.waiting {
		select {
		case d := <-died:
			if !errors.Is(d.err, want) || errors.Is(d.err, net.ErrClosed) || errors.Is(d.err, os.ErrDeadlineExceeded) {
				b.t.Errorf("Read failed with %v, want %v", d.err, want)
			}
			b.t.Logf("Read failed after %v: %v", d.at.Sub(after).Round(time.Millisecond), d.err)
		case <-late.C:
			b.t.Fatalf("Read still waits %v later", within)
		}
	}
	if _, err := b.idle.Write([]byte("x")); !errors.Is(err, want) {
		b.t.Errorf("Write on the idle conn: %v, want %v", err, want)
	}
	if n, err := b.idle.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		b.t.Errorf("Read on the idle conn: %d, %v, want %v", n, err, want)
	}
}

const (
	// lostWithin is how long a client may take to believe that a peer is gone
	// that has hung up.
	lostWithin = 20 * time.Second
	// backWithin is how long it may take to find out that the peer is back,
	// which is well before it would have given up.
	backWithin = 10 * time.Second
)

func TestConnsFailWhenTheServerIsKilled(t *testing.T) {
	t.Parallel()
	b := newBereft(t)
	b.check(b.killed, lostWithin, overlay.ErrPeerLost)
	if _, err := b.node.Dial(b.ctx, b.server.addr(portHold)); !errors.Is(err, overlay.ErrUnknownNode) {
		t.Errorf("dialled a node that is gone: %v", err)
	}
}

func TestConnsFailWhenTheKilledServerIsBack(t *testing.T) {
	t.Parallel()
	vars := []string{overlay.EnvState + "=" + t.TempDir()}
	b := newBereft(t, vars...)
	again := b.lab.server(vars...)
	if again.id != b.server.id {
		t.Fatalf("the server was %s and is %s", b.server.id, again.id)
	}
	b.check(time.Now(), backWithin, overlay.ErrPeerRestarted)
	b.speak(b.dial(b.node, again.addr(portEcho)))
}

func TestConnsFailAtOnceWhenTheServerIsToldToStop(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.relay()
	server := l.server()
	b := &bereft{lab: l, server: server, node: l.joined()}
	held := awaitDeath(b.held())
	server.signal(syscall.SIGTERM)
	server.exit(l.ctx)
	d := <-held // as l.ctx closes the conn
	if d.err == nil || errors.Is(d.err, net.ErrClosed) || errors.Is(d.err, overlay.ErrPeerLost) {
		t.Errorf("Read failed with %v, want the server's word that it closed the conn", d.err)
	}
}
