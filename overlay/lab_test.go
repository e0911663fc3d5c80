package overlay

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/lan"
	"github.com/weftnet/weft/internal/racetest"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/relay"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	lanListen = func(context.Context) ([]lan.PacketConn, error) { return nil, errors.ErrUnsupported }
	goleak.VerifyTestMain(m)
}

// delay is how long a frame takes between a node and its relay, so that a round
// trip between two nodes takes 4 delays and one to the relay 2.
const delay = 10 * time.Millisecond

// relayAddr is where the lab's relay is.
const relayAddr = "relay:9999"

// A lab is a simulated network in a synctest bubble, with one relay.
type lab struct {
	t      *testing.T
	net    *simnet.Network
	key    *PrivateKey // of the relay
	host   *Node
	server *relay.Server
	secret string // of the relay's network, which is open without
	state  string // the relay's state directory; key is used without
	wg     sync.WaitGroup
	nodes  []*Node
}

// inLab runs a test in a bubble with a lab.
func inLab(t *testing.T, f func(t *testing.T, l *lab)) {
	t.Helper()
	inClosedLab(t, "", f)
}

// inClosedLab is inLab with a secret.
func inClosedLab(t *testing.T, secret string, f func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, net: simnet.NewNetwork(1), key: newKey(t), secret: secret}
		l.net.SetDefault(simnet.Impairment{Delay: delay})
		l.startRelay()
		defer l.close()
		f(t, l)
	})
}

func newKey(t testing.TB) *PrivateKey {
	t.Helper()
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// startRelay starts the relay, or a new one in its place.
func (l *lab) startRelay() {
	l.t.Helper()
	cfg := Config{Open: l.secret == "", Secret: l.secret, Key: l.key}
	if l.state != "" {
		cfg.Key, cfg.StateDir = nil, l.state
	}
	l.host = l.newNode("relay", cfg)
	l.server = &relay.Server{Host: l.host}
	ln, err := l.net.Listen(relayAddr)
	if err != nil {
		l.t.Fatal(err)
	}
	server := l.server
	l.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			l.wg.Go(func() { server.ServeLink(c) })
		}
	})
}

// killRelay ends the relay as a crash does.
func (l *lab) killRelay() {
	l.t.Helper()
	l.net.Kill("relay")
	_ = l.server.Close()
	l.crash(l.host)
}

// node starts a node on a host of the same name. Membership and Relays have
// defaults.
func (l *lab) node(host string, cfg Config) *Node {
	l.t.Helper()
	if cfg.Relays == nil {
		cfg.Relays = []string{relayAddr}
	}
	if cfg.Invite == "" && cfg.Secret == "" {
		cfg.Secret = l.secret
	}
	cfg.Open = cfg.Secret == "" && cfg.Invite == ""
	n := l.newNode(host, cfg)
	l.nodes = append(l.nodes, n)
	return n
}

func (l *lab) newNode(host string, cfg Config) *Node {
	l.t.Helper()
	cfg.DialLink = func(ctx context.Context, _, addr string) (net.Conn, error) {
		c, err := l.net.Dial(ctx, host, addr)
		if err != nil {
			return nil, err
		}
		return simConn{c}, nil
	}
	log := logrus.New()
	log.SetOutput(l.t.Output())
	log.SetLevel(logrus.DebugLevel)
	cfg.Logger = log.WithField("host", host)
	n, err := New(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}

// ready starts a node that is registered with the relay.
func (l *lab) ready(host string, cfg Config) *Node {
	l.t.Helper()
	n := l.node(host, cfg)
	if err := n.WaitReady(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	return n
}

// close ends everything and waits until the simulated wires are empty.
func (l *lab) close() {
	for _, n := range l.nodes {
		if err := n.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			l.t.Error(err)
		}
	}
	_ = l.server.Close()
	_ = l.host.Close()
	l.net.Close()
	l.wg.Wait()
	time.Sleep(time.Minute) // timers of the wires
}

// A simConn makes a simulated conn, which keeps frames whole, a net.Conn.
type simConn struct{ *simnet.Conn }

func (simConn) Read([]byte) (int, error)         { return 0, errors.ErrUnsupported }
func (simConn) Write([]byte) (int, error)        { return 0, errors.ErrUnsupported }
func (simConn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (simConn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (simConn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// echo serves a listener on port 7 that echoes.
func (l *lab) echo(n *Node) {
	l.t.Helper()
	ln, err := n.Listen(7)
	if err != nil {
		l.t.Fatal(err)
	}
	l.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			l.wg.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
}

// accept listens on a port and returns the next conn.
func (l *lab) listen(n *Node, port uint16) net.Listener {
	l.t.Helper()
	ln, err := n.Listen(port)
	if err != nil {
		l.t.Fatal(err)
	}
	return ln
}

// pair dials port 80 of b from a and returns both ends.
func (l *lab) pair(a, b *Node) (net.Conn, net.Conn) {
	l.t.Helper()
	ln := l.listen(b, 80)
	defer ln.Close()
	ca, err := a.Dial(l.t.Context(), b.ID().String()+":80")
	if err != nil {
		l.t.Fatal(err)
	}
	cb, err := ln.Accept()
	if err != nil {
		l.t.Fatal(err)
	}
	return ca, cb
}

// roundTrip sends and gets back one message over an echoing conn.
func roundTrip(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	const hello = "hello"
	if _, err := io.WriteString(c, hello); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(hello))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != hello {
		t.Fatalf("echo was %q, %v", b, err)
	}
}

// roundTripBetween sends a byte from one end of a conn to the other and back.
func roundTripBetween(t *testing.T, a, b net.Conn) {
	t.Helper()
	buf := make([]byte, 1)
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		if _, err := pair[0].Write([]byte{'x'}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(pair[1], buf); err != nil {
			t.Fatal(err)
		}
	}
}
